"""Who reads and writes: a writer for each org, and readers of all of them, as fast as they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random
from time import monotonic
from typing import Any

from pgfleet.drill.consistency.elsewhere import Elsewhere
from pgfleet.drill.consistency.faces import Face
from pgfleet.drill.consistency.history import (
    NO_SESSION,
    Outcome,
    Promise,
    Read,
    State,
    Write,
    state_of,
)
from pgfleet.drill.consistency.keys import LIST_LENGTH, is_list, list_of, org_of, register_of
from pgfleet.drill.consistency.recorder import Recorder
from pgfleet.drill.consistency.tables import Statements
from pgfleet.errors import LeaseTimeout, PrimaryUnavailable, RouterClosed, SplitBrain

REFUSALS = (LeaseTimeout, PrimaryUnavailable, RouterClosed, SplitBrain)
"""By these the router says that a write was surely not done."""
BOUNDS_S = (0.3, 1.0, 3.0)
SHARES = {
    Promise.OWN: 8,
    Promise.BOUND: 4,
    Promise.PRIMARY: 1,
    Promise.NOTHING: 2,
    Promise.SESSION: 1,
    Promise.TOKEN: 1,
}
"""How often a reader asks for each; a session is several reads."""
WRITES_SHARE = 0.3
"""Of what a writer does. The rest reads what it has just written."""
SESSIONS_SHARE = 0.1
"""Of what a writer does is a session."""
IN_SESSION = (3, 8)
REST_S = 0.02
"""After a call that failed."""


@dataclass
class Org:
    """What its writer has sent so far."""

    number: int
    is_asynchronous: bool
    """Its commits do not wait for their flush."""
    version: int = 0
    serial: int = 1
    length: int = 0

    @property
    def register(self) -> int:
        """The key of its register."""
        return register_of(self.number)

    @property
    def list(self) -> int:
        """The key of the list that it appends to now."""
        return list_of(self.number, self.serial)

    def next_version(self) -> tuple[int, int]:
        """The key and the number of its next write."""
        self.version += 1
        return self.register, self.version

    def next_element(self) -> tuple[int, int]:
        """The key and the number of its next element."""
        if self.length == LIST_LENGTH:
            self.serial, self.length = self.serial + 1, 0
        self.length += 1
        return self.list, self.length


@dataclass
class World:
    """What all clients share."""

    face: Face
    statements: Statements
    names: Mapping[int, str]
    """The nodes by their ports."""
    orgs: tuple[Org, ...]
    recorder: Recorder
    is_enough: Callable[[], bool]
    elsewhere: Elsewhere
    sessions: count[int] = field(default_factory=lambda: count(1))

    def sql_of(self, key: int) -> str:
        """The read of this key."""
        return self.statements.read_list if is_list(key) else self.statements.read_register


class Client:
    """One of them."""

    def __init__(self, number: int, world: World, rng: Random, org: Org | None = None) -> None:
        self.number = number
        self.world = world
        self._rng = rng
        self._org = org
        self._session = NO_SESSION

    async def work(self) -> None:
        """Until it is enough."""
        while not self.world.is_enough():
            if self._org is None:
                await self._read_any()
            elif self._rng.random() < SESSIONS_SHARE:
                await self._in_session(self._org)
            else:
                await self._write_and_read(self._org)

    async def _write_and_read(self, org: Org) -> None:
        key = await self._write(org)
        while self._rng.random() > WRITES_SHARE and not self.world.is_enough():
            await self._read(key, Promise.OWN)

    async def _read_any(self) -> None:
        (promise,) = self._rng.choices(tuple(SHARES), tuple(SHARES.values()))
        if promise is Promise.SESSION:
            await self._in_session()
        else:
            await self._read(self._pick(), promise)

    def _pick(self) -> int:
        org = self._rng.choice(self.world.orgs)
        return self._rng.choice((org.register, org.list))

    async def _in_session(self, org: Org | None = None) -> None:
        """Some reads, of whatever there is. A writer begins with a write."""
        self._session = next(self.world.sessions)
        try:
            with self.world.face.session():
                if org:
                    await self._read(await self._write(org), Promise.SESSION)
                for _ in range(self._rng.randint(*IN_SESSION)):
                    await self._read(self._pick(), Promise.SESSION)
        finally:
            self._session = NO_SESSION

    # writes

    async def _write(self, org: Org) -> int:
        listed = self._rng.random() < 0.5
        key, number = org.next_element() if listed else org.next_version()
        began_s, outcome, node = monotonic(), Outcome.UNKNOWN, ""
        try:
            row = await self.world.face.write(org.number, self._write_sql(org, listed), number, key)
            outcome, node = Outcome.DONE, self.world.names[row[0]]
        except Exception as error:
            outcome = Outcome.REFUSED if isinstance(error, REFUSALS) else Outcome.UNKNOWN
            self.world.recorder.failed("write", error)
            await self.world.face.pause(REST_S)
        finally:  # who is cancelled does not know either
            self.world.recorder.add(
                Write(key, number, self.number, began_s, monotonic(), outcome, node, self._session)
            )
        return key

    def _write_sql(self, org: Org, listed: bool) -> str:
        sql = self.world.statements
        if org.is_asynchronous:
            return sql.append_asynchronously if listed else sql.write_asynchronously
        return sql.append if listed else sql.write

    # reads

    async def _read(self, key: int, promise: Promise) -> None:
        ask = self._asks()[promise]
        try:
            self.world.recorder.add(await ask(key))
        except Exception as error:
            self.world.recorder.failed(_CALLS[promise], error)
            await self.world.face.pause(REST_S)

    def _asks(self) -> dict[Promise, Callable[[int], Awaitable[Read]]]:
        return {
            Promise.NOTHING: lambda key: self._ask(key, Promise.NOTHING),
            Promise.SESSION: lambda key: self._ask(key, Promise.SESSION),
            Promise.OWN: lambda key: self._ask(key, Promise.OWN, 0.0, org_id=org_of(key)),
            Promise.PRIMARY: lambda key: self._ask(key, Promise.PRIMARY, 0.0, prefer_replica=False),
            Promise.BOUND: self._ask_bounded,
            Promise.TOKEN: self._ask_elsewhere,
        }

    def _ask_bounded(self, key: int) -> Awaitable[Read]:
        bound_s = self._rng.choice(BOUNDS_S)
        return self._ask(key, Promise.BOUND, bound_s, max_lag_s=bound_s)

    async def _ask(self, key: int, promise: Promise, before_s: float = inf, **options: Any) -> Read:
        """One read, which covers what was acknowledged so long before it began."""
        began_s = monotonic()
        row = await self.world.face.row(self.world.sql_of(key), key, **options)
        return self._seen(key, row, promise, began_s, began_s - before_s)

    async def _ask_elsewhere(self, key: int) -> Read:
        """In another process, with a token of this one."""
        covers_s = monotonic()
        token = await self.world.face.token(org_of(key))
        began_s = monotonic()
        sql = self.world.elsewhere.sql_of(key)
        row = await self.world.face.elsewhere(self.world.elsewhere, sql, key, token)
        return self._seen(key, row, Promise.TOKEN, began_s, covers_s)

    def _seen(self, key: int, row: Any, promise: Promise, began_s: float, covers_s: float) -> Read:
        port, value = row
        state = state_of(value) if is_list(key) else State(value)
        node = self.world.names[port]
        return Read(key, state, self.number, began_s, monotonic(), node, promise, covers_s, self._session)


_CALLS = {
    Promise.NOTHING: "plain read",
    Promise.OWN: "read of an org",
    Promise.SESSION: "read in a session",
    Promise.BOUND: "bounded read",
    Promise.TOKEN: "read after a token",
    Promise.PRIMARY: "read of the primary",
}
