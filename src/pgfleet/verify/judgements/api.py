"""What the monitoring API says: health, connection pools, and the description of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pgfleet.verify.figures import Answer, ApiFigures, NodeFigures
from pgfleet.verify.items import DOCTOR, Endpoint, Item, judged
from pgfleet.verify.judgements.shapes import DOCUMENTED, HEALTH, LAG, OPENAPI, POOLS, SHAPES, misfits

UTILISATION = 0.70
"""The target of the guide; it warns above 80 %."""
UNANSWERED = Answer(None, complaint="was not asked")


def health_item(api: ApiFigures, expected: int) -> Item:
    """The endpoint answers to the token alone, in the shape of the guide, that all is well. `expected`: replicas."""
    health = _body(api, HEALTH)
    problems = [*_refusals(api, HEALTH, LAG)]
    if not problems:
        problems += _health_problems(health, expected)
    if api.without_token == 200 and not api.is_own:
        problems.append("it answers without a token: anybody who reaches it reads the fleet's state")
    evidence = [f"GET {api.where}{HEALTH}"] if not api.is_own else [f"GET {HEALTH}"]
    if not _refused(api, HEALTH):
        evidence = [f"{evidence[0]}: {health['message']}"]
    if api.is_own:
        evidence.append("served by this command for the check; --url asks a running service")
    step = (
        DOCTOR if not _refused(api, HEALTH) else "See that the service runs there, and which token it wants."
    )
    return judged(
        "health", problems, evidence, step, {"status": _answer(api, HEALTH).status, "url": api.where}
    )


def _health_problems(health: Any, expected: int) -> Iterator[str]:
    if not health["replicasEnabled"]:
        yield "its replicas are disabled: USE_READ_REPLICAS is not true there"
    elif not health["healthy"]:
        yield health["message"]
    if health["replicasEnabled"] and health["replicaCount"] != expected:
        yield f"it knows {health['replicaCount']} replicas, this environment has {expected}"


def pools_item(api: ApiFigures, replicas: Sequence[str], nodes: Sequence[NodeFigures]) -> Item:
    """There are connections to every node, and less than 70 % of what there may be is in use, also on the servers."""
    problems = [*_refusals(api, POOLS)]
    stats = {} if problems else _by_node(_body(api, POOLS))
    problems += (
        [] if problems else [*_pool_problems(stats, replicas), *(_unseen(stats) if api.is_own else ())]
    )
    problems += [
        f"{node.name}: {_share(used, most)} of the server's connections are in use"
        for node in nodes
        if (used := node.connections) and (most := node.max_connections) and used / most >= UTILISATION
    ]
    evidence = [f"{name} {_active_of(pool)}" for name, pool in stats.items()]
    evidence = [f"open (in use): {', '.join(evidence)}"] if evidence else []
    told = [
        f"{n.name} {_share(n.connections, n.max_connections)}" for n in nodes if n.connections is not None
    ]
    evidence += [f"of the servers' connections: {', '.join(told)}"] if told else []
    figures = {"pools": stats, "servers": {n.name: [n.connections, n.max_connections] for n in nodes}}
    step = (
        "Compare DB_MAX_CONNECTIONS times the processes with each server's max_connections; `pgfleet doctor`."
    )
    return judged("pools", problems, evidence, step, figures)


def _pool_problems(stats: dict[str, Any], replicas: Sequence[str]) -> Iterator[str]:
    for name in replicas:
        if not stats.get(name, {}).get("total_connections"):
            yield f"no connection to {name}"
    for name, pool in stats.items():
        most = pool.get("max_connections")
        if most and pool["active_connections"] / most >= UTILISATION:
            yield f"{name}: {_share(pool['active_connections'], most)} of its connections are in use"


def _unseen(stats: dict[str, Any]) -> Iterator[str]:
    """Our own pools had a lease open on every node when they were asked for."""
    for name, pool in stats.items():
        if pool["total_connections"] and not pool["active_connections"]:
            yield f"{name}: the statistics do not show the lease that was open"


def _by_node(stats: Any) -> dict[str, Any]:
    return {"primary": stats["primary"], **stats["replicas"]}


def _active_of(pool: Any) -> str:
    return f"{pool['total_connections']} ({pool['active_connections']})"


def _share(used: int | None, most: int | None) -> str:
    return f"{used} of {most}" + (f" ({used / most:.0%})" if used is not None and most else "")


def endpoints_item(api: ApiFigures, endpoints: Sequence[Endpoint]) -> Item:
    """The API describes every path of the contract, each answers, and the replicas' addresses are known."""
    problems = [*_refusals(api, OPENAPI, *(path for path in api.answers if path != OPENAPI))]
    described = _body(api, OPENAPI)
    paths = described.get("paths") if isinstance(described, dict) else None
    missing = [path for path in DOCUMENTED if path not in paths] if isinstance(paths, dict) else []
    if not _refused(api, OPENAPI):
        problems += [] if isinstance(paths, dict) else ["/openapi.json describes no paths"]
        problems += [f"/openapi.json does not describe {path}" for path in missing]
    replicas = [endpoint for endpoint in endpoints if endpoint.role == "replica"]
    evidence = [f"replicas in the table of endpoints, for the runbook: {len(replicas)}"]
    if isinstance(paths, dict):
        evidence.append(
            f"/openapi.json describes {len(DOCUMENTED) - len(missing)} of {len(DOCUMENTED)} paths"
        )
    step = "Another pgfleet than this one serves there, or another program: `pgfleet --version` on both."
    if any(answer.status == 503 for answer in api.answers.values()):
        step = DOCTOR  # it is ours, and has nobody to ask
    return judged("endpoints", problems, evidence, step, {"described": sorted(paths or ())})


def _refusals(api: ApiFigures, *paths: str) -> Iterator[str]:
    """What is wrong with the answers of these paths, a line each."""
    for path in paths:
        if why := _refused(api, path):
            yield f"{path}: {why}"


def _refused(api: ApiFigures, path: str) -> str | None:
    answer = _answer(api, path)
    if answer.complaint or answer.status != 200:
        return answer.complaint or f"answers {answer.status}"
    return next(misfits(SHAPES[path], answer.body), None) if path in SHAPES else None


def _answer(api: ApiFigures, path: str) -> Answer:
    return api.answers.get(path, UNANSWERED)


def _body(api: ApiFigures, path: str) -> Any:
    return _answer(api, path).body
