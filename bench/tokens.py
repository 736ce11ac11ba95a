"""Two processes: one writes and hands on a token, the other reads what the token covers."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from bench.contenders import environ
from bench.figures import Figure
from pgfleet import AsyncReplicaRouter
from pgfleet.local import LocalFleet

TABLE = "bench_token"
READ = f"select inet_server_port(), version from {TABLE} where org = $1"
WRITE = f"update {TABLE} set version = version + 1 where org = $1 returning version"
ORGS = 16
WRITES = 10_000
SECRET = {"PGFLEET_TOKEN_SECRET": "0123456789abcdef" * 4}


def across_processes(fleet: LocalFleet, *, quick: bool) -> list[Figure]:
    """Write in this process and read in another, `ORGS` at a time."""
    fleet.sql(
        fleet.primary, f"create table {TABLE} (org int primary key, version bigint) with (fillfactor = 50)"
    )
    fleet.sql(fleet.primary, f"insert into {TABLE} select n, 0 from generate_series(0, {ORGS - 1}) n")
    known, port = environ(fleet) | SECRET, fleet.node(fleet.primary).port
    with _reader(known, port) as line:
        writes = asyncio.run(_write(known, line, WRITES // 50 if quick else WRITES))
        line.send(None)
        reads, stale, on_replicas = line.recv()
    assert reads == writes
    share = f"{100 * on_replicas / reads:.0f} % on replicas"
    return [Figure(f"stale reads of {reads} in another process, by token", stale, "", 0, detail=share)]


@contextmanager
def _reader(known: dict[str, str], port: int) -> Iterator[Connection]:
    ours, theirs = multiprocessing.Pipe()
    reader = multiprocessing.get_context("spawn").Process(target=_read_all, args=(known, port, theirs))
    reader.start()
    theirs.close()  # so that we hear of its end
    try:
        ours.recv()
        yield ours
    finally:
        reader.join(10)
        reader.kill()


async def _write(known: dict[str, str], line: Connection, writes: int) -> int:
    done = 0
    async with AsyncReplicaRouter.from_env(known, driver="asyncpg") as router:

        async def writer(org: int) -> None:
            nonlocal done
            for _ in range(writes // ORGS):
                async with router.write(org_id=org) as conn:
                    version = await conn.fetchval(WRITE, org)
                line.send((org, version, await router.token(org_id=org)))
                done += 1

        await asyncio.gather(*map(writer, range(ORGS)))
    return done


def _read_all(known: dict[str, str], port: int, line: Connection) -> None:
    line.send(asyncio.run(_read(known, port, line)))


async def _read(known: dict[str, str], port: int, line: Connection) -> tuple[int, int, int]:
    """Read each as it comes; the reads, how many were stale, and how many went to replicas."""
    tally = [0, 0, 0]
    async with AsyncReplicaRouter.from_env(known, driver="asyncpg") as router:

        async def read(org: int, version: int, token: str) -> None:
            ((at, seen),) = await router.fetch(READ, org, after=token)
            tally[0] += 1
            tally[1] += seen < version
            tally[2] += at != port

        line.send("ready")
        under_way = set[asyncio.Task[Any]]()
        while (sent := await asyncio.to_thread(line.recv)) is not None:
            under_way.add(asyncio.create_task(read(*sent)))
        await asyncio.gather(*under_way)
    return tally[0], tally[1], tally[2]
