"""`pgfleet verify` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgfleet.local import LocalFleet, ServerState
from pgfleet.settings import Secret
from pgfleet.testing import eventually
from pgfleet.verify.asking import Site
from pgfleet.verify.figures import ApiFigures
from pgfleet.verify.items import Item, Outcome
from pgfleet.verify.judgements.api import health_item
from pgfleet.verify.judgements.shapes import HEALTH, LAG
from tests.cli.command import TIMEOUT_S, pgfleet, start

TOKEN = "4f2d9c1ab0e87766"


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    with LocalFleet.temporary(replicas=2) as fleet:
        yield fleet


def items(output: str) -> dict[str, Any]:
    return {item["item"]: item for item in json.loads(output)["items"]}


def test_a_fleet_that_is_well_in_json_and_markdown(fleet: LocalFleet, tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    done = pgfleet(
        "verify",
        "--replicas",
        "2",
        "--json",
        "--markdown",
        str(path),
        "--strict",
        "--prometheus-token-env",
        "PGFLEET_PROMETHEUS_TOKEN",
        environ=fleet.environ(plain=True) | {"PGFLEET_PROMETHEUS_TOKEN": TOKEN},
    )
    assert (done.returncode, done.stderr) == (1, "")  # the items that were skipped
    found = items(done.stdout)
    assert {key for key, item in found.items() if item["outcome"] != "passed"} == {"alerts", "failover"}
    assert all(item["nextStep"] for item in found.values() if item["outcome"] == "skipped")
    assert json.loads(done.stdout)["passed"] is True
    report = path.read_text()
    assert report.count("- [x]") == 9
    assert f"| replica-2 | replica | 127.0.0.1:{fleet.node('replica-2').port}/" in report
    password = fleet.dsn("primary", plain=True).split(":")[2].split("@")[0]
    assert password not in done.stdout + report


def test_a_drill_is_shown_in_80_columns(fleet: LocalFleet) -> None:
    done = pgfleet(
        "verify", "--drill", "--directory", str(fleet.directory), environ=fleet.environ() | {"COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^Failover of a replica +passed +replica-1 was stopped", done.stdout, re.MULTILINE)
    assert "really stopped" in " ".join(done.stdout.split())
    assert re.search(r"^10 of 11 items passed, 1 skipped in", done.stdout, re.MULTILINE)


def test_ctrl_c_in_the_drill_leaves_no_replica_stopped(fleet: LocalFleet) -> None:
    def is_killed() -> bool:
        return any(node.state is ServerState.STOPPED for node in fleet.status())

    with start("verify", "--drill", "--directory", str(fleet.directory), environ=fleet.environ()) as process:
        try:
            assert eventually(is_killed)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert not is_killed()


def test_ctrl_c_does_not_disturb_what_undoes_a_kill(fleet: LocalFleet, tmp_path: Path) -> None:
    struck, begun, go_on, undone = (tmp_path / name for name in ("struck", "begun", "go-on", "undone"))
    stop, undo = (
        f"touch {struck}",
        f"touch {begun}; until [ -e {go_on} ]; do sleep 0.02; done; touch {undone}",
    )
    with start("verify", "--allow-kill", stop, "--undo", undo, environ=fleet.environ()) as process:
        try:
            assert eventually(struck.exists)
            process.send_signal(signal.SIGINT)
            assert eventually(begun.exists)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)
            go_on.touch()
            process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert undone.exists()


def test_a_wrong_environment_is_an_item_and_the_others_wait(fleet: LocalFleet) -> None:
    done = pgfleet("verify", "--json", environ=fleet.environ() | {"DB_MAX_CONNECTIONS": "many"})
    assert (done.returncode, done.stderr) == (1, "")
    found = items(done.stdout)
    assert found["environment"]["outcome"] == "failed"
    assert found["environment"]["evidence"][0].startswith("DB_MAX_CONNECTIONS: ")
    assert {item["outcome"] for key, item in found.items() if key != "environment"} == {"skipped"}


def test_a_service_that_runs_is_asked(fleet: LocalFleet) -> None:
    environ = fleet.environ() | {"PGFLEET_API_TOKEN": TOKEN}
    with start("serve", "--port", "0", environ=environ) as service:
        try:
            assert service.stdout is not None
            found = re.search(r"http://[\d.]+:\d+", service.stdout.readline())
            assert found
            well = pgfleet("verify", "--json", "--url", found[0], environ=environ)
            refused = asyncio.run(as_somebody_else(found[0]))
        finally:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=TIMEOUT_S)
    assert well.returncode == 0, well.stdout
    health = items(well.stdout)["health"]
    assert health["evidence"] == [
        f"GET {found[0]}/v1/system/database/replicas/health: All 2 replicas are healthy"
    ]
    assert (refused.outcome, refused.evidence[0]) == (Outcome.FAILED, f"{HEALTH}: answers 401")


async def as_somebody_else(url: str) -> Item:
    site = Site(url, Secret("wr0ng" * 4))
    answers = {path: await site.get(path) for path in (HEALTH, LAG)}
    return health_item(ApiFigures(url, False, answers, 401), 2)


def test_a_service_that_never_answers_is_asked_once(fleet: LocalFleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = pgfleet("verify", "--json", "--url", url, environ=fleet.environ())
    assert done.returncode == 1
    failed = {key for key, item in items(done.stdout).items() if item["outcome"] == "failed"}
    assert failed == {"health", "pools", "endpoints"}
    assert items(done.stdout)["health"]["evidence"][0] == f"{HEALTH}: no answer: timed out"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--allow-kill", "true"], "--allow-kill and --undo belong together"),
        (["--undo", "true"], "--allow-kill and --undo belong together"),
        (["--url", "127.0.0.1:4000"], "--url: is no URL"),
        (["--prometheus", "prometheus:9090"], "--prometheus: is no URL"),
        (["--prometheus", "http://p:9090", "--prometheus-token-env", "NOBODY"], "NOBODY: is not set"),
        (["--seconds", "1"], "--seconds"),
    ],
)
def test_what_cannot_be_asked_for(args: list[str], told: str) -> None:
    done = pgfleet("verify", *args)
    assert done.returncode == 2
    assert told in done.stderr.replace("\n", " ")
    assert done.stdout == ""
