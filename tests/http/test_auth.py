"""Who may read what; and requests of any kind get an answer, never an error of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pgfleet import AsyncReplicaRouter, ConfigurationError, Secret
from pgfleet.http import create_app
from pgfleet.http.figures import PoolFigures
from pgfleet.local import LocalFleet
from tests.http.api import HEALTH, JSON_PATHS, LAG, PROBES, TOKEN, Api, api, client

GARBAGE = {
    "none": None,
    "empty": b"",
    "token alone": TOKEN.encode(),
    "scheme alone": b"Bearer",
    "scheme and blank": b"Bearer ",
    "wrong scheme": b"Basic " + TOKEN.encode(),
    "wrong token": b"Bearer wrong",
    "beginning of the token": b"Bearer " + TOKEN[:-1].encode(),
    "token and more": f"Bearer {TOKEN} {TOKEN}".encode(),
    "upper case": b"Bearer " + TOKEN.upper().encode(),
    "not ASCII": "Bearer ключ".encode(),
    "not UTF-8": b"Bearer \xff\xfe\x80",
    "control characters": b"Bearer \x01\x02",
    "huge": b"Bearer " + b"x" * 1_000_000,
    "comma": f"Bearer {TOKEN},Bearer {TOKEN}".encode(),
}
URL = "postgresql://u:p@127.0.0.1:1/db"


@pytest.fixture
async def served() -> AsyncIterator[Api]:
    """Over a fleet that does not answer: who may ask does not depend on it."""
    async with api({"DATABASE_URL": URL}) as served:
        yield served


@pytest.mark.parametrize("header", GARBAGE.values(), ids=GARBAGE)
async def test_without_the_token_nothing_is_told(served: Api, header: bytes | None) -> None:
    async with client(served.app) as caller:
        del caller.headers["authorization"]
        headers = {} if header is None else {b"authorization": header}
        for path in JSON_PATHS:
            response = await caller.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json().keys() == {"detail"}


async def test_the_scheme_is_read_as_http_reads_it(served: Api) -> None:
    assert (await served.client.get(LAG, headers={"authorization": f"bearer {TOKEN}"})).status_code == 200


async def test_a_wrong_token_learns_nothing_of_the_parameters(served: Api) -> None:
    response = await served.client.get(
        "/v1/system/database/routing/explain?max_lag_s=no", headers={"authorization": "Bearer no"}
    )
    assert response.status_code == 401


@pytest.mark.parametrize("header", GARBAGE.values(), ids=GARBAGE)
async def test_probe_paths_need_no_token(served: Api, header: bytes | None) -> None:
    async with client(served.app) as caller:
        del caller.headers["authorization"]
        for path in PROBES:
            response = await caller.get(path, headers={b"authorization": header or b""})
            assert response.status_code in (200, 404, 503)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/", "/docs", "/redoc", f"{LAG}/", "/nodes/x/y", "/nodes/a%2Fb/health"]
)
async def test_a_wrong_path(served: Api, path: str) -> None:
    assert (await served.client.get(path)).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_a_wrong_method(served: Api, method: str) -> None:
    for path in (*JSON_PATHS, *PROBES):
        response = await served.client.request(method, path)
        assert response.status_code == 405
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "query",
    [
        "org_id=" + "x" * 201,
        "max_lag_s=0",
        "max_lag_s=-1",
        "max_lag_s=nan",
        "max_lag_s=inf",
        "max_lag_s=1e999",
        "max_lag_s=soon",
        "max_lag_s=",
        "prefer_replica=perhaps",
        "max_lag_bytes=-1",
        "max_lag_bytes=1.5",
        "max_lag_bytes=99999999999999999999",
        "consistency=perhaps",
        "after=" + "x" * 201,
    ],
)
async def test_a_wrong_parameter(served: Api, query: str) -> None:
    response = await served.client.get(f"/v1/system/database/routing/explain?{query}")
    assert response.status_code == 422


@pytest.mark.parametrize("org_id", ["9" * 200, "-1", "%00", "%FF%FE", "%F0%9F%A6%A9", "", "٣"])
async def test_any_short_org_id_is_one(served: Api, org_id: str) -> None:
    await served.json(f"/v1/system/database/routing/explain?org_id={org_id}")


async def test_an_endless_query(served: Api) -> None:
    for path in (LAG, "/replica", "/nowhere"):
        response = await served.client.get(f"{path}?{'x' * 60_000}")
        assert response.status_code == 414
        assert len(response.content) < 200


async def test_what_fails_inside_stays_inside(served: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: PoolFigures) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(PoolFigures, "distribution", fail)
    response = await served.client.get("/v1/system/database/queries/distribution")
    assert (response.status_code, response.json()) == (500, {"detail": "internal error"})


def router(**environ: str) -> AsyncReplicaRouter[object]:
    return AsyncReplicaRouter.from_env({"DATABASE_URL": URL, **environ}, driver="asyncpg")


def test_without_a_token_it_is_not_built() -> None:
    with pytest.raises(ConfigurationError, match="PGFLEET_API_TOKEN") as caught:
        create_app(router())
    assert "auth=None" in caught.value.hint


@pytest.mark.parametrize("auth", ["", " ", "with blank", "ключ", Secret("")])
def test_a_token_that_no_header_can_hold_is_refused(auth: str | Secret) -> None:
    with pytest.raises(ConfigurationError, match="auth"):
        create_app(router(), auth=auth)


@pytest.mark.parametrize(
    ("auth", "token"), [(..., "of-the-settings"), ("given", "given"), (Secret("kept"), "kept")]
)
async def test_which_token_counts(auth: object, token: str) -> None:
    async with router(PGFLEET_API_TOKEN="of-the-settings") as opened:
        app = create_app(opened, auth=auth)  # type: ignore[arg-type]  # of three kinds
        async with client(app, token) as caller:
            assert (await caller.get(HEALTH)).status_code == 200
        async with client(app, "another") as caller:
            assert (await caller.get(HEALTH)).status_code == 401


async def test_no_token_when_that_is_said(local_fleet: LocalFleet) -> None:
    async with api(local_fleet.environ() | {"PGFLEET_API_TOKEN": TOKEN}, auth=None) as served:
        for path in JSON_PATHS:
            assert (await served.client.get(path, headers={"authorization": ""})).status_code == 200
        schema = (await served.client.get("/openapi.json")).json()
    assert "securitySchemes" not in schema["components"]
