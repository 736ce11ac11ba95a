"""The items that the monitoring API answers for."""

from __future__ import annotations

from typing import Any

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.http.schemas import EXAMPLES
from pgfleet.settings import Secret
from pgfleet.verify.asking import MOST_BYTES, Site, read_answer
from pgfleet.verify.figures import Answer, ApiFigures, NodeFigures
from pgfleet.verify.items import DOCTOR, Endpoint, Outcome
from pgfleet.verify.judgements.api import endpoints_item, health_item, pools_item
from pgfleet.verify.judgements.shapes import (
    DISTRIBUTION,
    DOCUMENTED,
    HEALTH,
    LAG,
    OPENAPI,
    POOLS,
    SHAPES,
    misfits,
)

MODELS = {HEALTH: "HealthReport", LAG: "LagReport", POOLS: "PoolReport", DISTRIBUTION: "DistributionReport"}
SCHEMAS: dict[str, Any] = dict(EXAMPLES)
BODIES = {path: SCHEMAS[model]["examples"][0] for path, model in MODELS.items()}


def api(is_own: bool = False, without_token: int | None = 401, **changes: Any) -> ApiFigures:
    """One that is well, with other answers to these: by the last word of the path."""
    bodies = BODIES | {OPENAPI: {"paths": dict.fromkeys(DOCUMENTED)}}
    answers = {path: Answer(200, body) for path, body in bodies.items()}
    for name, answer in changes.items():
        path = next(path for path in answers if path.endswith(name) or name in path)
        answers[path] = answer if isinstance(answer, Answer) else Answer(200, answers[path].body | answer)
    return ApiFigures("http://127.0.0.1:4000", is_own, answers, without_token)


@pytest.mark.parametrize("path", SHAPES)
def test_our_own_examples_have_the_shape_of_the_guide(path: str) -> None:
    assert [*misfits(SHAPES[path], BODIES[path])] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"healthy": 1}, "healthy is a number"),
        ({"healthy": None}, "healthy is null"),
        ({"replicaCount": True}, "replicaCount is true or false"),
        ({"timestamp": "yesterday"}, "timestamp is not a time such as 2026-01-31T09:30:00.000Z"),
        ({"message": ["well"]}, "message is a list"),
    ],
)
def test_a_value_of_another_kind_is_told(change: dict[str, Any], told: str) -> None:
    assert [*misfits(SHAPES[HEALTH], BODIES[HEALTH] | change)] == [told]


def test_what_is_missing_or_no_object_is_told() -> None:
    assert [*misfits(SHAPES[LAG], {"timestamp": BODIES[LAG]["timestamp"]})] == ["the answer has no replicas"]
    assert [*misfits(SHAPES[LAG], [])] == ["the answer is a list, not an object"]
    assert [*misfits(SHAPES[POOLS], BODIES[POOLS] | {"replicas": []})] == ["replicas is a list"]
    wrong = {"name": "r", "lagSeconds": "0", "status": "fine"}
    assert [*misfits(SHAPES[LAG], BODIES[LAG] | {"replicas": [wrong]})] == [
        "lagSeconds is a text",
        "status is not a status",
    ]


def test_health() -> None:
    item = health_item(api(), 3)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == (f"GET http://127.0.0.1:4000{HEALTH}: All 3 replicas are healthy",)
    assert health_item(api(is_own=True), 3).evidence[1].startswith("served by this command")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            api(health={"healthy": False, "message": "2 of 3 replicas are healthy"}),
            "2 of 3 replicas are healthy",
        ),
        (
            api(health={"replicasEnabled": False}),
            "its replicas are disabled: USE_READ_REPLICAS is not true there",
        ),
        (api(health={"replicaCount": 2}), "it knows 2 replicas, this environment has 3"),
        (api(health=Answer(401)), f"{HEALTH}: answers 401"),
        (api(health=Answer(None, complaint="no answer: refused")), f"{HEALTH}: no answer: refused"),
        (api(health=Answer(200, {})), f"{HEALTH}: the answer has no healthy"),
        (api(lag=Answer(200, {})), f"{LAG}: the answer has no timestamp"),
        (
            api(without_token=200),
            "it answers without a token: anybody who reaches it reads the fleet's state",
        ),
    ],
)
def test_health_that_is_none(changed: ApiFigures, told: str) -> None:
    item = health_item(changed, 3)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, told)
    assert item.next_step


NODES = [
    NodeFigures("primary", False, "18.6", None, 12, 100),
    NodeFigures("replica-1", False, "18.6", None, 69, 100),
]


def test_pools() -> None:
    item = pools_item(api(), ["replica-1"], NODES)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == (
        "open (in use): primary 45 (12), replica-1 45 (12)",
        "of the servers' connections: primary 12 of 100 (12%), replica-1 69 of 100 (69%)",
    )


def test_a_replica_without_a_connection() -> None:
    assert pools_item(api(), ["replica-1", "replica-2"], []).evidence[0] == "no connection to replica-2"


def test_a_pool_that_is_nearly_used_up() -> None:
    busy = BODIES[POOLS]["primary"] | {"active_connections": 70}
    item = pools_item(api(pool={"primary": busy}), ["replica-1"], NODES)
    assert item.evidence[0] == "primary: 70 of 100 (70%) of its connections are in use"


def test_a_server_that_is_nearly_used_up() -> None:
    full = NodeFigures("replica-2", False, "18.6", None, 95, 100)
    item = pools_item(api(), ["replica-1"], [*NODES, full])
    assert item.evidence[0] == "replica-2: 95 of 100 (95%) of the server's connections are in use"


def test_pools_that_nobody_tells() -> None:
    item = pools_item(api(pool=Answer(503)), ["replica-1"], NODES)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, f"{POOLS}: answers 503")


PLACES = [Endpoint("primary", "primary", "db:5432/x"), Endpoint("replica-1", "replica", "r1:5432/x")]


def test_endpoints() -> None:
    item = endpoints_item(api(), PLACES)
    assert item.outcome is Outcome.PASSED
    assert item.evidence[0] == "replicas in the table of endpoints, for the runbook: 1"


def test_a_path_that_is_not_described() -> None:
    fewer = dict.fromkeys(path for path in DOCUMENTED if path != LAG)
    item = endpoints_item(api(openapi={"paths": fewer}), PLACES)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, f"/openapi.json does not describe {LAG}")


@pytest.mark.parametrize("body", [{}, {"paths": []}, [], None])
def test_a_description_that_is_none(body: Any) -> None:
    assert (
        endpoints_item(api(openapi=Answer(200, body)), PLACES).evidence[0]
        == "/openapi.json describes no paths"
    )


def test_a_path_that_does_not_answer() -> None:
    item = endpoints_item(api(distribution=Answer(404)), PLACES)
    assert item.evidence[0] == f"{DISTRIBUTION}: answers 404"
    assert "Another pgfleet" in item.next_step


def test_a_path_that_has_no_node_to_ask_is_a_matter_of_the_nodes() -> None:
    item = endpoints_item(api(distribution=Answer(503)), PLACES)
    assert (item.outcome, item.next_step) == (Outcome.FAILED, DOCTOR)


@pytest.mark.parametrize("url", ["", "127.0.0.1:4000", "ftp://x", "http://", "http://x:none", "http://x?y"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Site(url)


def test_a_site_is_shown_without_who_asks() -> None:
    assert (
        str(Site("https://ops:s3cret@[::1]/prometheus/", Secret("s3cret"))) == "https://[::1]:443/prometheus"
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (read_answer(200, b"<html>"), "answers no JSON"),
        (read_answer(502, b"<html>"), "answers 502"),
        (read_answer(302, b"", "http://elsewhere"), "answers 302, a redirect: give the URL that it leads to"),
        (read_answer(200, b"x" * (MOST_BYTES + 1)), "answers more than 4,000,000 bytes"),
        (read_answer(200, b"[" * 100_000), "answers no JSON"),
        (read_answer(503, b'{"detail": "x"}'), ""),
    ],
)
def test_an_answer_that_is_no_json(answer: Answer, told: str) -> None:
    assert answer.complaint == told


def test_a_lease_of_our_own_that_is_not_shown() -> None:
    idle = BODIES[POOLS]["primary"] | {"active_connections": 0}
    item = pools_item(api(is_own=True, pool={"primary": idle}), ["replica-1"], NODES)
    assert item.evidence[0] == "primary: the statistics do not show the lease that was open"
    assert pools_item(api(pool={"primary": idle}), ["replica-1"], NODES).outcome is Outcome.PASSED
