"""Looks at every node: at its pace, and at once when somebody asks."""

from __future__ import annotations

from typing import Generic, TypeVar

from pgfleet.board import Board, Node
from pgfleet.core.intent import PLAIN
from pgfleet.core.node import UNPROVEN, Observation, Reason
from pgfleet.core.plan import lag_s
from pgfleet.core.schedule import Pace
from pgfleet.faults import first_line, network_fault, probe_reason
from pgfleet.ports import Runtime, Signal
from pgfleet.watch.pooler import try_pooler
from pgfleet.watch.sweeper import Sweeper
from pgfleet.watch.tender import Tender
from pgfleet.watch.watch import CONNECT_TIMEOUT_S, Watch

C = TypeVar("C")

CONFIRM_TIMEOUT_S = 0.3
"""To connect for the second of two looks. The first was silent: callers are waiting there meanwhile."""


class Monitor(Generic[C]):
    """Runs the watches, and looks after the pools."""

    def __init__(self, board: Board[C], runtime: Runtime) -> None:
        self._board = board
        self._runtime = runtime
        self._pace = Pace(board.settings.health_check_interval_s, board.settings.max_lag_s)
        watched = board.nodes if board.settings.use_replicas else (board.settings.primary.name,)
        self._watches = {name: Watch(board.nodes[name], runtime) for name in watched}
        self._sweeper = Sweeper(board, self.ask, runtime)
        self._lock = runtime.lock()
        self._tender = Tender(board, self._watched, self.ask, runtime)
        self._started = self._stopping = False

    async def start(self, timeout_s: float) -> None:
        """Begin to watch, and return when every node has been looked at once, or after `timeout_s`."""
        with self._lock:
            self._started = True
            first_looks = [watch.ask() for watch in self._watches.values()]
            for name, watch in self._watches.items():
                self._runtime.spawn(self._watch(watch), f"watch {name}")
        deadline_s = self._runtime.clock() + timeout_s
        await self._all_set(first_looks, timeout_s)
        await self.refresh(self._unproven(), deadline_s - self._runtime.clock())
        self._tender.start()
        self._sweeper.start()

    def begin(self, node: Node[C]) -> None:
        """Watch this node, too."""
        if not self._board.settings.use_replicas:
            return
        watch = Watch(node, self._runtime)
        with self._lock:
            self._watches = {**self._watches, node.name: watch}
            if self._started:
                self._runtime.spawn(self._watch(watch), f"watch {node.name}")

    def end(self, name: str) -> None:
        """Watch this node no longer."""
        with self._lock:
            self._watches = dict(self._watches)
            watch = self._watches.pop(name, None)
        if watch:
            watch.ended = True
            watch.ask()

    def ask(self, name: str) -> Signal:
        """Look at this node at once. One that is not watched has nothing to tell."""
        if watch := self._watches.get(name):
            return watch.ask()
        told = self._runtime.signal()
        told.set()
        return told

    async def refresh(self, names: tuple[str, ...], timeout_s: float) -> None:
        """Look at these nodes now, and return when all have answered or failed, or after `timeout_s`."""
        await self._all_set([self.ask(name) for name in names if name in self._watches], timeout_s)

    def stop(self) -> None:
        """Let every watch end after the look it is taking."""
        self._stopping = True
        self._tender.stop()
        self._sweeper.stop()
        for watch in self._watches.values():
            watch.ask()

    def _watched(self) -> list[Node[C]]:
        return [watch.node for watch in self._watches.values()]

    async def _all_set(self, signals: list[Signal], timeout_s: float) -> None:
        deadline_s = self._runtime.clock() + timeout_s
        for signal in signals:
            await signal.wait(max(0.0, deadline_s - self._runtime.clock()))

    def _unproven(self) -> tuple[str, ...]:
        """The replicas that another look may prove, or measure: the last was taken before the primary's."""
        topology, plan = self._board.topology, self._board.plan(PLAIN)
        sure = frozenset(plan.replicas).difference(plan.checked)
        serving = [node for node in topology.nodes if node.name in sure]
        unmeasured = [node.name for node in serving if lag_s(topology, node) is None]
        return (*unmeasured, *(name for name, reason in plan.left_out if reason in UNPROVEN))

    # one node

    async def _watch(self, watch: Watch[C]) -> None:
        while not self._stopping and not watch.ended:
            askers = watch.askers()
            await self._probe(watch)
            for asker in askers:
                asker.set()
            await watch.rest(self._next_probe_s(watch.node))
        for asker in watch.askers():
            asker.set()
        await watch.close()

    def _next_probe_s(self, node: Node[C]) -> float:
        searching = self._board.vacancy.is_searched(self._board.topology)
        return self._pace.next_probe_s(self._board.state(node), node.name in self._unproven(), searching)

    async def _probe(self, watch: Watch[C]) -> None:
        """Look once, and again at once after a failure: only two in a row condemn a node that was well."""
        for last in (False, True):
            try:
                seen = await watch.look(CONFIRM_TIMEOUT_S if last else CONNECT_TIMEOUT_S)
                await self._through_pooler(watch.node, seen)
            except Exception as error:
                if not last and not self._board.state(watch.node).trouble:
                    continue
                self._condemn(watch.node, error)
            else:
                if self._board.has(watch.node):
                    self._board.observe(watch.node.name, seen, missed=last)
                    watch.node.probes.add(seen.answered_s - seen.asked_s)
            return

    async def _through_pooler(self, node: Node[C], seen: Observation) -> None:
        """A server behind a pooler is of use when both answer. While it is in use, its callers tell of the pooler."""
        state = self._board.state(node)
        if node.pooler and (state.trouble or state.observation is None):
            await try_pooler(node.pooler, seen, self._runtime, CONNECT_TIMEOUT_S)

    def _condemn(self, node: Node[C], error: Exception) -> None:
        if not self._board.has(node):
            return
        reason = probe_reason(node.prober.fault(error) or network_fault(error))
        if reason is Reason.BUSY and self._board.state(node).observation:
            self._board.full(node.name)  # it lives; what we know of it grows old by itself
            return
        self._board.fail(node.name, reason, first_line(error))
        self._board.give_up(node.name)
