"""The monitoring API, put together."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from pgfleet import __version__
from pgfleet.errors import PgfleetError
from pgfleet.http.auth import Auth, bearer, token_of
from pgfleet.http.figures import Figures, PoolFigures, ServerFigures
from pgfleet.http.fleet import Fleet, Router
from pgfleet.http.probes import Probes
from pgfleet.http.schemas import EXAMPLES, Problem
from pgfleet.http.shell import Shell
from pgfleet.http.system import System

Source = Literal["pool", "server"]

_DESCRIPTION = (
    "What pgfleet knows of a PostgreSQL primary and its read replicas. Nothing here changes anything."
)
_TOO_LONG: dict[int | str, dict[str, Any]] = {
    414: {"model": Problem, "description": "A query that never ends."}
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No bearer token, or a wrong one."},
    409: {"model": Problem, "description": "It cannot be answered as it is asked, or with these settings."},
    503: {"model": Problem, "description": "It cannot be told now."},
}


def create_app(router: Router, *, auth: Auth = ..., source: Source = "pool") -> FastAPI:
    """The monitoring API of a router of either face: an ASGI application, to be served alone or mounted in another.

    The caller opens and closes the router. `auth`: the bearer token of the JSON endpoints; by default PGFLEET_API_TOKEN
    of the router's settings; None: no token, because something else guards them. `source`: "pool" reports the
    router's own pools and reads; "server" what each server says of all its clients, for a service that routes nothing.
    Raises ConfigurationError when there is no token and `auth=None` was not said.
    """
    token = token_of(auth, router.settings)
    fleet = Fleet(router)
    figures: Figures = PoolFigures(fleet) if source == "pool" else ServerFigures(fleet)
    guarded: dict[str, Any] = {
        "dependencies": [Depends(bearer(token))] if token else [],
        "responses": _PROBLEMS,
    }
    app = FastAPI(
        title="pgfleet",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=_TOO_LONG,
    )
    app.include_router(System(fleet, figures).routes(), **guarded)
    app.include_router(Probes(fleet).routes())
    app.add_api_route("/openapi.json", _openapi, include_in_schema=False, **guarded)
    app.add_exception_handler(PgfleetError, _cannot_tell)
    app.add_middleware(Shell)
    return app


async def _openapi(request: Request) -> dict[str, Any]:
    """The description of all this, with the place where it is mounted."""
    schema: dict[str, Any] = request.app.openapi()
    for name, model in schema["components"]["schemas"].items():
        model.update(EXAMPLES.get(name, {}))
    root_path = request.scope.get("root_path")
    return schema | {"servers": [{"url": root_path}]} if root_path else schema


async def _cannot_tell(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": getattr(error, "message", "")}, 503)
