"""An embedded cluster for development and tests: start, stop, kill, freeze, lag, promote; and a faulty proxy."""

from pgfleet.local.fleet import LocalFleet
from pgfleet.local.proxy import FaultProxy
from pgfleet.local.server import LocalNode, ServerState
from pgfleet.local.status import LocalStatus

__all__ = ["FaultProxy", "LocalFleet", "LocalNode", "LocalStatus", "ServerState"]
