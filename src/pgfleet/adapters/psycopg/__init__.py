"""psycopg 3: both faces."""

from pgfleet.adapters.psycopg.tasks import AsyncPsycopgConnector
from pgfleet.adapters.psycopg.threads import PsycopgConnector

__all__ = ["AsyncPsycopgConnector", "PsycopgConnector"]
