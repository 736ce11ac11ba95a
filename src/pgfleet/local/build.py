"""Making data directories: by initdb, as copies of that, by pg_rewind or pg_basebackup."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pgfleet.core.lsn import Lsn, parse_lsn
from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account
from pgfleet.local.configuration import SUPERUSER
from pgfleet.local.server import LocalNode


def write_for(account: Account, path: Path, text: str) -> None:
    """Write a file that only the servers' user can read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    account.give(path)


def make_node_directory(account: Account, node: LocalNode) -> None:
    """An empty data directory, the servers' user's own, in a directory of the caller's."""
    account.make_passable(node.directory)
    if node.data_directory.exists():
        shutil.rmtree(node.data_directory)
    node.data_directory.mkdir(mode=0o700)
    account.give(node.data_directory)


def initialise(account: Account, initdb: Path, node: LocalNode, password: str) -> None:
    """`initdb`, with checksums, so that pg_rewind works, and without waiting for the disk."""
    pwfile = node.directory / "pwfile"
    write_for(account, pwfile, password)
    try:
        _run(
            account,
            (
                initdb,
                "-D",
                node.data_directory,
                "-U",
                SUPERUSER,
                f"--pwfile={pwfile}",
                "--auth=scram-sha-256",
            ),
            ("--no-sync", "--data-checksums", "--encoding=UTF8", "--no-locale", "--no-instructions"),
        )
    finally:
        pwfile.unlink()


def copy_stopped(account: Account, source: LocalNode, targets: list[LocalNode]) -> None:
    """Standbys from a data directory on which no server runs: faster than a base backup of a running one."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda target: _copy(account, source, target), targets))


def _copy(account: Account, source: LocalNode, target: LocalNode) -> None:
    _run(account, ("cp", "-Rp", f"{source.data_directory}/.", target.data_directory))
    mark_standby(account, target)


def mark_standby(account: Account, node: LocalNode) -> None:
    """A data directory with this file in it makes a standby."""
    _run(account, ("touch", node.data_directory / "standby.signal"))


def is_standby(node: LocalNode) -> bool:
    """Whether its server is, or would start as, a standby."""
    return (node.data_directory / "standby.signal").exists()


def timeline(node: LocalNode) -> int:
    """The timeline of the newest WAL in the data directory: known whether its server runs or not.

    A primary promoted this moment has its history file and no segment yet. A standby that strayed has fetched the
    histories of timelines on which it has nothing.
    """
    files = _segments(node) if is_standby(node) else [*_segments(node), *_histories(node)]
    return _newest_timeline(files)


def _newest_timeline(files: Iterable[Path]) -> int:
    return max((int(path.name[:8], 16) for path in files), default=0)


def rewind(account: Account, pg_rewind: Path, node: LocalNode, primary: LocalNode, source: str) -> bool:
    """Take a stopped node back to where it left the history of `primary`, which `source` (a conninfo) reaches.

    A crashed standby would be refused, so it counts as a primary for the moment: pg_rewind lets it recover first.
    False: it takes a new copy.
    """
    (node.data_directory / "standby.signal").unlink(missing_ok=True)
    outcome = account.run(pg_rewind, "--no-sync", "-D", node.data_directory, f"--source-server={source}")
    if outcome.returncode == 0 and not (node.data_directory / "backup_label").exists():
        _drop_wal_past_the_fork(node, primary)
    return outcome.returncode == 0


def _drop_wal_past_the_fork(node: LocalNode, primary: LocalNode) -> None:
    """Nothing had to be undone, so pg_rewind left what the node had received and not replayed. A standby replays
    whatever it finds, past the fork too."""
    segments = _segments(node)
    if (fork_lsn := _forks(primary).get(_newest_timeline(segments))) is None:
        return
    for segment in segments:
        size_bytes = segment.stat().st_size
        start_lsn = (int(segment.name[8:16], 16) << 32) + int(segment.name[16:], 16) * size_bytes
        if start_lsn + size_bytes > fork_lsn:
            segment.unlink()


def _forks(node: LocalNode) -> dict[int, Lsn]:
    """Where each timeline before the node's own ended for it, by its history file. The first timeline has none."""
    path = node.data_directory / "pg_wal" / f"{timeline(node):08X}.history"
    text = path.read_text() if path.exists() else ""
    lines = [line.split() for line in text.splitlines() if line[:1].isdigit()]
    return {int(number): parse_lsn(lsn) for number, lsn, *_ in lines}


def _segments(node: LocalNode) -> list[Path]:
    return list((node.data_directory / "pg_wal").glob("[0-9A-F]" * 24))


def _histories(node: LocalNode) -> list[Path]:
    return list((node.data_directory / "pg_wal").glob("[0-9A-F]" * 8 + ".history"))


def copy_running(account: Account, pg_basebackup: Path, node: LocalNode, source: str) -> None:
    """A new base backup of a running server in place of whatever data the node had."""
    make_node_directory(account, node)
    _run(
        account,
        (pg_basebackup, "-D", node.data_directory, "-d", source),
        ("--wal-method=stream", "--checkpoint=fast", "--no-sync"),
    )


def _run(account: Account, *parts: tuple[str | Path, ...]) -> None:
    command = [word for part in parts for word in part]
    outcome = account.run(*command)
    if outcome.returncode:
        tail = "\n".join(outcome.output.splitlines()[-6:])
        raise LocalFleetError(f"{Path(command[0]).name} failed\n{tail}", "free some disk space, or try again")
