"""The embedded fleet as a platform: from nothing, by a file; killed anywhere, and gone on with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from pgfleet.cli import provision_fleet
from pgfleet.errors import ProvisionError
from pgfleet.local import LocalFleet
from pgfleet.provision.apply import apply
from pgfleet.provision.declaration import Declaration, WantedReplica
from pgfleet.provision.plan import Plan, plan_apply, plan_destroy
from pgfleet.provision.provider import Endpoint, Provider
from pgfleet.provision.registry import open_provider
from pgfleet.settings.fleet_file import read_fleet_file

KILLED_AT = """
import asyncio, os, signal, sys
from pathlib import Path
from pgfleet.cli import provision_fleet
from pgfleet.provision.apply import Unseen, apply
from pgfleet.provision.plan import plan_apply

class Killed(Unseen):
    events = 0

    def _event(self, *_):
        if self.events == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        self.events += 1

    began = told = ended = _event

async def main():
    provider = provision_fleet.wanted_by(Path(sys.argv[1]), {}).provider
    await apply(provider, await plan_apply(provider), Killed())

provision_fleet.FOLLOWED_S = 0.0
asyncio.run(main())
"""
"""Applies, and kills itself at the event of this number."""


@pytest.fixture
def directory() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="pgfleet-test-"))
    root.chmod(0o711)
    yield root / "fleet"
    LocalFleet.remove(root / "fleet")
    assert list(root.iterdir()) == []
    root.rmdir()


def declared(directory: Path, *names: str, fleet: str = "hotel") -> Declaration:
    return Declaration(fleet, "local", tuple(map(WantedReplica, names)), {"directory": str(directory)})


def planned(declaration: Declaration) -> Plan:
    return asyncio.run(plan_apply(open_provider(declaration, {})))


def applied(declaration: Declaration) -> Plan:
    return carried_out(open_provider(declaration, {}))


def carried_out(provider: Provider) -> Plan:
    async def go() -> Plan:
        plan = await plan_apply(provider)
        await apply(provider, plan)
        return plan

    return asyncio.run(go())


def destroyed(declaration: Declaration) -> Plan:
    async def go() -> Plan:
        provider = open_provider(declaration, {})
        plan = await plan_destroy(provider)
        await apply(provider, plan)
        return plan

    return asyncio.run(go())


def endpoints(declaration: Declaration) -> list[Endpoint]:
    return list(asyncio.run(open_provider(declaration, {}).endpoints()))


def streaming(directory: Path) -> list[str]:
    return sorted(status.name for status in LocalFleet.attach(directory).status() if status.is_streaming)


def slots(directory: Path) -> set[str]:
    return {
        slot
        for (slot,) in LocalFleet.attach(directory).sql(
            "primary", "select slot_name from pg_replication_slots"
        )
    }


def titles(plan: Plan) -> list[str]:
    return [step.title.partition(" (")[0] for step in plan.steps]


def test_from_nothing_and_back(directory: Path) -> None:
    two = declared(directory, "replica-1", "reports")
    assert titles(planned(two)) == [
        f"create the primary in {directory}",
        "create replica-1",
        "create reports",
    ]
    assert not directory.exists(), "a plan changes nothing"
    applied(two)
    assert streaming(directory) == ["replica-1", "reports"]
    assert not planned(two).steps

    fleet = LocalFleet.attach(directory)
    ports = [(name, "127.0.0.1", fleet.node(name).port) for name in ("primary", "replica-1", "reports")]
    assert endpoints(two) == [Endpoint(*port) for port in ports]

    assert titles(applied(declared(directory, "reports", "replica-2"))) == [
        "create replica-2",
        "remove replica-1",
    ]
    assert streaming(directory) == ["replica-2", "reports"]
    assert slots(directory) == {"reports", "replica_2"}

    fleet.kill("reports")
    fleet.freeze("replica-2")
    assert titles(applied(declared(directory, "reports", "replica-2"))) == [
        "finish reports",
        "finish replica-2",
    ]
    assert streaming(directory) == ["replica-2", "reports"]

    fleet.kill("primary")
    assert "finish the primary in" in titles(applied(declared(directory, "reports", "replica-2")))[0]
    assert streaming(directory) == ["replica-2", "reports"]

    fleet.add_replica("by-hand")
    assert not planned(declared(directory, "reports", "replica-2", fleet="other")).removals
    assert titles(destroyed(declared(directory))) == ["remove replica-2", "remove reports"]
    assert streaming(directory) == ["by-hand"]
    assert (slots(directory), fleet.primary) == ({"by_hand"}, "primary")
    assert not destroyed(declared(directory)).steps


def test_a_promoted_replica_is_never_removed_nor_taken_back(directory: Path) -> None:
    two = declared(directory, "replica-1", "replica-2")
    applied(two)
    fleet = LocalFleet.attach(directory)
    fleet.promote("replica-1")
    assert planned(two).problems == (
        "replica replica-1: is the primary by now; take it out of the file, or promote another node",
    )
    with pytest.raises(ProvisionError, match="is the primary by now"):
        applied(two)
    assert titles(destroyed(two)) == ["remove replica-2"]
    assert fleet.primary == "replica-1"
    assert fleet.sql("replica-1", "select pg_is_in_recovery()") == [("f",)]


def test_what_cannot_be_built_is_told_by_the_plan(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    (problem,) = planned(declared(tmp_path, "replica-1")).problems
    assert problem.startswith(f"{tmp_path} holds letters.txt, which is not a fleet's; name an empty")
    wrong = Declaration("hotel", "local", (), {"directory": str(directory), "pg_bin": "/nowhere"})
    (problem,) = planned(wrong).problems
    assert "/nowhere" in problem
    assert not directory.exists()


FILE = """
[fleet]
name = "hotel"
register = "replicas.toml"

[provider]
kind = "local"
directory = "{directory}"

[[replica]]
name = "{name}"
"""


def killed(file: Path, event: int) -> bool:
    """Whether the apply was killed before it was done."""
    command = [sys.executable, "-c", KILLED_AT, str(file), str(event)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, -SIGKILL), done.stderr
    return done.returncode != 0


def declare(directory: Path, file: Path, name: str) -> Provider:
    """A fleet of one replica, which is in the fleet file too."""
    file.write_text(FILE.format(directory=directory, name=name))
    return provision_fleet.wanted_by(file, {}).provider


def test_killed_at_every_step_the_next_apply_completes_and_leaves_no_orphan(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing to a primary with a replica; then to another one in its place."""
    monkeypatch.setattr(provision_fleet, "FOLLOWED_S", 0.0)
    file = tmp_path / "fleet.toml"
    event, provider = 0, declare(directory, file, "replica-1")
    while killed(file, event):
        carried_out(provider)
        _check_whole(directory, file, provider, "replica-1")
        LocalFleet.remove(directory)
        (tmp_path / "replicas.toml").unlink()
        event += 1
    assert event >= 9, "three begin, two tell at least once, and all end"
    event = 0
    while declare(directory, file, "replica-2") and killed(file, event):
        provider = declare(directory, file, "replica-1")
        carried_out(provider)
        _check_whole(directory, file, provider, "replica-1")
        event += 1
    assert event >= 13
    _check_whole(directory, file, declare(directory, file, "replica-2"), "replica-2")


def _check_whole(directory: Path, file: Path, provider: Provider, name: str) -> None:
    fleet = LocalFleet.attach(directory)
    assert streaming(directory) == [name]
    assert slots(directory) == {name.replace("-", "_")}
    assert (fleet.remnants, len(fleet.names)) == ((), 2)
    assert {path.name for path in (directory / "nodes").iterdir()} == {"primary", name}
    registered, problems = read_fleet_file(str(file.with_name("replicas.toml")))
    assert [(node.name, node.dsn.hosts[0][1]) for node in registered] == [(name, fleet.node(name).port)]
    assert not problems
    assert not asyncio.run(plan_apply(provider)).steps
