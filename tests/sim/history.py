"""One history: a fleet, its callers, what goes wrong, and the end at which all must be well again. All by its seed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from pgfleet import NodeSettings, Settings
from pgfleet.chance import CHANCE
from pgfleet.testing.simulated.cluster import Cluster
from pgfleet.testing.simulated.session import Session
from pgfleet.testing.virtual import VirtualRouter, pass_time, run, settle
from tests.fakes import dsn, leases
from tests.sim.callers import Caller
from tests.sim.faults import Faults
from tests.sim.invariants import ALL, Invariant, Violation
from tests.sim.visitors import Visitor
from tests.sim.witness import Witness

CLIENT = "client"
RECOVERY_S = 12.0
"""Within this, once the faults are over, every node serves again."""
LOOK_S = 0.25
LEAST_BOUND_S = 3.0
"""Asynchronous commits reach a standby after up to 0.6 s, and both are looked at once a second: 2.6 s in all. Replicas
that nobody reads may be looked at more seldom than the bound: then the first reads after a while go to the primary."""


@dataclass
class History:
    """What happened, and what it broke."""

    seed: int
    steps: list[str]
    violation: Violation | None

    def __str__(self) -> str:
        return "\n".join((f"seed {self.seed}: {self.violation or 'well'}", *self.steps))


def replay(seed: int, checks: frozenset[Invariant] = ALL) -> History:
    """Live the history of this seed."""
    with _chance(seed), _silence():
        return run(_live(seed, checks), seed)


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """The router's own dice."""
    CHANCE.seed(seed)
    try:
        yield
    finally:
        CHANCE.seed()


@contextmanager
def _silence() -> Iterator[None]:
    """The log tells what the steps tell, and costs more than all else."""
    logger = logging.getLogger("pgfleet")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _live(seed: int, checks: frozenset[Invariant]) -> History:
    rng = Random(seed)
    settings = fleet(rng)
    nodes = (settings.primary, *settings.replicas)
    cluster = Cluster([node.name for node in nodes], seed)
    witness = Witness(cluster, CLIENT, checks)
    connect = partial(cluster.connect, client=CLIENT, transactional=rng.random() < 0.5)
    router: VirtualRouter[Session] = VirtualRouter(settings, connect)
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: witness.broken(Invariant.OUR_ERRORS, str(context))
    )
    try:
        async with router:
            await _Story(cluster, router, witness, rng).tell()
        await _all_is_closed(cluster, witness)
    finally:
        cluster.stop()
    return History(seed, witness.steps, witness.failed)


def fleet(rng: Random) -> Settings:
    """Some fleet."""
    count = rng.choice((1, 2, 3, 3))
    size = rng.choice((1, 2, 3, 5))
    options: dict[str, Any] = {"max_connections": size, "min_connections": rng.choice((0, 1))}
    nodes = [NodeSettings(f"replica-{n}", dsn(f"replica-{n}"), **options) for n in range(1, count + 1)]
    return Settings(
        NodeSettings("primary", dsn("primary"), **options),
        tuple(nodes),
        use_replicas=True,
        max_lag_s=rng.choice((1.0, 2.0, 10.0)),
        health_check_interval_s=rng.choice((0.5, 1.0, 5.0)),
        connection_timeout_s=rng.choice((1.0, 3.0)),
        policy=rng.choice(("round_robin", "least_in_flight")),
    )


class _Story:
    """The course of a history."""

    def __init__(
        self, cluster: Cluster, router: VirtualRouter[Session], witness: Witness, rng: Random
    ) -> None:
        self.cluster = cluster
        self.router = router
        self.witness = witness
        self.rng = rng
        self.faults = Faults(cluster, CLIENT, rng)
        self.callers = [Caller(f"caller-{n}", router, witness, Random(rng.random())) for n in range(1, 5)]
        own = Random(rng.getstate()[1][0])  # so that the other callers do the same as without them
        self.callers += [
            Visitor(f"visitor-{n}", router, witness, Random(own.random()))
            for n in range(own.choice((0, 0, 1, 2)))
        ]
        self.checker = Caller("checker", router, witness, rng)

    async def tell(self) -> None:
        """Trouble, then peace."""
        end_s = self.cluster.now_s + self.rng.uniform(3.0, 9.0)
        at_work = [asyncio.ensure_future(caller.work()) for caller in self.callers]
        while self.cluster.now_s < end_s and not self.witness.failed:
            await pass_time(self.rng.choice((0.05, 0.3, 0.8, 1.5)))
            self._strike(self.faults.strike)
        self._strike(self.faults.end)
        if not self.witness.failed:
            await self._recovers()
        for caller in self.callers:
            caller.is_enough = True
        await self._at_rest(at_work)
        self._all_watched()

    def _strike(self, happen: Callable[[], str]) -> None:
        self.witness.look()
        self.witness.note("--", happen())
        self.witness.look()
        self._look()

    def _look(self) -> None:
        explanation = self.router.explain()
        self.witness.explained(explanation)
        plan = self.router.engine.board.table.plan
        reasons = dict(plan.left_out)
        names = [node.name for node in self.router.settings.replicas]
        self.witness.ejected([reasons[name].name if name in reasons else "" for name in names])

    async def _recovers(self) -> None:
        """Every node serves again, and reads and writes succeed."""
        until_s = self.cluster.now_s + RECOVERY_S
        while not await self._serves():
            if self.cluster.now_s > until_s:
                self.witness.broken(Invariant.LIVENESS, str(self.router.explain()))
                return
            await pass_time(LOOK_S)
        self.witness.note("-- well again")
        settings = self.router.settings
        if settings.max_lag_s >= LEAST_BOUND_S > settings.health_check_interval_s:
            await self._reads_replicas()

    async def _reads_replicas(self) -> None:
        """Now that all are well, a plain read spares the primary."""
        for caller in self.callers:
            caller.only_writes, caller.is_enough = True, caller is not self.callers[0]
        await pass_time(1.0)
        reader, leader = self.checker, self.faults.leader
        for _ in range(5):
            await pass_time(0.2)
            if await reader.do(reader.plain_fetch) and leader and reader.served_by == leader.name:
                self.witness.broken(Invariant.ON_REPLICAS, str(self.router.explain()))

    async def _serves(self) -> bool:
        self._look()
        explanation = self.router.explain()
        if not all(node.candidate for node in explanation.nodes):
            return False
        caller = self.checker
        return await caller.do(caller.plain_fetch) and await caller.do(caller.execute)

    async def _at_rest(self, at_work: Sequence[asyncio.Future[None]]) -> None:
        _, late = await asyncio.wait(at_work, timeout=RECOVERY_S)
        for task in late:
            self.witness.broken(Invariant.IN_TIME, "a caller is still waiting")
            task.cancel()
        for outcome in await asyncio.gather(*at_work, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.witness.broken(Invariant.OUR_ERRORS, repr(outcome))
        await settle()
        if lent := leases(self.router):
            self.witness.broken(Invariant.LEASES_RETURN, f"{lent} are lent")

    def _all_watched(self) -> None:
        running = {task.get_name() for task in asyncio.all_tasks()}
        wanted = {f"pgfleet watch {name}" for name in self.cluster.servers}
        if missing := wanted - running:
            self.witness.broken(Invariant.WATCHED, ", ".join(sorted(missing)))


async def _all_is_closed(cluster: Cluster, witness: Witness) -> None:
    await pass_time(2.0)
    for server in cluster.servers.values():
        if server.sessions:
            witness.broken(Invariant.LEASES_RETURN, f"{len(server.sessions)} sessions of {server.name}")
