"""The description is true: requests made up from it get answers that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection

from pgfleet import ReplicaRouter
from pgfleet.http import create_app, schemas
from pgfleet.local import LocalFleet
from tests.http.api import JSON_PATHS, TOKEN, api

LENIENT: list[Any] = [
    not_a_server_error,  # 503 says that a node is not what was asked for
    negative_data_rejection,  # a parameter that we do not know is passed over
]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def app(local_fleet: LocalFleet) -> Iterator[Any]:
    """Over threads: schemathesis runs each request in an event loop of its own."""
    with ReplicaRouter.from_env(local_fleet.environ()) as router:
        yield create_app(router, auth=TOKEN)


@pytest.fixture(scope="module")
def described(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=BEARER)


def test_each_answer_is_described(described: Any) -> None:
    """Also those to parameters and headers that no one should send."""
    for found in described.get_all_operations():
        _ask_often(found.ok())


def _ask_often(operation: Any) -> None:
    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case: schemathesis.Case[Any]) -> None:
        response = case.call(headers=BEARER)
        case.validate_response(response, headers=BEARER, excluded_checks=LENIENT)
        assert response.status_code < 500 or response.status_code == 503

    ask()


async def test_every_json_endpoint_shows_an_example_that_fits(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ()) as served:
        description = await served.json("/openapi.json")
    for path in JSON_PATHS[:-1]:
        answer = description["paths"][path]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        name = answer["$ref"].rpartition("/")[2]
        (example,) = description["components"]["schemas"][name]["examples"]
        model: type[BaseModel] = getattr(schemas, name)
        assert model.model_validate(example).model_dump(by_alias=True, exclude_unset=True) == example


async def test_only_the_probe_paths_go_without_a_token(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ()) as served:
        description = await served.json("/openapi.json")
    guarded = {path for path, item in description["paths"].items() if "security" in item["get"]}
    assert guarded == set(JSON_PATHS[:-1])
    assert all(item.keys() == {"get"} for item in description["paths"].values())
