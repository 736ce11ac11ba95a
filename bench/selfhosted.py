"""How long two replicas take over SSH, from a file to streaming: hosts of their own, real sshd. As root, on Linux."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter

from bench.figures import Figure
from tests.hosts import TestHosts, test_hosts
from tests.selfhosted import HOME, SOCKETS, Work, clean, start_primary

LIMIT_S = 10.0


def run(*, quick: bool) -> list[Figure]:
    """Make and unmake a fleet some times."""
    with test_hosts("one", "two", "three") as hosts:
        start_primary(hosts, {"unix_socket_directories": SOCKETS, "max_slot_wal_keep_size": "1GB"})
        times = [asyncio.run(_made_s(hosts)) for _ in range(1 if quick else 7)]
    made = [one for one, _ in times]
    return [
        Figure("two replicas over SSH, plan and apply, to streaming", median(made), "s", LIMIT_S),
        Figure(
            "the slowest of them", max(made), "s", detail=f"of {len(made)}; the first restarts the primary"
        ),
        Figure("the plan that finds nothing to do", median(planned for _, planned in times), "s"),
    ]


async def _made_s(hosts: TestHosts) -> tuple[float, float]:
    """Seconds to make it, and to find that nothing is left to do."""
    replicas = {
        f"replica-{place}": {"on": on, "data_directory": f"{HOME}/copy"}
        for place, on in enumerate(("two", "three"), 1)
    }
    bin_directory = {"bin_directory": str(hosts.wheel.directory)}
    work = Work(hosts, "bench", replicas, {"socket_directory": SOCKETS}, bin_directory)
    began_s = perf_counter()
    await work.try_apply("restart")
    made_s = perf_counter() - began_s
    assert await work.to_do() == []
    planned_s = perf_counter() - began_s - made_s
    clean(hosts)
    return made_s, planned_s
