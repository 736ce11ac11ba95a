"""The item of the alert rules on a real Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgfleet.local.account import Account
from pgfleet.local.freeports import reserved_ports
from pgfleet.settings import Secret
from pgfleet.testing import eventually
from pgfleet.verify.asking import Site
from pgfleet.verify.items import Item, Outcome
from pgfleet.verify.judgements.alerts import PATH, RULES, alerts_item
from tests.daemons import Daemon, program, scratch

GUIDE = (Path(__file__).parent / "guide-alerts.yml").read_text().replace("interval: 30s", "interval: 1s")
LAG, SECOND_RULE = "replica_lag_seconds > 5", "      - alert: ReplicaUnhealthy\n"
TWICE = """label_replace(vector(1) or label_replace(vector(1), "a", "b", "", ""), "a", "b", "", "") > 0"""
"""Two series that become one: only evaluating it shows that it cannot be evaluated."""
WEB = "basic_auth_users:\n  admin: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n"
PASSWORD = "test"
"""The user and the hash of Prometheus's own manual."""


def alerts(site: Site) -> Item:
    return alerts_item(str(site), asyncio.run(site.get(f"{PATH}?type=alert")))


def is_evaluated(url: str) -> bool:
    found = alerts(Site(url)).figures.get("loaded", {})
    return bool(found) and "unknown" not in found.values()


@contextmanager
def prometheus(rules: str, web: str = "") -> Iterator[str]:
    """One that has these rules and scrapes nobody; its address."""
    account = Account.choose()
    with reserved_ports(1) as (port,):
        pass
    with scratch(account) as directory:
        files = {"rules.yml": rules, "web.yml": web, "prometheus.yml": "rule_files: [rules.yml]\n"}
        for name, text in files.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o644)
        daemon = Daemon(
            account, directory / "prometheus.log", program("prometheus"),
            f"--config.file={directory / 'prometheus.yml'}", f"--web.config.file={directory / 'web.yml'}",
            f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        )  # fmt: skip
        daemon.start()
        try:
            user = f"admin:{PASSWORD}@" if web else ""
            assert eventually(lambda: is_evaluated(f"http://{user}127.0.0.1:{port}")), daemon.said()
            yield f"127.0.0.1:{port}"
        finally:
            daemon.end()


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """One with the rules of the guide, behind a password."""
    with prometheus(GUIDE, WEB) as address:
        yield address


@pytest.mark.parametrize(
    ("user", "token"), [(f"admin:{PASSWORD}@", None), ("", Secret(f"admin:{PASSWORD}"))], ids=["url", "token"]
)
def test_the_rules_of_the_guide(guarded: str, user: str, token: Secret | None) -> None:
    item = alerts(Site(f"http://{user}{guarded}/", token))
    assert item.outcome is Outcome.PASSED, item.evidence
    assert item.evidence == (f"3 of the guide's 3 alerts loaded in http://{guarded}",)


@pytest.mark.parametrize(("user", "token"), [("", None), ("admin:wr0ng@", None), ("", Secret("wr0ng"))])
def test_without_its_password_nothing_is_known(guarded: str, user: str, token: Secret | None) -> None:
    item = alerts(Site(f"http://{user}{guarded}", token))
    assert item.outcome is Outcome.FAILED
    assert item.evidence == (f"http://{guarded}: answers 401: it wants somebody else's credentials",)


def test_a_rule_that_is_missing_and_one_that_cannot_be_evaluated() -> None:
    first, _, others = GUIDE.partition(SECOND_RULE)
    without = first.replace(LAG, TWICE) + "      - alert: High" + others.partition("- alert: High")[2]
    with prometheus(without) as address:
        item = alerts(Site(f"http://{address}"))
        somewhere_else = alerts(Site(f"http://{address}/prometheus"))
    assert item.outcome is Outcome.FAILED
    assert set(item.figures["loaded"]) == {*RULES} - {"ReplicaUnhealthy"}
    assert item.evidence[0] == "ReplicaUnhealthy is not loaded"
    assert item.evidence[1].startswith("HighReplicationLag cannot be evaluated: ")
    assert somewhere_else.evidence == (f"http://{address}/prometheus: answers 404",)
    gone = alerts(Site(f"http://{address}"))
    assert gone.evidence[0].startswith(f"http://{address}: no answer: ")
