"""Writes of an org, each followed by a read of the same org. No table is touched: a message goes into the log."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from pgfleet.faults import first_line
from pgfleet.verify.figures import WriteFigures
from pgfleet.verify.load import Router

WRITE_SQL = "select txid_current(), pg_catalog.pg_logical_emit_message(true, 'pgfleet verify', '')"
"""A transaction that commits, and changes nothing that anybody can read. PostgreSQL 12 to 18, any role."""
READ_SQL = "select txid_visible_in_snapshot({}, txid_current_snapshot()), pg_is_in_recovery()"
"""Whether that transaction is visible here: the server's own word, not the router's."""
ORG = "pgfleet verify"
PACE_S = 0.1
TIMEOUT_S = 2.0
MOST_ERRORS = 3


async def write_and_read(router: Router, seconds: float) -> WriteFigures:
    """Write, and look whether the next read sees it, for so long."""
    writes = seen = on_replicas = 0
    errors: list[str] = []
    end_s = monotonic() + seconds
    while monotonic() < end_s and len(errors) < MOST_ERRORS:
        try:
            xid = await _write(router)
            writes += 1
            async with asyncio.timeout(TIMEOUT_S):
                ((is_seen, on_replica),) = await router.fetch(READ_SQL.format(xid), org_id=ORG)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {first_line(error)}")
        else:
            seen += bool(is_seen)
            on_replicas += bool(on_replica)
        await asyncio.sleep(PACE_S)
    return WriteFigures(writes, seen, on_replicas, tuple(errors))


async def _write(router: Router) -> int:
    """The number of the transaction that was committed."""
    async with router.write(org_id=ORG, transaction=True, timeout_s=TIMEOUT_S) as conn:
        return int((await _first_row(conn))[0])


async def _first_row(conn: Any) -> Any:
    if hasattr(conn, "fetchrow"):  # asyncpg's
        return await conn.fetchrow(WRITE_SQL)
    return await (await conn.execute(WRITE_SQL)).fetchone()
