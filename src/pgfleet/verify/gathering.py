"""All that is looked at while reads are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgfleet.errors import DriverMissing
from pgfleet.settings import NodeSettings, Settings
from pgfleet.verify.asking import Site
from pgfleet.verify.figures import (
    Answer,
    ApiFigures,
    LagFigures,
    NodeFigures,
    Read,
    ReplicaFigures,
    WriteFigures,
)
from pgfleet.verify.items import Endpoint
from pgfleet.verify.judgements.shapes import (
    DISTRIBUTION,
    EXPLAIN,
    HEALTH,
    LAG,
    OPENAPI,
    POOLS,
    REPLICATION,
)
from pgfleet.verify.load import Load, Router
from pgfleet.verify.looking import count_standbys, leases, look_at_replicas, look_at_servers, sample_lags
from pgfleet.verify.options import Options
from pgfleet.verify.writing import write_and_read

PATHS = (HEALTH, LAG, POOLS, REPLICATION, DISTRIBUTION, EXPLAIN, OPENAPI)


@dataclass(frozen=True, slots=True)
class Seen:
    """The figures of one window."""

    replicas: Sequence[ReplicaFigures]
    standbys: int | None
    lags: Sequence[LagFigures]
    reads: Sequence[Read]
    writes: WriteFigures | None
    """None: nothing was written."""
    servers: Sequence[NodeFigures]
    pools: Answer | None
    """What the API said of the pools, under load; None: it was not asked."""


async def gather(
    router: Router,
    settings: Settings,
    known: Mapping[str, NodeSettings],
    options: Options,
    site: Site | DriverMissing,
) -> Seen:
    """Read for so long, write beside it, and look meanwhile at the lags and in the end at everything else."""
    async with Load(router).running(options.callers, options.rate) as load:
        lags, writes = await asyncio.gather(
            sample_lags(router, options.seconds), _writes(router, options.read_only, options.seconds)
        )
        pools = await _ask_pools(router, site) if isinstance(site, Site) else None
    replicas = await look_at_replicas(router, known)
    servers = await look_at_servers(router, known, settings.pooler != "none")
    return Seen(replicas, await count_standbys(router), lags, load.reads, writes, servers, pools)


async def _ask_pools(router: Router, site: Site) -> Answer:
    """The pool statistics, while a lease is open on every node that answers."""
    async with leases(router):
        return await site.get(POOLS)


async def _writes(router: Router, read_only: bool, seconds: float) -> WriteFigures | None:
    return None if read_only else await write_and_read(router, seconds)


async def ask_api(site: Site, router: Router, *, is_own: bool, before: Answer | None) -> ApiFigures:
    """Ask every path of the contract. `before`: what it said of the pools under load, which counts."""
    paths = (*PATHS, "/liveness", "/readiness", *_of_nodes(router))
    if before is not None and before.status is None:
        # Nobody is there: to ask on takes long, and tells no more.
        return ApiFigures(str(site), is_own, dict.fromkeys(paths, before))
    said = await asyncio.gather(*(site.get(path) for path in paths))
    nobody = await site.get(HEALTH, as_nobody=True)
    answers = dict(zip(paths, map(_word, paths, said), strict=True))
    if before is not None:
        answers[POOLS] = before
    return ApiFigures(str(site), is_own, answers, nobody.status)


def _of_nodes(router: Router) -> list[str]:
    return [f"/nodes/{node.name}/health" for node in router.topology.nodes]


def _word(path: str, answer: Answer) -> Answer:
    """Probe paths answer one word, and 503 for a node that is not well: that they answer is what is asked here."""
    if path in PATHS or answer.status not in (200, 503):
        return answer
    return Answer(200)


def endpoints_of(
    router: Router, known: Mapping[str, NodeSettings], servers: Sequence[NodeFigures]
) -> tuple[Endpoint, ...]:
    """The nodes as the runbook should have them."""
    versions = {server.name: server.version for server in servers}
    names = [node.name for node in router.topology.nodes]
    primary = router.topology.primary_name or names[0]
    return tuple(
        _endpoint(known[name], name == primary, versions.get(name)) for name in names if name in known
    )


def _endpoint(node: NodeSettings, is_primary: bool, version: str | None) -> Endpoint:
    role, weight = ("primary", None) if is_primary else ("replica", node.weight)
    return Endpoint(node.name, role, node.dsn.display, node.zone, weight, version)
