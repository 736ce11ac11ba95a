"""A session: what a client holds of it, and what the server does for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pgfleet.core.probe import OBSERVE_SQL
from pgfleet.testing.simulated.errors import lost, sql_error
from pgfleet.testing.simulated.server import FLUSH_S, Server
from pgfleet.testing.simulated.wal import Record

if TYPE_CHECKING:
    from pgfleet.testing.simulated.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read saw: all commits of a log up to here."""

    server: Server
    log: Record
    at_s: float
    standby: bool


Reply = Callable[[Any], None]
"""Called once with the result, or with the exception."""


class Session:
    """One connection. The client's half knows only what arrived; `attached` is the server's half."""

    def __init__(self, cluster: Cluster, client: str, server: Server, serial: int, read_only: bool) -> None:
        self.cluster = cluster
        self.client = client
        self.server = server
        self.serial = serial
        self.read_only = read_only
        self.life = server.life
        self.link = cluster.link(client, server.name)
        self.alive = True
        """As far as the client knows."""
        self.attached = True
        """As far as the server knows."""
        self.in_transaction = False
        self.dirty = False
        """Something was left in the session since it was last reset."""
        self.in_use_since_s: float | None = None
        """When the first statement after the last reset was sent; None: nothing was."""
        self.borrower: str | None = None
        """For whoever checks: who has it now."""
        self.was_lent = False
        """For whoever checks, too: it is not new."""
        self._waiting: asyncio.Future[Any] | None = None
        self._xid = 0
        self._pending: list[Hashable] = []

    @property
    def has_pending(self) -> bool:
        """Whether something was written in it and not committed."""
        return bool(self._pending)

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for an answer."""
        return self._waiting is not None

    # the client's half

    async def ask(self, work: Callable[[Reply], None]) -> Any:
        """Send a request, and wait for its answer or for the end of the connection."""
        if not self.alive:
            raise lost()
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        self.link.requests.send(partial(self._arrive, work, partial(self._answer, waiting)))
        try:
            return await waiting
        finally:
            self._waiting = None

    def hang_up(self) -> None:
        """The client ends it, or hears that it has ended. Each session at a moment of its own, whatever the order."""
        if not self.alive:
            return
        self.alive = False
        if self._waiting:
            wake = partial(settle_with, self._waiting, lost())
            asyncio.get_running_loop().call_later(self.serial * 1e-9, wake)

    def leave(self) -> None:
        """The client's goodbye, on its way to the server."""
        if self.alive:
            self.hang_up()
            self.link.requests.send(self.detach)

    async def fetch(self, sql: str, *args: Any) -> Any:
        """The answer to a statement."""
        self._begin_use()
        if not sql.startswith("select"):
            self.dirty = True
            self._tell_sent()
        return await self.ask(partial(self.statement, sql, args))

    async def begin(self, at_once: bool) -> None:
        """Open a transaction, or have the first statement open it, as psycopg does."""
        self._begin_use()
        if at_once:
            await self.ask(lambda reply: reply(None))
        self.in_transaction = True

    async def commit(self) -> None:
        """End the transaction."""
        if self._pending:
            self._tell_sent()
        await self.ask(self._commit)
        self.in_transaction = False

    async def rollback(self) -> None:
        """End the transaction as if it had not been."""
        await self.ask(self._rollback)
        self.in_transaction = False

    async def reset(self) -> None:
        """Leave nothing for the next borrower."""
        await self.ask(self._rollback)
        self.in_transaction = self.dirty = False
        self.in_use_since_s = None

    def _tell_sent(self) -> None:
        if self.alive:
            self.cluster.tell("sent", self.client, self.server, self)

    def _begin_use(self) -> None:
        if self.in_use_since_s is None:
            self.in_use_since_s = self.cluster.now_s

    def _answer(self, waiting: asyncio.Future[Any], result: Any) -> None:
        self.link.answers.send(partial(settle_with, waiting, result))

    # the server's half

    def _arrive(self, work: Callable[[Reply], None], reply: Reply) -> None:
        server = self.server
        if server.frozen:
            server.stalled.append(partial(self._arrive, work, reply))
        elif not self.attached:
            self.link.answers.send(self.hang_up)
        else:
            work(reply)

    def detach(self) -> None:
        """The server's side ends: what was not committed is not."""
        if self.attached:
            self.attached = False
            self.server.sessions.pop(self.serial, None)
            self._forget()

    def end(self) -> None:
        """The server ends it, and the client will hear."""
        self.detach()
        self.link.answers.send(self.hang_up)

    def _forget(self) -> None:
        if self._xid:
            self.server.abort(self._xid, self.cluster.now_s)
        self._xid, self._pending = 0, []

    def statement(self, sql: str, args: Sequence[Any], reply: Reply) -> None:
        """The server does what was asked."""
        server, now_s = self.server, self.cluster.now_s
        if sql == OBSERVE_SQL:
            reply(server.row(now_s, self.cluster.standbys_of(server)))
        elif sql.startswith("select"):
            seen = Seen(server, server.visible(), now_s, server.in_recovery)
            self._later(server.work_s + (float(args[0]) if args else 0.0), partial(reply, [(seen,)]))
        elif server.in_recovery or self.read_only:
            reply(sql_error("25006"))
        else:
            self._write(args[0], reply)

    def _write(self, key: Hashable, reply: Reply) -> None:
        self._xid = self._xid or self.server.assign(self.cluster.now_s)
        self._pending.append(key)
        if self.in_transaction:
            self._later(self.server.work_s, partial(reply, "DONE"))
        else:
            self._commit(reply)

    def _commit(self, reply: Reply) -> None:
        if not self._xid:
            reply(None)
            return
        server, now_s = self.server, self.cluster.now_s
        xid, keys = self._xid, tuple(self._pending)
        self._xid, self._pending = 0, []
        commit = server.commit(xid, keys, now_s)
        self.cluster.tell("committed", self.client, server, commit)
        if server.rng.random() < server.synchronous_share:
            self._later(FLUSH_S, partial(self._flushed, commit, xid, server.life, reply))
        else:
            server.show(commit, xid, now_s)
            self._later(server.work_s, partial(reply, "DONE"))

    def _flushed(self, commit: Record, xid: int, life: int, reply: Reply) -> None:
        server, now_s = self.server, self.cluster.now_s
        if server.life != life or not server.writable:
            return
        if server.frozen:
            server.stalled.append(partial(self._flushed, commit, xid, life, reply))
            return
        server.flush(commit, now_s)
        server.show(commit, xid, now_s)
        reply("DONE")

    def _rollback(self, reply: Reply) -> None:
        self._forget()
        reply(None)

    def _later(self, delay_s: float, then: Callable[[], None]) -> None:
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._unless_ended, then, self.server.life)
        else:
            then()

    def _unless_ended(self, then: Callable[[], None], life: int) -> None:
        server = self.server
        if not server.up or server.life != life:
            return
        if server.frozen:
            server.stalled.append(partial(self._unless_ended, then, life))
        else:
            then()


def settle_with(waiting: asyncio.Future[Any], result: Any) -> None:
    """Wake whoever waits, with a result or an exception, unless it has gone."""
    if waiting.done():
        return
    if isinstance(result, BaseException):
        waiting.set_exception(result)
    else:
        waiting.set_result(result)
