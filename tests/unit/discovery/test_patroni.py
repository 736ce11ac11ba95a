"""Which of Patroni's members is asked, and what is said when none can tell."""

from __future__ import annotations

import json

import pytest

from pgfleet.discovery.patroni import Member, Patroni
from pgfleet.errors import DiscoveryError
from tests.fakes import HandClock, in_virtual_time

BODY = json.dumps({"members": [{"name": "a", "host": "10.0.0.1", "port": 5432}]}).encode()
SECRET = "s3cr3t"


class Cluster:
    """Which members answer, and who was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, up: set[str]) -> None:
        self.up = up
        self.asked: list[str] = []

        def cluster(member: Member) -> bytes:
            self.asked.append(str(member))
            if str(member) not in self.up:
                raise ConnectionRefusedError("Connection refused")
            return BODY

        monkeypatch.setattr(Member, "cluster", cluster)


@in_virtual_time
async def test_the_member_that_answered_is_asked_first_the_next_time() -> None:
    with pytest.MonkeyPatch.context() as patch:
        cluster = Cluster(patch, {"http://c:8008"})
        patroni = Patroni("http://a:8008, http://b:8008,http://c:8008", HandClock())
        assert [server.name for server in await patroni.find()] == ["a"]
        cluster.asked.clear()
        await patroni.find()
        assert cluster.asked == ["http://c:8008"]
        cluster.up = {"http://a:8008", "http://b:8008"}
        await patroni.find()
        assert len(cluster.asked) == 3


@in_virtual_time
async def test_when_nobody_answers_the_error_names_each_and_no_password() -> None:
    with pytest.MonkeyPatch.context() as patch:
        Cluster(patch, set())
        patroni = Patroni(f"http://ops:{SECRET}@a:8008,https://b,http://[::1]:9", HandClock())
        with pytest.raises(DiscoveryError) as caught:
            await patroni.find()
    said = str(caught.value)
    for url in ("http://a:8008", "https://b:8008", "http://[::1]:9"):
        assert f"{url}: Connection refused" in said
    assert SECRET not in said + repr(caught.value)
    assert SECRET not in repr(vars(patroni)["_members"])
