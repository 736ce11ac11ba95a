"""`pgfleet explain` on a real fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pgfleet import ReplicaRouter
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


@pytest.mark.parametrize(
    "args", [("--max-lag-bytes", "-1"), ("--consistency", "perhaps"), ("--consistency", "session")]
)
def test_a_wish_that_is_none_is_misuse(args: tuple[str, str]) -> None:
    done = pgfleet("explain", *args)
    assert done.returncode == 2
    assert args[0] in done.stderr


def test_who_lacks_how_much_of_what_a_token_covers(fleet: LocalFleet) -> None:
    environ = fleet.environ() | {"PGFLEET_TOKEN_SECRET": "0123456789abcdef" * 2}
    fleet.lag("replica-1", paused=True)
    try:
        with ReplicaRouter.from_env(environ) as router:
            router.execute("create table if not exists told (n int)")
            router.execute("insert into told select generate_series(1, 1000)")
            token = router.token()
        done = pgfleet("explain", "--after", token, environ=environ)
    finally:
        fleet.lag("replica-1", 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert "It must see " in done.stdout
    assert row(done.stdout, "replica-1")[-2].endswith(" kB")
    assert row(done.stdout, "replica-1")[-1] == "no: has not replayed what this read must see"
    assert row(done.stdout, "replica-2")[-2] == "nothing"
    assert row(done.stdout, "primary")[-2] == "nothing"


@pytest.mark.parametrize("secret", [None, "0123456789abcdef" * 2], ids=["no secret", "another token"])
def test_a_token_that_cannot_be_read_is_told(fleet: LocalFleet, secret: str | None) -> None:
    environ = fleet.environ() | ({"PGFLEET_TOKEN_SECRET": secret} if secret else {})
    done = pgfleet("explain", "--after", "garbage", environ=environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "error: this consistency token is not accepted" if secret else "error: PGFLEET_TOKEN"
    )
    assert "hint: " in done.stderr
    assert "garbage" not in done.stderr


def test_the_sentence() -> None:
    assert verdict(("replica-2", "primary"), "primary") == "This read takes replica-2."
    assert (
        verdict(("replica-1", "replica-2", "primary"), "primary")
        == "This read takes replica-1 or replica-2, in turn."
    )
    assert verdict(("replica-1",), "replica-1") == "This read takes the primary, replica-1."
    assert verdict((), None) == "No node can take this read now."
