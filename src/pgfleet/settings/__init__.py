"""The settings of a fleet, from the environment or from code."""

from pgfleet.settings.dsn import Dsn
from pgfleet.settings.model import Settings
from pgfleet.settings.node import NodeSettings
from pgfleet.settings.secret import Secret
from pgfleet.settings.variables import VARIABLES

__all__ = ["VARIABLES", "Dsn", "NodeSettings", "Secret", "Settings"]
