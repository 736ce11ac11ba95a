"""The probe paths, for load balancers and orchestrators: no token, one word, 200 or 503."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse

from pgfleet.core.topology import NodeState, Topology
from pgfleet.errors import RouterClosed
from pgfleet.http import verdicts
from pgfleet.http.fleet import Fleet
from pgfleet.http.verdicts import Verdict

Name = Annotated[str, Path(description="A configured node.", examples=["replica-1"])]
Lag = Annotated[
    str | None,
    Query(
        pattern=verdicts.LAG,
        description="Only while its lag is at most this: bytes (kB, MB, GB) or a duration (ms, s, m).",
        examples=["500ms"],
    ),
]

_Responses = dict[int | str, dict[str, Any]]
_WORD = {"text/plain": {"schema": {"type": "string"}}}
_NO: _Responses = {503: {"description": "No; the word says why.", "content": _WORD}}
_UNCONFIGURED: _Responses = {404: {"description": "No node of this name is configured.", "content": _WORD}}


class Probes:
    """Is this node the primary, does it take reads, is it well? And the same of the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> APIRouter:
        """The endpoints."""
        routes = APIRouter(tags=["probes"], default_response_class=PlainTextResponse)
        of_node: tuple[tuple[str, Callable[..., Any]], ...] = (
            ("primary", self.node_primary),
            ("replica", self.node_replica),
            ("health", self.node_health),
        )
        of_fleet: tuple[tuple[str, Callable[..., Any]], ...] = (
            ("primary", self.primary),
            ("replica", self.replica),
            ("readiness", self.readiness),
        )
        for word, answer in of_node:
            routes.add_api_route(f"/nodes/{{name}}/{word}", answer, responses=_NO | _UNCONFIGURED)
        for word, answer in of_fleet:
            routes.add_api_route(f"/{word}", answer, responses=_NO)
        routes.add_api_route("/liveness", self.liveness)
        return routes

    async def node_primary(self, name: Name) -> PlainTextResponse:
        """200 while this node takes writes."""
        return await self._of_node(name, verdicts.is_primary)

    async def node_replica(self, name: Name, lag: Lag = None) -> PlainTextResponse:
        """200 while this node takes plain reads as a replica."""
        return await self._of_node(name, self._takes_reads(lag))

    async def node_health(self, name: Name) -> PlainTextResponse:
        """200 while this node is the primary, or a replica that is `healthy` or `warning`."""
        return await self._of_node(name, verdicts.is_well)

    async def primary(self) -> PlainTextResponse:
        """200 while a node is known that takes writes."""
        return await self._of_fleet(verdicts.is_primary)

    async def replica(self, lag: Lag = None) -> PlainTextResponse:
        """200 while at least one replica takes plain reads."""
        return await self._of_fleet(self._takes_reads(lag))

    async def liveness(self) -> PlainTextResponse:
        """200: this process answers. It says nothing of the fleet, so nobody restarts it for a dead database."""
        return PlainTextResponse("alive")

    async def readiness(self) -> PlainTextResponse:
        """200 while reads are answered by any node: losing the primary alone must not take every worker out."""
        reads = self._takes_reads(None)

        def either(topology: Topology, node: NodeState) -> Verdict:
            primary = verdicts.is_primary(topology, node)
            return (primary if primary.yes else reads(topology, node))._replace(word="ready")

        return await self._of_fleet(either, "unready")

    def _takes_reads(self, lag: str | None) -> verdicts.Question:
        max_lag_s = self._fleet.router.settings.max_lag_s

        def question(topology: Topology, node: NodeState) -> Verdict:
            return verdicts.takes_reads(topology, node, lag, max_lag_s, self._fleet.now_s())

        return question

    async def _of_node(self, name: str, question: verdicts.Question) -> PlainTextResponse:
        try:
            return await self._answer(lambda topology: question(topology, topology.node(name)))
        except KeyError:
            return PlainTextResponse("unconfigured", 404)

    async def _of_fleet(self, question: verdicts.Question, no: str = "unavailable") -> PlainTextResponse:
        return await self._answer(lambda topology: verdicts.of_any(topology, question, no))

    async def _answer(self, question: Callable[[Topology], Verdict]) -> PlainTextResponse:
        try:
            verdict = question(await self._fleet.topology())
            if verdict.may_change:
                verdict = question(await self._fleet.topology(0.0))
        except RouterClosed:
            verdict = Verdict(False, "closed")
        return PlainTextResponse(verdict.word, 200 if verdict.yes else 503)
