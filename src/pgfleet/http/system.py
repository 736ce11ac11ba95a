"""The JSON endpoints, for people and monitors."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from pgfleet.core import report
from pgfleet.core.intent import Consistency
from pgfleet.core.report import Json
from pgfleet.http import schemas
from pgfleet.http.figures import Figures
from pgfleet.http.fleet import Fleet, Unanswered, timestamp
from pgfleet.http.queries import REPLICATION_SQL

PREFIX = "/v1/system/database"
YEAR_S = 31_536_000


class System:
    """What can be asked about the fleet."""

    def __init__(self, fleet: Fleet, figures: Figures) -> None:
        self._fleet = fleet
        self._figures = figures

    def routes(self) -> APIRouter:
        """The endpoints."""
        routes = APIRouter(prefix=PREFIX, tags=["fleet"])
        for path, answer, model in (
            ("/replicas/lag", self.lag, schemas.LagReport),
            ("/replicas/health", self.health, schemas.HealthReport),
            ("/connection-pool/stats", self.pools, schemas.PoolReport),
            ("/replicas/replication", self.replication, schemas.ReplicationReport),
            ("/queries/distribution", self.distribution, schemas.DistributionReport),
            ("/routing/explain", self.explain, schemas.ExplanationReport),
        ):
            routes.add_api_route(path, answer, response_model=model, response_model_exclude_unset=True)
        return routes

    async def lag(self) -> Json:
        """How far behind each replica is."""
        topology = await self._fleet.topology()
        max_lag_s = self._fleet.router.settings.max_lag_s
        return report.lag_report(topology, max_lag_s, self._fleet.now_s(), timestamp())

    async def health(self) -> Json:
        """Whether all replicas are well."""
        return report.health_report(await self._fleet.topology(), timestamp())

    async def pools(self) -> Json:
        """The connections to each node."""
        await self._fleet.topology()
        return {"timestamp": timestamp()} | await self._figures.connections()

    async def replication(self) -> Json:
        """The primary's standbys and replication slots. 503 when no primary tells."""
        name = (await self._fleet.topology()).primary_name
        if name is None:
            raise HTTPException(503, "no primary answers")
        try:
            told = await self._fleet.ask(name, REPLICATION_SQL)
        except Unanswered as why:
            raise HTTPException(503, f"{name} gave no answer: {why}") from why
        return {"timestamp": timestamp(), "primary": name, **told}

    async def distribution(self) -> Json:
        """How many reads and writes each node got."""
        await self._fleet.topology()
        return {"timestamp": timestamp()} | self._figures.distribution()

    async def explain(
        self,
        org_id: Annotated[
            str | None,
            Query(max_length=200, description="The read sees what this org wrote.", examples=["7"]),
        ] = None,
        max_lag_s: Annotated[
            float | None,
            Query(gt=0, le=YEAR_S, allow_inf_nan=False, description="At most this stale.", examples=[0.5]),
        ] = None,
        max_lag_bytes: Annotated[
            int | None,
            Query(ge=0, le=2**63, description="At most this much of the log behind.", examples=[1048576]),
        ] = None,
        after: Annotated[
            str | None,
            Query(max_length=200, description="A token: the read sees what it covers. Not ours: ignored."),
        ] = None,
        consistency: Annotated[
            Consistency | None, Query(description="What the read must see at all.")
        ] = None,
        prefer_replica: Annotated[bool, Query(description="false: the primary.")] = True,
    ) -> Json:
        """Which nodes such a read could take now, why not the others, and who lacks how much of what it must see."""
        is_strict = max_lag_s or max_lag_bytes is not None or after is not None
        await self._fleet.topology(0.0 if is_strict else 1.0)
        try:
            explanation = self._fleet.router.explain(
                org_id=self._org(org_id),
                max_lag_s=max_lag_s,
                max_lag_bytes=max_lag_bytes,
                after=after,
                consistency=consistency,
                prefer_replica=prefer_replica,
            )
        except ValueError as wrong:
            # A token that is none, words that do not go together, no secret to read it by.
            raise HTTPException(409, str(wrong)) from wrong
        return report.explanation_report(explanation, timestamp())

    def _org(self, text: str | None) -> Hashable:
        """A URL does not tell 7 from "7": of the two, the org that wrote last."""
        if text is None or not re.fullmatch("-?[0-9]{1,19}", text):
            return text
        keys: tuple[Hashable, ...] = (text, int(text))
        return max(keys, key=self._fleet.router.engine.board.writes.marks.last_write_s)
