"""What applications do with a router, chosen by chance, and what they make of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from pgfleet.core.topology import Topology
from pgfleet.errors import PgfleetError, PrimaryUnavailable
from pgfleet.testing.simulated.errors import SimulatedError
from pgfleet.testing.simulated.session import Seen, Session
from pgfleet.testing.virtual import VirtualRouter, pass_time
from tests.sim.invariants import Invariant
from tests.sim.witness import Witness

ORGS = 4
SLACK_S = 1.2
"""Beyond a caller's time: waits for fresh knowledge, half a second each, do not know of his deadline, and two may
follow each other (seed 1271)."""
HEDGED_SHARE = 0.3
WAITED_S = 0.2
"""After a wait like this the primary may have been lost and found meanwhile."""
THINK_S = (0.0, 0.01, 0.1, 0.5)


@dataclass
class Promise:
    """What the router owes to one read."""

    since_s: float
    org_id: int | None
    max_lag_s: float | None
    own: tuple[Any, ...]
    sampled_s: float | None
    """The last sample of the primary as the read began."""
    frozen: bool
    """None was known then, so the fleet's bound stood still at that sample."""


class Caller:
    """One task of an application."""

    def __init__(self, name: str, router: VirtualRouter[Session], witness: Witness, rng: Random) -> None:
        self.name = name
        self.router = router
        self.witness = witness
        self.rng = rng
        self.is_enough = False
        self.only_writes = False
        self.served_by = ""
        """Who served the last read."""
        self._serial = count(1)
        self._deeds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.fetch, 8),
            (self.read_block, 4),
            (self.read_transaction, 1),
            (self.run_read, 2),
            (self.slow_fetch, 1),
            (self.write_block, 4),
            (self.execute, 3),
            (self.give_up, 2),
        ]

    async def work(self) -> None:
        """One deed after another, with a pause between them, until it is enough."""
        deeds, weights = zip(*self._deeds, strict=True)
        while not self.is_enough and not self.witness.failed:
            await self.do(self.execute if self.only_writes else self.rng.choices(deeds, weights)[0])
            await pass_time(self.rng.choice(THINK_S) * self.rng.random())

    @property
    def _now_s(self) -> float:
        return self.witness.cluster.now_s

    async def do(self, deed: Callable[[], Awaitable[None]]) -> bool:
        """Whether it went well; what goes wrong must be ours or the driver's, with a reason."""
        name = getattr(deed, "__name__", "deed")
        try:
            await deed()
        except PgfleetError as error:
            self.witness.note(self.name, name, "refused:", error.message)
            self._check_refusal(error, name)
        except (SimulatedError, OSError) as error:
            self.witness.note(self.name, name, "failed:", error)
            notes = " ".join(getattr(error, "__notes__", ()))
            is_told = "as if it crashed them" in notes or "its time is over" in notes
            if name in ("fetch", "plain_fetch", "slow_fetch", "run_read") and not is_told:
                self.witness.broken(Invariant.RETRIED, f"{name}: {error!r}")
        except Exception as error:
            self.witness.broken(Invariant.OUR_ERRORS, f"{name}: {error!r}")
            raise
        else:
            return True
        finally:
            self._check_lines()
        return False

    def _check_lines(self) -> None:
        for node in self.router.engine.board.nodes.values():
            for pool in node.pools:
                if pool.has_line() and pool.has_room():
                    self.witness.broken(Invariant.LOST_WAKEUP, node.name)

    def _check_refusal(self, error: PgfleetError, name: str) -> None:
        _, _, why = error.message.partition(": ")
        if not error.hint or (isinstance(error, PrimaryUnavailable) and not why):
            self.witness.broken(Invariant.REASONS, repr(error))

    # reads

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.rng.random() < 0.4:
            options["org_id"] = self.rng.randrange(ORGS)
        if self.rng.random() < 0.3:
            options["max_lag_s"] = self.rng.choice((0.1, 0.5, 1.0, 3.0))
        if self.rng.random() < 0.1:
            options["prefer_replica"] = False
        if self.rng.random() < 0.2:
            options["timeout_s"] = self.rng.choice((0.3, 1.0))
        return options

    def promise(self, options: dict[str, Any]) -> Promise:
        """What a read with these options may rely on, if it begins now."""
        topology = self.router.topology
        org_id = options.get("org_id")
        own = () if org_id is None else self.witness.acknowledged_by(org_id)
        sampled_s, frozen = topology.history.last_asked_s, self._stands_still(topology)
        return Promise(self._now_s, org_id, options.get("max_lag_s"), own, sampled_s, frozen)

    @staticmethod
    def _stands_still(topology: Topology) -> bool:
        """Whether the fleet's own bound does: no primary answers, or it has no connection left for the question."""
        return topology.primary is None or topology.primary.is_full

    def check(self, promise: Promise, seen: Seen, where: str) -> None:
        """Hold what a read saw to its promise."""
        topology, bound_s = self.router.topology, promise.max_lag_s
        covers_s = promise.since_s - (self.router.settings.max_lag_s if bound_s is None else bound_s)
        frozen = promise.frozen or self._stands_still(topology) or self._now_s - promise.since_s > WAITED_S
        if bound_s is None and frozen and promise.sampled_s is not None:
            covers_s -= promise.since_s - promise.sampled_s
        self.served_by = seen.server.name
        self.witness.note(self.name, where, self.served_by, f"org {promise.org_id} bound {bound_s}")
        self.witness.read(seen, promise.since_s, covers_s, promise.own)

    async def fetch(self) -> None:
        """One read of one statement, which may be sent to a second replica when it is late."""
        options = self._options()
        try:
            await self._fetch(options | {"hedge": self.rng.random() < HEDGED_SHARE})
        except PrimaryUnavailable as error:
            if not options:
                self.witness.refused(error.message)
            raise

    async def plain_fetch(self) -> None:
        """One without a wish."""
        await self._fetch({})

    async def slow_fetch(self) -> None:
        """One that takes its time."""
        await self._fetch({}, self.rng.choice((0.3, 1.0)))

    async def _fetch(self, options: dict[str, Any], *args: float) -> None:
        promise = self.promise(options)
        try:
            ((seen,),) = await self.router.fetch("select", *args, **options)
        finally:
            self._check_time(promise, options)
        self.check(promise, seen, "fetch")

    def _check_time(self, promise: Promise, options: dict[str, Any]) -> None:
        if (timeout_s := options.get("timeout_s")) is None:
            return
        took_s = self._now_s - promise.since_s
        if took_s > timeout_s + SLACK_S:
            self.witness.broken(Invariant.IN_TIME, f"{took_s:.3f} s instead of {timeout_s}")

    async def read_block(self) -> None:
        """Two statements on one connection."""
        options = self._options()
        options.pop("timeout_s", None)
        asked_s, promise = self._now_s, self.promise(options)
        async with self.router.read(**options) as conn:
            self._check_entry(asked_s)
            self.witness.lent(conn, self.name)
            try:
                for _ in range(2):
                    ((seen,),) = await conn.fetch("select")
                    self.check(promise, seen, "read")
                if self.rng.random() < 0.2:
                    conn.dirty = True  # as by `set application_name`
            finally:
                conn.borrower = None

    async def read_transaction(self) -> None:
        """A read in a transaction of its own."""
        options = self._options() | {"transaction": True}
        asked_s, promise = self._now_s, self.promise(options)
        async with self.router.read(**options) as conn:
            self._check_entry(asked_s)
            ((seen,),) = await conn.fetch("select")
            self.check(promise, seen, "transaction")

    async def run_read(self) -> None:
        """A function that may run again elsewhere."""
        options = self._options()
        promise = self.promise(options)

        async def work(conn: Session) -> Any:
            return await conn.fetch("select")

        try:
            ((seen,),) = await self.router.run_read(work, **options)
        finally:
            self._check_time(promise, options)
        self.check(promise, seen, "run_read")

    async def give_up(self) -> None:
        """A caller who is cancelled."""
        task = asyncio.ensure_future(self.rng.choice((self.fetch, self.read_block, self.write_block))())
        await asyncio.wait([task], timeout=self.rng.choice((0.0, 0.0005, 0.002, 0.2)))
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    # writes

    def _key(self) -> str:
        return f"{self.name}.{next(self._serial)}"

    async def write_block(self) -> None:
        """A write of an org, in a transaction or not, or one that the caller takes back."""
        org_id, key, asked_s = self.rng.randrange(ORGS), self._key(), self._now_s
        takes_back, transaction = self.rng.random() < 0.15, self.rng.choice((None, True))
        try:
            async with self.router.write(org_id=org_id, transaction=transaction) as conn:
                self._check_entry(asked_s)
                self.witness.lent(conn, self.name)
                await self._write_in(conn, key, takes_back)
        except _TakenBack:
            return
        self._acknowledged(key, org_id)

    async def _write_in(self, conn: Session, key: str, takes_back: bool) -> None:
        try:
            await pass_time(self.rng.choice((0.0, 0.0, 0.01, 0.5)))
            await conn.fetch("insert", key)
            if takes_back:
                raise _TakenBack
        finally:
            conn.borrower = None

    async def execute(self) -> None:
        """A write of one statement."""
        org_id, key = self.rng.randrange(ORGS), self._key()
        await self.router.execute("insert", key, org_id=org_id)
        self._acknowledged(key, org_id)

    def _acknowledged(self, key: str, org_id: int) -> None:
        self.witness.note(self.name, "wrote", key, "org", org_id)
        self.witness.acknowledged(key, org_id)

    def _check_entry(self, asked_s: float) -> None:
        took_s = self._now_s - asked_s
        if took_s > self.router.settings.connection_timeout_s + SLACK_S:
            self.witness.broken(Invariant.IN_TIME, f"entered after {took_s:.3f} s")


class _TakenBack(Exception):
    """The caller changed his mind."""
