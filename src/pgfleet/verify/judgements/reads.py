"""Where do reads go: with all replicas, with one stopped, with none, and after a write?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import quantiles

from pgfleet.verify.figures import FailoverFigures, FallbackFigures, Read, ReplicaFigures, WriteFigures
from pgfleet.verify.items import Item, judged

REPLICA_SHARE = 0.80
"""The target of the guide."""
BALANCE = 0.10
"""How far a replica's part may be from what its weight says, as a part of that."""
WHOLE_READS = 2
"""Reads cannot be split: so many more or less are no imbalance."""
EXPLAIN = "`pgfleet explain` says why a node takes no reads."


def distribution_item(reads: Sequence[Read], replicas: Sequence[ReplicaFigures], seconds: float) -> Item:
    """At least 80 % on replicas, each within 10 % of what its weight says, and no error."""
    answered = [read for read in reads if read.node]
    on_replicas = [read for read in answered if read.on_replica]
    counts = Counter(str(read.node) for read in on_replicas)
    share = len(on_replicas) / len(answered) if answered else 0.0
    problems = [*_errors(reads)]
    if share < REPLICA_SHARE:
        problems.append(
            f"{share:.0%} of the reads were answered by replicas, the target is {REPLICA_SHARE:.0%}"
        )
    problems += _imbalance(counts, [it for it in replicas if not it.is_shared])
    evidence = [f"{share:.0%} of {len(answered):,} reads in {seconds:g} s on replicas: {_told(counts)}"]
    evidence += [f"p50 {p50:.1f} ms, p95 {p95:.1f} ms" for p50, p95 in _percentiles_ms(answered)]
    figures = {"reads": len(answered), "replica_share": round(share, 4), "by_replica": dict(counts)}
    return judged("distribution", problems, evidence, EXPLAIN, figures)


def _imbalance(counts: Mapping[str, int], replicas: Sequence[ReplicaFigures]) -> Iterator[str]:
    total = sum(counts.get(it.name, 0) for it in replicas)
    weights = sum(it.weight for it in replicas)
    for it in replicas if total else ():
        fair, got = total * it.weight / weights, counts.get(it.name, 0)
        if abs(got - fair) > max(BALANCE * fair, WHOLE_READS):
            yield f"{it.name} answered {got / total:.1%} of the replicas' reads, its weight says {fair / total:.1%}"


def fallback_item(fallback: FallbackFigures) -> Item:
    """Every read is answered by the primary while no replica can be reached."""
    answered = [read for read in fallback.reads if read.node]
    by_primary = sum(not read.on_replica for read in answered)
    problems = [fallback.trouble] if fallback.trouble else []
    problems += [*_errors(fallback.reads)]
    if not by_primary:
        problems.append("no read reached the primary")
    if by_primary < len(answered):
        problems.append(f"{len(answered) - by_primary:,} reads were answered by a server that is in recovery")
    how = (
        f"with {', '.join(fallback.stopped)} really stopped"
        if fallback.stopped
        else "in a router for which no replica is to be reached; none was touched"
    )
    evidence = [f"{by_primary:,} of {len(fallback.reads):,} reads answered by the primary, {how}"]
    figures = {"reads": len(fallback.reads), "by_primary": by_primary, "stopped": list(fallback.stopped)}
    step = "See whether PGFLEET_UNQUALIFIED or PGFLEET_FALLBACK_SHARE keep reads from the primary; `pgfleet doctor`."
    return judged("fallback", problems, evidence, step, figures)


def failover_item(failover: FailoverFigures) -> Item:
    """No read fails while a replica goes, the others go on, and it comes back."""
    meanwhile = [read for read in failover.reads if failover.struck_s <= read.began_s < failover.mended_s]
    others = sum(read.node not in (None, failover.victim) for read in meanwhile)
    problems = [*_failover_problems(failover, others), *_errors(failover.reads)]
    evidence = [*_course(failover, others)]
    figures = {
        "victim": failover.victim,
        "reads": len(failover.reads),
        "errors": sum(bool(read.error) for read in failover.reads),
        "out_s": _rounded(failover.out_s),
        "back_s": _rounded(failover.back_s),
    }
    return judged("failover", problems, evidence, "`pgfleet doctor` looks at the replica that went.", figures)


def _failover_problems(failover: FailoverFigures, others: int) -> Iterator[str]:
    if failover.trouble:
        yield failover.trouble
    elif failover.victim is None:
        yield f"no replica stopped answering within {failover.within_s:g} s"
    else:
        if not others:
            yield f"no other node answered while {failover.victim} was away"
        if failover.back_s is None:
            yield f"{failover.victim} answered no read within {failover.within_s:g} s of its start"


def _course(failover: FailoverFigures, others: int) -> Iterator[str]:
    if failover.victim:
        out = "" if failover.out_s is None else f", out of the rotation after {failover.out_s:.2f} s"
        back = "" if failover.back_s is None else f", answered again {failover.back_s:.2f} s after its start"
        yield f"{failover.victim} was stopped{out}{back}"
    failed = sum(bool(read.error) for read in failover.reads)
    yield f"{len(failover.reads):,} reads, {failed} errors; {others:,} by others while it was away"


def own_writes_item(figures: WriteFigures) -> Item:
    """The next read of an org sees what the org has written, whoever answers it."""
    problems = [f"a write failed: {error}" for error in sorted(set(figures.errors))]
    missed = figures.writes - figures.seen
    if missed:
        problems.append(f"{missed} of {figures.writes} reads did not see the write before them")
    if not figures.writes:
        problems.append("nothing could be written")
    evidence = [
        f"{figures.seen} of {figures.writes} writes seen by the next read, {figures.on_replicas} of these on replicas"
    ]
    counts = {"writes": figures.writes, "seen": figures.seen, "on_replicas": figures.on_replicas}
    return judged("own-writes", problems, evidence, figures=counts)


def _errors(reads: Sequence[Read]) -> Iterator[str]:
    failed = Counter(read.error for read in reads if read.error)
    for error, count in failed.most_common(3):
        yield f"{count:,} reads failed: {error}"
    if not reads:
        yield "no read was made"


def _told(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {count / total:.1%}" for name, count in sorted(counts.items())) or "none"


def _percentiles_ms(reads: Sequence[Read]) -> Iterator[tuple[float, float]]:
    if len(reads) > 1:
        cuts = quantiles((read.took_s * 1000 for read in reads), n=20)
        yield cuts[9], cuts[18]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
