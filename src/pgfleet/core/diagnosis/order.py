"""Which finding comes first: the cause, however mild it looks, before what it explains; the worst of the rest.

A finding is explained by another one when `CATALOGUE` names that one's id among its causes and both are of the same
node, or the cause may be anywhere. Of several causes the one that stands highest in the table explains it. Findings
with one root make a group, which is as bad as its worst member. Groups go by how bad they are, then by where
their root stands in the table, then in the order of the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgfleet.core.diagnosis.catalogue import CATALOGUE
from pgfleet.core.diagnosis.finding import SEVERITIES, Finding

_PLACES = {name: place for place, name in enumerate(CATALOGUE)}


def in_order(findings: Sequence[Finding], nodes: Sequence[str]) -> tuple[Finding, ...]:
    """The findings in the order in which they are read, each with what explains it."""
    by_place = sorted(findings, key=lambda finding: (_PLACES[finding.id], _node(finding, nodes)))
    causes = [_cause(finding, by_place) for finding in by_place]
    groups: dict[int, list[int]] = {}
    for index in range(len(by_place)):
        groups.setdefault(_root(index, causes), []).append(index)
    ordered = sorted(groups.items(), key=lambda group: (_worst(group[1], by_place), group[0]))
    return tuple(
        _explained(index, causes, by_place) for root, members in ordered for index in sorted(members)
    )


def about(node: str, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Of findings in order: what was seen on a node or is its matter, and what explains that, wherever it is."""
    kept: list[Finding] = []
    causes: set[tuple[str, str]] = set()
    for finding in reversed(findings):  # a cause stands before what it explains
        if node in (finding.node, finding.subject) or (finding.id, finding.subject) in causes:
            kept.append(finding)
            causes.add((finding.because, finding.because_of))
    return tuple(reversed(kept))


def _cause(finding: Finding, by_place: Sequence[Finding]) -> int | None:
    """The first finding in the table's order that explains this one."""
    kind = CATALOGUE[finding.id]
    for index, other in enumerate(by_place):
        if other is finding:
            break
        if other.id in kind.causes and (kind.anywhere or other.subject == finding.subject):
            return index
    return None


def _root(index: int, causes: Sequence[int | None]) -> int:
    """Causes stand before what they explain, so this ends."""
    while (cause := causes[index]) is not None:
        index = cause
    return index


def _worst(members: Sequence[int], by_place: Sequence[Finding]) -> int:
    return min(SEVERITIES.index(by_place[index].severity) for index in members)


def _node(finding: Finding, nodes: Sequence[str]) -> int:
    return list(nodes).index(finding.node) if finding.node in nodes else len(nodes)


def _explained(index: int, causes: Sequence[int | None], by_place: Sequence[Finding]) -> Finding:
    finding, cause = by_place[index], causes[index]
    if cause is None:
        return finding
    return replace(finding, because=by_place[cause].id, because_of=by_place[cause].subject)
