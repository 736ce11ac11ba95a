"""A primary and its standbys in virtual time, and everything that can go wrong with them.

    cluster = Cluster(["primary", "replica-1", "replica-2"], seed=7)

`connect` is what an adapter is to a router. A statement that begins with `select` gives one row: what it `Seen`; its
argument, if any, is how many seconds it takes. Any other is a write of the key that is its argument.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from pgfleet.adapters.session import SessionSettings
from pgfleet.testing.simulated.connector import SimulatedConnector
from pgfleet.testing.simulated.network import Link
from pgfleet.testing.simulated.server import Server
from pgfleet.testing.simulated.session import Session
from pgfleet.testing.simulated.wal import Record

TICK_S = 0.025
Listener = Callable[[str, str, Server, Any], None]


class Cluster:
    """The servers by name, the ways to them, and the time in which they live."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.rng = Random(seed)  # noqa: S311 (a history, not a secret)
        self._loop = asyncio.get_running_loop()
        first = Record.first(self.now_s)
        primary = Server(names[0], first, self.rng)
        standbys = [Server(name, first, self.rng, primary) for name in names[1:]]
        self.servers = {server.name: server for server in (primary, *standbys)}
        self.listeners: list[Listener] = []
        self._links: dict[tuple[str, str], Link] = defaultdict(lambda: Link(self.rng))
        self._serial = 0
        self._stopped = False
        self._tick()

    @property
    def now_s(self) -> float:
        """The virtual clock."""
        return self._loop.time()

    def link(self, client: str, server: str) -> Link:
        """The way between these two."""
        return self._links[client, server]

    def connect(
        self, session: SessionSettings, client: str = "client", transactional: bool = True
    ) -> SimulatedConnector:
        """What an adapter is to the engine."""
        return SimulatedConnector(self, client, session, transactional)

    def session(self, client: str, server: Server, read_only: bool) -> Session:
        """A new session, seen from the server."""
        self._serial += 1
        made = Session(self, client, server, self._serial, read_only)
        server.sessions[made.serial] = made
        return made

    def tell(self, what: str, client: str, server: Server, detail: Any) -> None:
        """Something happened: `told`, `sent` or `committed`."""
        for listener in self.listeners:
            listener(what, client, server, detail)

    def standbys_of(self, primary: Server) -> list[str]:
        """`application_name` of each that streams from it."""
        there = (server for server in self.servers.values() if server.shows_itself_to(primary, self.now_s))
        return [server.name.replace("-", "_") for server in there]

    def stop(self) -> None:
        """Let no more happen by itself."""
        self._stopped = True

    def _tick(self) -> None:
        if not self._stopped:
            for server in self.servers.values():
                server.advance(self.now_s)
            self._loop.call_later(TICK_S, self._tick)

    # what can go wrong

    def crash(self, name: str, silently: bool = False) -> None:
        """kill -9 of the postmaster; `silently`: of the machine, so that idle clients hear nothing of it."""
        server = self.servers[name]
        sessions = list(server.sessions.values())
        server.crash()
        for session in sessions:
            if silently and not session.is_waiting:
                session.detach()
            else:
                session.end()

    def restart(self, name: str, takes_s: float = 0.0, silently: bool = False) -> None:
        """Crash, if it runs, and begin another life."""
        self.crash(name, silently)
        self.servers[name].start(self.now_s, takes_s)

    def freeze(self, name: str) -> None:
        """SIGSTOP: the kernel still accepts what comes."""
        self.servers[name].frozen = True

    def thaw(self, name: str) -> None:
        """SIGCONT: what is overdue is done first."""
        server = self.servers[name]
        server.frozen = False
        if server.writable:
            server.flush(server.tip, self.now_s)
        server.advance(self.now_s)
        stalled, server.stalled = server.stalled, []
        for work in stalled:
            work()

    def promote(self, name: str, timeline: int | None = None) -> None:
        """Make a standby a primary, by default on a timeline that no other has."""
        newest = max(server.timeline for server in self.servers.values())
        self.servers[name].promote(timeline or newest + 1, self.now_s)

    def follow(self, name: str, primary: str) -> None:
        """Have a standby stream from another server."""
        self.servers[name].upstream = self.servers[primary]

    def rejoin(self, name: str, primary: str, takes_s: float = 0.0) -> None:
        """Stop a server, and let it come back as a standby of `primary`, without what `primary` does not have."""
        self.crash(name)
        self.servers[name].rejoin(self.servers[primary], self.now_s, takes_s)

    def reset_connections(self, client: str, name: str) -> None:
        """End every connection on its way. What was sent may have arrived or not."""
        for session in list(self.servers[name].sessions.values()):
            if session.client == client:
                session.hang_up()
                if self.rng.random() < 0.5:
                    session.detach()
                else:
                    self._loop.call_later(0.01, session.detach)

    def heal(self) -> None:
        """Open every way; thaw, start and resume every server. Roles stay as they are."""
        for server in self.servers.values():
            server.replay_paused = server.upstream_cut = False
            server.replay_delay_s = server.work_s = 0.0
            if not server.up:
                server.start(self.now_s, 0.0)
            if server.frozen:
                self.thaw(server.name)
        for link in self._links.values():
            link.heal()
