"""The driver that is there: the doctor needs one, and takes either."""

from __future__ import annotations

from typing import Any

from pgfleet.adapters.session import SessionSettings
from pgfleet.errors import DriverMissing
from pgfleet.ports import Connector


def connector(session: SessionSettings) -> Connector[Any]:
    """psycopg, because it reads connection strings as libpq does; or asyncpg. Raises DriverMissing."""
    try:
        from pgfleet.adapters.psycopg import AsyncPsycopgConnector

        return AsyncPsycopgConnector(session)
    except ImportError:
        pass
    try:
        from pgfleet.adapters.asyncpg import AsyncpgConnector

        return AsyncpgConnector(session)
    except ImportError:
        raise DriverMissing(
            "no driver is installed: neither psycopg nor asyncpg", "pip install 'pgfleet[all]'"
        ) from None
