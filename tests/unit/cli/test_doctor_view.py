"""How findings are shown."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pgfleet.cli.doctor_view import as_document, blocks, clean, print_findings, worst
from pgfleet.core.diagnosis.finding import Finding, Severity, Step
from pgfleet.core.diagnosis.snapshot import NodeSeen, Snapshot

CRITICAL, WARNING, NOTICE = Severity
SNAPSHOT = Snapshot((NodeSeen("primary", "db-0:5432/db"), NodeSeen("replica-1", "db-1:5432/db")))


def finding(node: str = "primary", **changes: str) -> Finding:
    step = Step("alter system set fsync = on;", node)
    return Finding("fsync-off", NOTICE, node, changes.get("evidence", "fsync=off"), (step,))


def test_what_is_the_same_of_several_nodes_is_told_once() -> None:
    (block,) = blocks([finding("primary"), finding("replica-1")])
    assert block.nodes == "primary, replica-1"
    assert block.where(block.first.fix[0]) == "on each"


def test_what_differs_is_told_apart() -> None:
    assert len(blocks([finding("primary"), finding("replica-1", evidence="full_page_writes=off")])) == 2


def test_nothing_that_a_server_says_commands_the_terminal() -> None:
    assert clean("x\x1b[2J\r\ny") == "x?[2J??y"


def test_the_worst_of_nothing_is_nothing() -> None:
    assert worst([]) is None
    assert worst([finding(), Finding("clock-skew", WARNING, "primary", "", ())]) is WARNING
    told = as_document(SNAPSHOT, [], 0.5)
    assert (told["healthy"], told["worst"], told["findings"]) == (True, None, [])


def test_markup_in_a_name_is_text() -> None:
    console = Console(highlight=False, width=80, record=True, file=StringIO())
    print_findings(SNAPSHOT, [finding(evidence="[bold]slot[/] is [red]")], 0.5, console)
    assert "[bold]slot[/] is [red]" in console.export_text()
    assert "on each" not in console.export_text()


def test_a_step_is_printed_under_its_own_node_though_their_names_begin_alike() -> None:
    steps = (Step("select 10;", "replica-10"), Step("select 1;", "replica-1"))
    console = Console(highlight=False, width=80, record=True, file=StringIO())
    print_findings(SNAPSHOT, [Finding("no-slot", NOTICE, "replica-1", "", steps)], 0.5, console)
    lines = [line.strip() for line in console.export_text().splitlines()]
    assert lines[lines.index("select 10;") + 1 :][:2] == ["do        on replica-1:", "select 1;"]
