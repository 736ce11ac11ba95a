"""A fleet by way of proxies is the same fleet, but for where its servers are reached."""

from __future__ import annotations

import pytest

from pgfleet.drill.detour import by_way_of
from pgfleet.settings import Settings

TEXTS = (
    "postgresql://app:p%27%5Cw@db.example:5433/hotel?sslmode=require&application_name=a%20b",
    "host=db.example hostaddr=10.0.0.1 port=5433 user=app password='p\\'\\\\w' dbname=hotel sslmode=require",
)


def settings(text: str) -> Settings:
    return Settings.from_env(
        {
            "DATABASE_URL": "postgresql://app@primary/hotel",
            "USE_READ_REPLICAS": "true",
            "READ_REPLICA_1_CONNECTION_STRING": text,
            "READ_REPLICA_2_CONNECTION_STRING": "postgresql://app@other/hotel",
        }
    )


@pytest.mark.parametrize("text", TEXTS)
def test_only_host_and_port_change(text: str) -> None:
    before = settings(text)
    after = by_way_of({"replica-1": 7777}, before)
    old, new = before.replicas[0].dsn, after.replicas[0].dsn
    assert new.hosts == (("127.0.0.1", 7777),)
    assert (new.user, new.database, new.password) == (old.user, old.database, old.password)
    kept = {name: value for name, value in old.parameters.items() if name != "hostaddr"}
    assert new.parameters == kept
    assert (after.primary, after.replicas[1]) == (before.primary, before.replicas[1])


def test_without_proxies_nothing_changes() -> None:
    assert by_way_of({}, settings(TEXTS[0])) == settings(TEXTS[0])


def test_the_node_that_the_settings_call_primary_may_be_a_replica_by_now() -> None:
    assert by_way_of({"primary": 7777}, settings(TEXTS[0])).primary.dsn.hosts == (("127.0.0.1", 7777),)
