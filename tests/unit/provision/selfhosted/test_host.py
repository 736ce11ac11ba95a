"""How commands run as the servers' user, told by what a host said of itself; and what marks its data as ours."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pgfleet.provision.selfhosted.copying import Progress
from pgfleet.provision.selfhosted.facts import Data, Machine, Primary
from pgfleet.provision.selfhosted.host import shown, ways
from pgfleet.provision.selfhosted.look_replica import whose
from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.marks import Mark, passfile_text
from pgfleet.provision.selfhosted.places import Login, Place

HOST = Login("10.0.0.2")
PLACE = Place("replica-1", HOST, data_directory="/data")


@pytest.mark.parametrize(
    ("said", "owner", "root"),
    [
        (("root", "0", "no", "no", "yes", "/sbin/runuser"), ("/sbin/runuser", "-u", "postgres", "--"), ()),
        (("root", "0", "yes", "yes", "yes", ""), ("sudo", "-n", "-u", "postgres"), ()),
        (
            ("ops", "1000", "yes", "yes", "yes", "/sbin/runuser"),
            ("sudo", "-n", "-u", "postgres"),
            ("sudo", "-n"),
        ),
        (("ops", "1000", "yes", "no", "yes", ""), ("sudo", "-n", "-u", "postgres"), None),
        (("postgres", "101", "no", "no", "yes", ""), (), None),
        (("ops", "1000", "no", "no", "yes", "/sbin/runuser"), None, None),
        (("root", "0", "no", "no", "no", "/sbin/runuser"), None, ()),
    ],
)
def test_the_way_to_the_servers_user(
    said: tuple[str, ...], owner: tuple[str, ...] | None, root: tuple[str, ...] | None
) -> None:
    found = ways("\n".join(said), HOST, "postgres")
    assert (found.owner, found.root) == (owner, root)
    assert bool(found.hint) == (owner is None)


def test_a_command_is_shown_without_what_is_not_for_a_message() -> None:
    assert shown(("sh", "-c", "cat > /secret")) == "a script"
    assert shown(("/usr/bin/pg_createcluster", "15", "main")) == "pg_createcluster 15"


@pytest.mark.parametrize(
    ("kind", "argv"),
    [
        ("systemd", "systemctl restart postgresql-18"),
        ("pg_ctlcluster", "pg_ctlcluster 18 main restart"),
        ("pg_ctl", "/pg/bin/pg_ctl restart -D /data -m fast -w -t 600 -l /log"),
    ],
)
def test_who_restarts_a_server(kind: str, argv: str) -> None:
    manager = Manager(kind, 18, "/pg/bin", "/data", "/log", "main", "postgresql-18")
    assert " ".join(manager.argv("restart")) == argv
    assert manager.shown("restart", "postgres").startswith(
        "sudo -u postgres" if kind == "pg_ctl" else "sudo "
    )


PRIMARY = Primary(
    180006, "77", {}, frozenset(), "", (), frozenset(), (), frozenset(), 0, 0, Machine("x86_64"), Manager("pg_ctl", 18)
)  # fmt: skip
MARK = Mark("inn", "replica-1", "/data", "abc", is_whole=True)
HALF = Mark("inn", "replica-1", "/data", "abc")
OTHER = Mark("inn", "replica-2", "/data", "abc", is_whole=True)
ELSEWHERE = Mark("inn", "replica-1", "/old", "abc", is_whole=True)


@pytest.mark.parametrize(
    ("mark", "told", "data"),
    [
        (None, {"content": ""}, Data.NOTHING),
        (MARK, {"content": ""}, Data.NOTHING),
        (None, {}, Data.FOREIGN),
        (MARK, {"inside": "abc"}, Data.OURS),
        (MARK, {"inside": "", "system_id": "77"}, Data.FOREIGN),
        (MARK, {"inside": "xyz", "system_id": "77"}, Data.FOREIGN),
        (OTHER, {"inside": "abc"}, Data.FOREIGN),
        (ELSEWHERE, {"inside": "abc"}, Data.FOREIGN),
        (HALF, {"system_id": ""}, Data.HALF),
        (HALF, {"system_id": "77"}, Data.HALF),
        (HALF, {"system_id": "78"}, Data.FOREIGN),
        (HALF, {"system_id": "77", "running": "yes"}, Data.FOREIGN),
        (HALF, {"system_id": "77", "running": "yes", "standby": "yes"}, Data.HALF),
    ],
)
def test_what_is_not_surely_ours_is_somebody_elses(
    mark: Mark | None, told: Mapping[str, str], data: Data
) -> None:
    said = {"content": "yes", "inside": "", "system_id": "77", "mark": mark.text() if mark else "", **told}
    assert whose(said, PLACE, "inn", PRIMARY) is data


def test_a_passfile_is_for_any_primary_to_come() -> None:
    assert passfile_text("inn", "replica-1", "pw") == "*:*:*:inn_replica_1:pw\n"


def test_progress_is_told_by_tenths() -> None:
    lines: list[str] = []
    progress = Progress("replica-1", lines.append)
    for percent in (0, 3, 12, 14, 25, 99, 100, 100):
        progress(f"  {percent * 10240}/1024000 kB ({percent}%), 0/1 tablespace (...data/base/5/1259)")
    progress("waiting for checkpoint")
    assert [line.partition(" %")[0] for line in lines] == [
        f"replica-1: {percent}" for percent in (12, 25, 99, 100)
    ]
    assert lines[0] == "replica-1: 12 % of 1,000.0 MB copied"
