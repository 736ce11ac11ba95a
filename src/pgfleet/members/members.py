"""Who belongs to a running router: nodes join, are drained, and leave, and no read is lost by it.

A node that is drained takes no new read; what is lent there ends in its own time. One that leaves is drained first,
stays watched and listed until nothing is lent there, and then is gone. docs/design/membership.md has the reasons.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Generic, Protocol, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.membership import Member, change
from pgfleet.errors import DrainRefused, DrainTimeout, UnknownNode
from pgfleet.ports import Runtime
from pgfleet.settings import NodeSettings

C = TypeVar("C")
logger = logging.getLogger("pgfleet")

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
"""Between two looks at what is still lent."""


class Watchers(Protocol[C]):
    """Whoever looks at the nodes."""

    def begin(self, node: Node[C]) -> None:
        """Watch this node, too."""

    def end(self, name: str) -> None:
        """Watch this node no longer."""


class Members(Generic[C]):
    """The nodes of a router, as they are wanted and as they are. `make` opens nothing."""

    def __init__(
        self,
        board: Board[C],
        watchers: Watchers[C],
        make: Callable[[NodeSettings], Node[C]],
        runtime: Runtime,
    ) -> None:
        self._board = board
        self._watchers = watchers
        self._make = make
        self._runtime = runtime
        self._lock = runtime.lock()
        self._by_hand: frozenset[str] = frozenset()
        self._wanted = (board.settings.primary, *board.settings.replicas)
        self._members = tuple(map(self._member, self._wanted))
        self._leaving: set[str] = set()
        self._stopping = False
        if any(member.draining for member in self._members):
            board.become(self._members, {})

    def become(self, replicas: Sequence[NodeSettings]) -> None:
        """Have these replicas from now on. Those that are no longer wanted leave when nothing is lent there."""
        with self._lock:
            self._wanted = (self._board.settings.primary, *replicas)
            self._by_hand &= {node.name for node in self._wanted}
            self._settle()

    async def drain(self, name: str, timeout_s: float | None) -> None:
        """Send no new read there, and return when nothing is lent there any more.

        Raises UnknownNode, DrainRefused, and after `timeout_s` DrainTimeout: the node is still being drained then.
        """
        node = self._drainable(name)
        self._set_by_hand(self._by_hand | {name})
        deadline_s = inf if timeout_s is None else self._runtime.clock() + timeout_s
        pause_s = FIRST_PAUSE_S
        while (lent := await self._lent(node)) and self._board.has(node):
            left_s = deadline_s - self._runtime.clock()
            if left_s <= 0:
                raise _late(name, lent, timeout_s)
            await self._runtime.signal().wait(min(pause_s, left_s))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if self._board.has(node):
                self._drainable(name)  # it may have been promoted meanwhile

    def undrain(self, name: str) -> None:
        """Let reads go there again, unless whoever configured it says otherwise. Raises UnknownNode."""
        self._node(name)
        self._set_by_hand(self._by_hand - {name})

    def stop(self) -> None:
        """See nobody off any more: everything ends."""
        self._stopping = True

    def _set_by_hand(self, names: frozenset[str]) -> None:
        with self._lock:
            self._by_hand = names
            self._settle()

    def _node(self, name: str) -> Node[C]:
        if node := self._board.nodes.get(name):
            return node
        raise UnknownNode(f"no node is called {name!r}", f"The nodes are {', '.join(self._board.nodes)}.")

    def _drainable(self, name: str) -> Node[C]:
        node = self._node(name)
        if name == self._board.settings.primary.name:
            raise DrainRefused(
                f"{name} cannot be drained: it is the node of DATABASE_URL",
                "Drain a replica; to take the primary out of service, switch over first.",
            )
        if name == self._board.topology.primary_name:
            raise DrainRefused(
                f"{name} cannot be drained: it takes the writes now", "Switch over to another node first."
            )
        return node

    def _member(self, node: NodeSettings) -> Member:
        limits = node.max_connections, node.min_connections
        key = node.dsn, node.probe_dsn, node.password, node.shared_endpoint, *limits
        draining = node.draining or node.name in self._by_hand
        return Member(node.name, key, node.weight, draining, node.shared_endpoint)

    def _settle(self) -> None:
        """Do what makes the nodes those that are wanted. Under the lock."""
        settings = {node.name: node for node in self._wanted}
        what = change(self._members, tuple(map(self._member, self._wanted)))
        if what.members == self._members and self._leaving == set(what.leaving):
            return
        joining = {name: self._make(settings[name]) for name in what.joining}
        self._board.become(what.members, joining)
        self._members = what.members
        for node in joining.values():
            logger.info("%s joins the fleet", node.name)
            self._watchers.begin(node)
        seen_off, self._leaving = self._leaving, set(what.leaving)  # before a thread is there that looks
        for name in self._leaving - seen_off:
            logger.info("%s leaves the fleet when nothing is lent there", name)
            self._runtime.spawn(self._see_off(self._board.nodes[name]), f"see off {name}")

    # leaving

    async def _see_off(self, node: Node[C]) -> None:
        """Take a node off the list when nothing is lent there, unless it is wanted again before that.

        A lease that is longer than a statement may be does not keep it: it ends in its own time, unwatched.
        """
        patience_s = self._runtime.clock() + self._board.settings.query_timeout_s
        pause_s = FIRST_PAUSE_S
        while not self._stopping and self._is_leaving(node):
            writes = node.name == self._board.topology.primary_name
            if not writes and (not await self._lent(node) or self._runtime.clock() >= patience_s):
                await self._remove(node)
                return
            await self._runtime.signal().wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _is_leaving(self, node: Node[C]) -> bool:
        return node.name in self._leaving and self._board.has(node)

    async def _lent(self, node: Node[C]) -> int:
        """How many connections of this node are lent or being opened, once the idle ones have ended."""
        for pool in node.pools:
            await pool.empty()
        return sum(pool.size for pool in node.pools)

    async def _remove(self, node: Node[C]) -> None:
        with self._lock:
            if not self._is_leaving(node):
                return
            self._leaving.discard(node.name)
            self._members = tuple(member for member in self._members if member.name != node.name)
            self._watchers.end(node.name)
            self._board.become(self._members, {})
            self._settle()  # its successor of the same name may join now
        logger.info("%s has left the fleet", node.name)
        for pool in node.pools:
            await pool.close()


def _late(name: str, lent: int, timeout_s: float | None) -> DrainTimeout:
    return DrainTimeout(
        f"{lent} connection{'s are' if lent > 1 else ' is'} still lent at {name} after {timeout_s:g} s",
        "It takes no new read: call drain() again to wait on, undrain() to give it up, or end what is lent there.",
    )
