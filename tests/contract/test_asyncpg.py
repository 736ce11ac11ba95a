"""What only asyncpg does: a statement is prepared, and executed when the server has answered to that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pgfleet.adapters.asyncpg import AsyncpgConnector
from pgfleet.adapters.session import SessionSettings
from pgfleet.local import LocalFleet
from pgfleet.settings import Dsn


async def test_a_connection_severed_between_two_messages_is_lost(fleet: LocalFleet) -> None:
    """asyncpg finds no protocol then, and says so as Python does."""
    connector = AsyncpgConnector(SessionSettings(Dsn.parse(fleet.dsn("primary"))))
    conn = await connector.open(5.0)
    statement: Any = asyncio.ensure_future(connector.fetch(conn, "select 1", ()))
    while not ((answer := statement._fut_waiter) and answer.done()):
        await asyncio.sleep(0)
    connector.sever(conn)

    with pytest.raises(AttributeError) as caught:
        await statement

    fault = connector.fault(caught.value)
    assert fault is not None
    assert fault.lost
    assert connector.lost_with(conn, caught.value)


@pytest.mark.parametrize("name", ["commit", "execute"])
async def test_an_attribute_that_the_caller_has_wrong_is_his_own(fleet: LocalFleet, name: str) -> None:
    """Also one that asyncpg calls: the connection lives."""
    connector = AsyncpgConnector(SessionSettings(Dsn.parse(fleet.dsn("primary"))))
    conn = await connector.open(5.0)
    with pytest.raises(AttributeError) as caught:
        getattr(None, name)()
    assert not connector.lost_with(conn, caught.value)
    await connector.close(conn)
