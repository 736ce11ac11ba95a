"""Which nodes may answer a read now, and a named reason for each that may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf

from pgfleet.core.ejection import parts_of
from pgfleet.core.freshness import Freshness
from pgfleet.core.ground import Ground
from pgfleet.core.intent import ReadIntent
from pgfleet.core.node import UNPROVEN, Reason
from pgfleet.core.topology import NodeState, Topology

LOOK_AGAIN_S = 1.0
"""A replica that is not proven fresh is looked at four times a second. Nobody has looked at one of older knowledge."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates for one read. `replicas` are equals, to be taken in turn; the primary comes after them."""

    replicas: tuple[str, ...]
    primary: str | None
    left_out: tuple[tuple[str, Reason], ...]
    """Every configured node that is no candidate as a replica, in order, and why."""
    valid_until_s: float = inf
    """When the mere passing of time makes one of `replicas` too stale."""
    refresh_at_s: float = inf
    """When it is time to ask again, so that the plan does not run out: half of the bound.

    Where there are no replicas: when what keeps one of them out has grown so old that another look may take it away.
    """
    covered_s: float = -inf
    """Every one of `replicas` but for `checked` has replayed all that was visible at this moment."""
    parts: tuple[int, ...] = ()
    """Of each of `replicas` its part of its turns, of FULL_PART; 0: it is on trial, and takes single reads."""
    checked: tuple[str, ...] = ()
    """Those of `replicas` behind which several servers stand: whether one of these may answer, its connection tells."""

    @property
    def is_sure(self) -> bool:
        """Whether one of `replicas` may answer, as far as can be told without asking it."""
        return len(self.replicas) > len(self.checked)

    def without(self, unfit: Mapping[str, Reason]) -> Plan:
        """The same without replicas whose connections did not do."""
        kept = [(n, p) for n, p in zip(self.replicas, self.parts, strict=True) if n not in unfit]
        return replace(
            self,
            replicas=tuple(name for name, _ in kept),
            parts=tuple(part for _, part in kept),
            checked=tuple(name for name in self.checked if name not in unfit),
            left_out=(*self.left_out, *unfit.items()),
        )

    @property
    def trusted(self) -> tuple[str, ...]:
        """Those of `replicas` that take turns."""
        return tuple(name for name, part in zip(self.replicas, self.parts, strict=True) if part)

    @property
    def trials(self) -> tuple[str, ...]:
        """Those of `replicas` that take single reads, to see whether they are well again."""
        return tuple(name for name, part in zip(self.replicas, self.parts, strict=True) if not part)

    def reason(self, name: str) -> Reason | None:
        """Why this node is left out; None when it is a candidate."""
        return dict(self.left_out).get(name)


def plan_read(
    topology: Topology, intent: ReadIntent, max_lag_s: float, now_s: float, takes_unknown: bool = False
) -> Plan:
    """The candidates for a read at `now_s`. `max_lag_s` bounds the reads that name no bound of their own.

    While no primary answers, or is too full to be probed, that bound stands still at its last sample, so that
    replicas go on serving; a bound that the read names itself does not. `takes_unknown`: a replica of unknown
    staleness serves the reads that do not say whether it may.
    """
    ground = Ground.of(topology)
    frozen = _is_frozen(topology, intent)
    wanted = _wanted(ground, intent, max_lag_s, now_s, takes_unknown)
    bound_s = wanted.bound_s
    covered_s = {node.name: ground.covered_s(node) for node in topology.nodes if not node.is_shared}
    reasons = {
        node.name: ground.exclude(node) or wanted.lacks(node, covered_s.get(node.name))
        for node in topology.nodes
    }
    parts = _parts(topology, [node for node in topology.nodes if not reasons[node.name]])
    reasons |= {name: Reason.EJECTED for name, part in parts.items() if part is None}
    replicas = {name: part for name, part in parts.items() if part is not None}
    checked = tuple(n.name for n in topology.nodes if n.is_shared and n.name in replicas)
    sure = [name for name in replicas if name not in checked]
    unproven = None in map(covered_s.get, sure) or any(topology.node(name).is_aurora for name in sure)
    oldest_s = min((at for name in sure if (at := covered_s[name]) is not None), default=-inf)
    runs_out = replicas and not frozen and oldest_s > -inf
    return Plan(
        replicas=tuple(replicas) if intent.prefer_replica else (),
        parts=tuple(replicas.values()) if intent.prefer_replica else (),
        primary=_primary(topology, intent),
        left_out=tuple((name, reason) for name, reason in reasons.items() if reason),
        valid_until_s=oldest_s + bound_s if runs_out else inf,
        refresh_at_s=oldest_s + bound_s / 2 if runs_out else _look_again_at_s(topology, reasons, replicas),
        covered_s=-inf if unproven else oldest_s,
        checked=checked if intent.prefer_replica else (),
    )


def why_not(
    topology: Topology,
    server: NodeState,
    intent: ReadIntent,
    max_lag_s: float,
    now_s: float,
    takes_unknown: bool = False,
) -> Reason | None:
    """Why one of the servers behind a shared endpoint may not answer this read, by the same rules; None: it may."""
    ground = Ground.behind(topology, server)
    wanted = _wanted(ground, intent, max_lag_s, now_s, takes_unknown)
    return ground.exclude(server) or wanted.lacks(server, ground.covered_s(server))


def _is_frozen(topology: Topology, intent: ReadIntent) -> bool:
    return intent.max_lag_s is None and (topology.primary is None or topology.primary.is_full)


def _wanted(
    ground: Ground, intent: ReadIntent, max_lag_s: float, now_s: float, takes_unknown: bool
) -> Freshness:
    frozen = _is_frozen(ground.topology, intent)
    asked_until_s = ground.topology.history.last_asked_s if frozen else None
    bound_s = max_lag_s if intent.max_lag_s is None else intent.max_lag_s
    at_s = now_s if asked_until_s is None else asked_until_s
    return Freshness(ground, intent, bound_s, now_s, at_s, takes_unknown)


def _primary(topology: Topology, intent: ReadIntent) -> str | None:
    """The primary, unless the read knows of a promotion that we have not seen yet: then ours is an old one."""
    is_old = intent.after is not None and intent.after.timeline > topology.highest_timeline
    return None if is_old else topology.primary_name


def staleness_bound_s(topology: Topology, node: NodeState, now_s: float) -> float | None:
    """No read of this replica is staler than this, at `now_s`; None: not known, or not a replica of this fleet."""
    ground = Ground.of(topology)
    covered_s = None if node.is_shared or ground.exclude(node) else ground.covered_s(node)
    return None if covered_s is None else now_s - covered_s


def lag_s(topology: Topology, node: NodeState) -> float | None:
    """The replica's lag when it was last probed, as people read it; None: not measured."""
    seen, ground = node.observation, Ground.of(topology)
    if seen and seen.is_aurora:
        return None if ground.foreign(node, seen) else seen.aurora_lag_s
    if seen is None or seen.replay_lsn is None or ground.foreign(node, seen) or ground.untimely(node, seen):
        return None
    return topology.history.lag_s(seen.replay_lsn, seen.asked_s, seen.xmin)


def _parts(topology: Topology, fit: list[NodeState]) -> dict[str, int | None]:
    """The part of the turns of each node that is fresh enough; None: it is ejected."""
    standings = [node.standing for node in fit]
    parts = parts_of(standings, len(topology.staying), topology.panic_share)
    return dict(zip((node.name for node in fit), parts, strict=True))


def _look_again_at_s(
    topology: Topology, reasons: Mapping[str, Reason | None], replicas: Collection[str]
) -> float:
    unproven = [node.observation for node in topology.nodes if reasons[node.name] in UNPROVEN]
    return min((seen.answered_s + LOOK_AGAIN_S for seen in unproven if seen and not replicas), default=inf)
