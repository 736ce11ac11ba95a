"""By which client a cloud is asked."""

from __future__ import annotations

import pytest

from pgfleet.clouds.failure import ApiFailure
from pgfleet.core.membership import Found
from pgfleet.discovery.api import Asker
from pgfleet.errors import DiscoveryError
from tests.fakes import HandClock, in_virtual_time

EMPTY = DiscoveryError("nothing is there", "Look there.")


class Client:
    """Its credentials are good, or they have expired."""

    def __init__(self, is_let_in: bool) -> None:
        self.is_let_in = is_let_in
        self.is_closed = False

    def servers(self) -> list[Found]:
        if not self.is_let_in:
            raise ApiFailure("the credentials have expired", "Renew them.")
        return [Found("hotel", "hotel.example", 5432)]

    def close(self) -> None:
        self.is_closed = True


@in_virtual_time
async def test_a_client_is_kept_until_it_fails_and_the_next_finds_the_renewed_credentials() -> None:
    clients = [Client(is_let_in=True), Client(is_let_in=True)]
    left = iter(clients)
    asker = Asker(HandClock(), "The cloud", lambda: next(left))
    for _ in range(2):
        assert [one.name for one in await asker.ask(Client.servers, EMPTY)] == ["hotel"]
    clients[0].is_let_in = False
    with pytest.raises(
        DiscoveryError, match="The cloud tells no servers: the credentials have expired"
    ) as told:
        await asker.ask(Client.servers, EMPTY)
    assert told.value.hint == "Renew them."
    assert [one.name for one in await asker.ask(Client.servers, EMPTY)] == ["hotel"]
    assert [client.is_closed for client in clients] == [True, False]


@in_virtual_time
async def test_an_answer_without_servers_is_an_error_and_keeps_the_client() -> None:
    client = Client(is_let_in=True)
    asker = Asker(HandClock(), "The cloud", lambda: client)
    with pytest.raises(DiscoveryError, match="nothing is there"):
        await asker.ask(lambda _: [], EMPTY)
    assert not client.is_closed
