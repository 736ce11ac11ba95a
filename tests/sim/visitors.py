"""Callers whose reads and writes belong together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from random import Random
from typing import Any

from pgfleet.testing.simulated.session import Seen, Session
from pgfleet.testing.simulated.wal import Record
from pgfleet.testing.virtual import VirtualRouter, pass_time
from tests.sim.callers import HEDGED_SHARE, Caller
from tests.sim.witness import Witness

PAUSES_S = (0.0, 0.0, 0.005, 0.05, 0.4)


class Visitor(Caller):
    """One task of an application that opens a session for each of its visits."""

    def __init__(self, name: str, router: VirtualRouter[Session], witness: Witness, rng: Random) -> None:
        super().__init__(name, router, witness, rng)
        self._own: list[Record] = []
        self._shown: list[Record] = []

    async def work(self) -> None:
        """One visit after another, until it is enough."""
        while not self.is_enough and not self.witness.failed:
            await self._visit()
            await pass_time(0.5 * self.rng.random())

    async def _visit(self) -> None:
        """Some reads and writes, some of them at once."""
        self._own, self._shown = [], []
        self.witness.note(self.name, "comes")
        with self.router.session():
            for _ in range(self.rng.randint(2, 10)):
                if self.is_enough or self.witness.failed:
                    return
                await asyncio.gather(
                    *(self.do(self._deed()) for _ in range(self.rng.choice((1, 1, 1, 2, 3))))
                )
                await pass_time(self.rng.choice(PAUSES_S))

    def _deed(self) -> Callable[[], Awaitable[None]]:
        deeds = (self.fetch, self.read_block, self.run_read, self.execute)
        return self.rng.choices(deeds, (4, 2, 1, 1))[0]

    # reads

    def _begun(self) -> Callable[[Seen], None]:
        """What holds what a read that begins now has seen to what had been seen and written before."""
        return partial(self._saw, self._now_s, tuple(self._own), tuple(self._shown))

    def _saw(self, since_s: float, own: tuple[Record, ...], shown: tuple[Record, ...], seen: Seen) -> None:
        self.witness.note(self.name, "sees", seen.server.name, seen.server.life, "in its session")
        self.witness.read_in_session(seen, since_s, own, shown)
        self._shown = [*self._shown[-2:], seen.log]

    async def fetch(self) -> None:
        """One statement, which may be sent twice."""
        saw = self._begun()
        ((seen,),) = await self.router.fetch("select", hedge=self.rng.random() < HEDGED_SHARE)
        saw(seen)

    async def read_block(self) -> None:
        """Two statements on one connection, and time for others between them."""
        saw = self._begun()
        async with self.router.read() as conn:
            self.witness.lent(conn, self.name)
            try:
                for _ in range(2):
                    ((seen,),) = await conn.fetch("select")
                    saw(seen)
                    await pass_time(self.rng.choice(PAUSES_S))
            finally:
                conn.borrower = None

    async def run_read(self) -> None:
        """A function that may run again elsewhere."""
        saw = self._begun()

        async def work(conn: Session) -> Any:
            return await conn.fetch("select")

        ((seen,),) = await self.router.run_read(work)
        saw(seen)

    # writes

    async def execute(self) -> None:
        """A write that the session must see."""
        key: Hashable = self._key()
        await self.router.execute("insert", key)
        self.witness.note(self.name, "wrote", key, "in its session")
        self._own = [*self._own, self.witness.commit_of(key)]
