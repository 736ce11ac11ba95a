"""Do the replicas run and stream, and how far behind are they?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgfleet.verify.figures import HIDDEN, LagFigures, NodeFigures, ReplicaFigures
from pgfleet.verify.items import DOCTOR, Item, judged

MAX_LAG_S = 1.0
"""The target of the guide."""
STREAMING = "streaming"


def replicas_item(replicas: Sequence[ReplicaFigures], wanted: int | None, standbys: int | None) -> Item:
    """`wanted`: how many there must be; None: as many as are configured. `standbys`: of `pg_stat_replication`."""
    problems = [*_wrong_number(len(replicas), wanted)]
    problems += [f"{it.name}: {problem}" for it in replicas if (problem := _problem(it))]
    well = sum(not _problem(it) for it in replicas)
    evidence = [f"{well} of {len(replicas)} replicas answer and stream"]
    evidence += [f"the primary has {_count(standbys, 'standby', 'standbys')}"] if standbys is not None else []
    if any(it.receiver == HIDDEN for it in replicas):
        evidence.append("our role is not shown the receivers' states: `GRANT pg_monitor` would show them")
    figures = {"configured": len(replicas), "streaming": well, "wanted": wanted, "standbys": standbys}
    step = "`pgfleet provision apply` makes what is missing; " + DOCTOR
    return judged("replicas", problems, evidence, step, figures)


def _wrong_number(count: int, wanted: int | None) -> Iterator[str]:
    if wanted is not None and count != wanted:
        yield f"{_count(count, 'replica is', 'replicas are')} configured, {wanted} are wanted"
    elif not count:
        yield "no replica is configured"


def _problem(replica: ReplicaFigures) -> str | None:
    if replica.trouble:
        return replica.trouble
    if replica.by_storage or replica.is_shared or replica.receiver in (STREAMING, HIDDEN):
        return None
    return (
        "runs, but streams from nobody" if replica.receiver is None else f"its receiver is {replica.receiver}"
    )


def lag_item(lags: Sequence[LagFigures], seconds: float, writes: bool) -> Item:
    """The highest lag of each. `writes`: something was written meanwhile, so that there was something to replay."""
    problems = [f"{lag.name}: {problem}" for lag in lags if (problem := _lag_problem(lag))]
    problems = problems if lags else ["no replica whose lag could be measured"]
    well = [lag for lag in lags if not _lag_problem(lag)]
    evidence = [f"at most {', '.join(f'{lag.name} {_shown(lag.max_s)}' for lag in well)}"] if well else []
    samples = max((lag.samples for lag in lags), default=0)
    evidence.append(f"{samples} looks in {seconds:g} s" + ("" if writes else "; nothing was written by us"))
    shared = [lag.name for lag in lags if lag.is_shared]
    evidence += [f"of {', '.join(shared)}: of the server that answered the probes"] if shared else []
    figures = {
        "limit_s": MAX_LAG_S,
        "sampled_s": seconds,
        "max_lag_s": {lag.name: lag.max_s and round(lag.max_s, 3) for lag in lags},
    }
    return judged("lag", problems, evidence, "`pgfleet doctor` says where the lag arises.", figures)


def _lag_problem(lag: LagFigures) -> str | None:
    if lag.max_s is None or lag.gap:
        return lag.gap or "its lag could not be measured"
    return f"{_shown(lag.max_s)} behind, the limit is {MAX_LAG_S:g} s" if lag.max_s >= MAX_LAG_S else None


def _shown(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.3f} s"


def notices(nodes: Sequence[NodeFigures]) -> tuple[str, ...]:
    """What is worth knowing of the servers, and fails nothing."""
    return (*_plain_text(nodes), *_versions(nodes))


def _plain_text(nodes: Sequence[NodeFigures]) -> Iterator[str]:
    plain = [node.name for node in nodes if node.is_remote and node.encrypted is False]
    if plain:
        yield f"Connections to {', '.join(plain)} leave this machine without TLS: sslmode=verify-full asks for it."


def _versions(nodes: Sequence[NodeFigures]) -> Iterator[str]:
    versions = {node.name: node.version for node in nodes if node.version}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f"The servers differ in version: {told}."


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
