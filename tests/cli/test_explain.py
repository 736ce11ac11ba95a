"""`pgfleet explain` on a real fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pgfleet.cli.explain import verdict
from pgfleet.local import LocalFleet
from tests.cli.command import pgfleet, row


@pytest.fixture
def without_primary(fleet: LocalFleet) -> Iterator[LocalFleet]:
    fleet.kill("primary")
    yield fleet
    fleet.start("primary")


@pytest.mark.parametrize("args", [[], ["--max-lag-s", "0.2"], ["--prefer-replica", "--org-id", "7"]])
def test_replicas_take_turns(fleet: LocalFleet, args: list[str]) -> None:
    done = pgfleet("explain", *args, environ=fleet.environ(plain=True))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("This read takes replica-1, replica-2 or replica-3, in turn.\n")
    assert row(done.stdout, "replica-2")[-1] == "yes"
    assert row(done.stdout, "primary")[-1] == "when no replica can"


def test_the_primary_when_it_is_preferred(fleet: LocalFleet) -> None:
    done = pgfleet("explain", "--no-prefer-replica", environ=fleet.environ())
    assert done.returncode == 0
    assert done.stdout.startswith("This read takes the primary.\n")
    assert row(done.stdout, "primary")[-1] == "yes"
    assert row(done.stdout, "replica-1")[-1] == "no: the read prefers the primary"


def test_an_organisation_is_told_what_is_not_known_here(fleet: LocalFleet) -> None:
    done = pgfleet("explain", "--org-id", "[b]7", environ=fleet.environ())
    assert done.stdout.splitlines()[-1].startswith("What organisation [b]7 writes is known to the process")


def test_json_is_the_api_s(fleet: LocalFleet) -> None:
    done = pgfleet("explain", "--json", environ=fleet.environ())
    told = json.loads(done.stdout)
    assert told["candidates"] == ["replica-1", "replica-2", "replica-3", "primary"]
    assert {"name", "role", "candidate", "reason", "stalenessBoundSeconds"} <= set(told["nodes"][1])


def test_nobody_takes_it_is_a_finding(without_primary: LocalFleet) -> None:
    done = pgfleet("explain", "--no-prefer-replica", environ=without_primary.environ())
    assert done.returncode == 1
    assert done.stdout.startswith("No node can take this read now.\n")
    assert row(done.stdout, "primary")[-1] == "no: not answering"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon"])
def test_a_bound_that_is_none_is_misuse(value: str) -> None:
    done = pgfleet("explain", "--max-lag-s", value)
    assert done.returncode == 2
    assert "--max-lag-s" in done.stderr


def test_the_sentence() -> None:
    assert verdict(("replica-2", "primary"), "primary") == "This read takes replica-2."
    assert (
        verdict(("replica-1", "replica-2", "primary"), "primary")
        == "This read takes replica-1 or replica-2, in turn."
    )
    assert verdict(("replica-1",), "replica-1") == "This read takes the primary, replica-1."
    assert verdict((), None) == "No node can take this read now."
