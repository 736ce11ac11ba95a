"""The only mutable state: what we believe of the nodes, their pools, and the routing table that follows from both.

Everything here is decided under one lock and touches no network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Generic, TypeVar

from pgfleet.board.fallback import AnyPool, Fallback
from pgfleet.board.node import Node, share_out
from pgfleet.board.notices import tell_aurora, tell_shared, tell_speed
from pgfleet.board.order import in_turn
from pgfleet.board.table import Tables, no_table
from pgfleet.board.vacancy import Vacancy
from pgfleet.board.writes import Write, Writes
from pgfleet.core.ejection import Standing, returning
from pgfleet.core.intent import PLAIN, ReadIntent
from pgfleet.core.membership import Member
from pgfleet.core.node import Observation, Reason
from pgfleet.core.plan import Plan, plan_read, why_not
from pgfleet.core.topology import NodeState, Topology, Trouble
from pgfleet.pool import Pooled
from pgfleet.ports import Runtime, Signal
from pgfleet.settings import Settings

C = TypeVar("C")
ALL_BEGIN_S = 5.0
"""Nodes that are first seen so soon after the start begin together, and none of them with a smaller part."""
logger = logging.getLogger("pgfleet")


class Board(Generic[C]):
    """What this process believes and lends. `table` is replaced whole, so readers need no lock."""

    def __init__(self, settings: Settings, nodes: list[Node[C]], runtime: Runtime) -> None:
        self.settings = settings
        self.nodes: Mapping[str, Node[C]] = {node.name: node for node in nodes}
        """Replaced whole, too."""
        self.writes = Writes(runtime)
        self.samples = 0
        """How often the primary has said where it stands."""
        self.lineage_settled_s = -inf
        """No write that ended later than this was lost in a promotion."""
        self.vacancy = Vacancy(runtime)
        self.fallback = Fallback(settings, runtime)
        self._runtime = runtime
        self._lock = runtime.lock()
        weights = {replica.name: replica.weight for replica in settings.replicas}
        shared = {replica.name for replica in settings.replicas if replica.shared_endpoint}
        self.topology = Topology(
            tuple(NodeState(name, weights.get(name, 1), is_shared=name in shared) for name in self.nodes),
            settings.use_replicas,
            panic_share=settings.panic_share,
        )
        self._tables: Tables[C] = Tables(settings, self.fallback, runtime, self.tell_fallback, self._proves)
        self._all_begin_until_s = runtime.clock() + ALL_BEGIN_S
        self._fallback_told = self._aurora_told = False
        self.missed: AnyPool | None = None
        """Whose turn it was when the short way found no idle connection: a hint, it may be another caller's."""
        self.table = no_table(Plan((), None, ()))
        self._publish()

    def now_s(self) -> float:
        """This moment of the clock that all positions are told by."""
        return self._runtime.clock()

    # who belongs to it

    def become(self, members: Sequence[Member], joining: Mapping[str, Node[C]]) -> None:
        """Have these nodes from now on, in this order."""
        with self._lock:
            nodes = {**self.nodes, **joining}
            self.nodes = {member.name: nodes[member.name] for member in members}
            self.topology = self.topology.become(members)
            self.table = no_table(Plan((), None, ()))  # weights and nodes of the old round are void
            self._publish()

    def has(self, node: Node[C]) -> bool:
        """Whether this node still belongs to the fleet. A successor of its name is another node."""
        return self.nodes.get(node.name) is node

    def state(self, node: Node[C]) -> NodeState:
        """What is believed of this node: of one that is gone, nothing."""
        known = self.topology.find(node.name) if self.has(node) else None  # of one that joins, for a moment
        return known or NodeState(node.name, draining=True)

    # what was learned

    def observe(self, name: str, seen: Observation, *, missed: bool = False) -> None:
        """A probe or a new connection saw this node. Connections of an earlier life of it are never lent again.

        `missed`: the look before this one had no answer.
        """
        with self._lock:
            if name not in self.nodes:
                return  # it was removed meanwhile
            before, topology = self.topology.node(name), self.topology.observe(name, seen)
            shared = topology.node(name).is_shared
            if shared:
                self.nodes[name].behind.learn(topology, seen)
            if topology is self.topology:
                return  # it says nothing that we do not know better
            new = before.observation is None and self._runtime.clock() >= self._all_begin_until_s
            newly_fenced = topology.fenced - self.topology.fenced
            moved = topology.primary_name not in (None, self.topology.primary_name)
            other = before.observation is not None and before.observation.incarnation != seen.incarnation
            reborn = other and not shared  # one of several is another server, not another life of the same
            if shared and not before.is_shared:
                tell_shared(name)
            if seen.is_aurora and not self._aurora_told:
                self._aurora_told = True
                tell_aurora(name)
            begins = new or reborn or before.trouble
            if reborn and (before.trouble or missed):
                self._bury(name)
            self.topology = topology.stand(name, returning(before.standing)) if begins else topology
            if before.trouble or reborn:
                self._drain(name)
            self._fence(newly_fenced, Reason.FENCED)
            self.samples += name == self.topology.primary_name
            self.lineage_settled_s = self.topology.lineage.settled_s
            if moved:
                share_out(self.nodes.values(), self.topology.primary_name, self.settings)
            self.nodes[name].shutdowns = 0
            self._publish()

    def learn(self, node: Node[C], seen: Observation) -> None:
        """A connection of a shared endpoint has asked its server once more."""
        node.behind.learn(self.topology, seen)

    def why_not(self, pooled: Pooled[C], intent: ReadIntent) -> Reason | None:
        """Why the server of this connection, one of several behind its address, may not answer; None: it may."""
        seen, known = pooled.seen, self.settings
        if seen is None:
            return Reason.STALENESS_UNKNOWN
        node: Node[C] = pooled.pool.owner
        server = node.behind.server(self.topology, seen)
        return why_not(
            self.topology, server, intent, known.max_lag_s, self._runtime.clock(), known.unknown == "open"
        )

    def _proves(self, pooled: Pooled[C]) -> bool:
        return self.why_not(pooled, PLAIN) is None

    def _bury(self, name: str) -> None:
        """That life of the server has ended without a word to all: nothing that was lent of it will be answered."""
        for pool in self.nodes[name].pools:
            pool.sever_lent()

    def fail(self, name: str, reason: Reason, detail: str) -> None:
        """This node cannot be used. Whoever waits for a connection of it is sent away; statements go on."""
        with self._lock:
            node = self.nodes.get(name)
            if node is None:
                return
            before = self.topology.node(name)
            self.topology = self.topology.fail(name, Trouble(reason, detail, self._runtime.clock()))
            self._publish()
        if not before.trouble:
            logger.warning("%s is out: %s (%s)", name, reason, detail)
            for pool in node.pools:
                pool.drain()
                pool.send_away()

    def full(self, name: str) -> None:
        """A probe found the node alive, and without a connection left for it."""
        with self._lock:
            self.topology = self.topology.fill(name)
            self._publish()

    def accept_cluster(self, system_id: int) -> None:
        """Take this cluster for ours from now on. Whoever still writes to another one is cut."""
        with self._lock:
            seen = {node.name: node.observation for node in self.topology.nodes}
            self.topology = self.topology.accept(system_id)
            for name in self.nodes:
                self._drain(name)
            share_out(self.nodes.values(), self.topology.primary_name, self.settings)
            others = [name for name, saw in seen.items() if saw and saw.system_id != system_id]
            self._fence(others, Reason.FOREIGN_CLUSTER)
            self.lineage_settled_s = self.topology.lineage.settled_s
            self._publish()

    def give_up(self, name: str) -> None:
        """A probe has confirmed that the node does not answer: cut what can run elsewhere, and keep nobody waiting."""
        if node := self.nodes.get(name):
            for pool in node.pools:
                pool.sever_replayable()
                pool.send_away()

    def stand(self, before: Mapping[str, Standing], after: Mapping[str, Standing]) -> None:
        """What became of nodes on account of their speed, unless somebody knew better meanwhile."""
        changed = {name: standing for name, standing in after.items() if standing is not before[name]}
        if not changed:
            return
        with self._lock:
            for name, standing in changed.items():
                state = self.topology.find(name)
                if state and state.standing is before[name]:
                    self.topology = self.topology.stand(name, standing)
                    tell_speed(name, before[name], standing)
            self._publish()

    def offer(self, names: list[str]) -> None:
        """Give each of these nodes, which are on trial, one of the next turns."""
        with self._lock:
            trials = [self.nodes[name] for name in names if name in self.table.plan.trials]
            if trials:
                self.table = self._tables.offering(self.table.plan, trials)

    def shut_down(self, name: str) -> int:
        """Count a connection that an administrator ended; how many since the node was last seen well."""
        with self._lock:
            node = self.nodes.get(name)
            if node is None:
                return 0
            node.shutdowns += 1
            return node.shutdowns

    def _drain(self, name: str) -> None:
        self.nodes[name].drain()

    def _fence(self, names: Iterable[str], why: Reason) -> None:
        """These were primaries, and are none of ours any more."""
        for name in names:
            logger.warning("%s takes no writes any more: it %s", name, why)
            self._drain(name)
            self.nodes[name].writes.fence()

    # who writes

    def failed_write(self) -> None:
        """A write met a server that is no primary, or none at all: the search for one begins, or goes on."""
        with self._lock:
            self.vacancy.report_failure()

    def await_writer(self) -> Signal:
        """A signal that is set as soon as there is a node to write to. To be given back to `stop_waiting`."""
        with self._lock:
            signal = self.vacancy.join()
            self._fill_vacancy()
            return signal

    def stop_waiting(self, signal: Signal) -> None:
        """Nobody waits for this signal any more."""
        with self._lock:
            self.vacancy.leave(signal)

    def _fill_vacancy(self) -> None:
        if self.topology.writer_name is not None:
            self.vacancy.fill()

    def end_write(self, write: Write, node: Node[C], acknowledged: bool) -> None:
        """A write lease of this node has ended, however it ended.

        What a server acknowledged that was replaced meanwhile may not be in the history of its successor.
        """
        replaced = self.topology.primary_name not in (None, node.name)
        self.writes.end(write, self.topology.lineage.last if acknowledged and replaced else None)

    # what follows

    def plan(self, intent: ReadIntent) -> Plan:
        """The candidates for a read at this moment, with a reason for each node left out."""
        table, now_s = self.table, self._runtime.clock()
        if intent is PLAIN and now_s < table.refresh_at_s:
            return table.plan
        return self._plan(intent, now_s)

    def _plan(self, intent: ReadIntent, now_s: float) -> Plan:
        known = self.settings
        return plan_read(self.topology, intent, known.max_lag_s, now_s, known.unknown == "open")

    def in_turn(self, plan: Plan, avoid: frozenset[str], first: AnyPool | None) -> Iterator[Node[C]]:
        """The candidates in the order to try. `first` is whose turn it is."""
        return in_turn(self.nodes, plan, avoid, first)

    def _publish(self) -> None:
        """Make the routing table anew."""
        self._fill_vacancy()
        plan = self._plan(PLAIN, self._runtime.clock())
        if plan.replicas:
            self._fallback_told = False
        self.table = self._tables.following(self.table, plan, self.topology, self.nodes)

    def tell_fallback(self, plan: Plan) -> None:
        """Say once an outage that reads go to the primary, and why."""
        if self._fallback_told:
            return
        with self._lock:
            replicas_wanted = self.settings.expects_replicas and self.topology.replicas
            if self._fallback_told or self.table.names or not replicas_wanted:
                return
            self._fallback_told = True
        why = "; ".join(f"{name} {reason}" for name, reason in plan.left_out if name != plan.primary)
        logger.warning("Read replica not available, reading from the primary: %s", why)
