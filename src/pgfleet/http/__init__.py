"""The monitoring API: an ASGI application over a router."""

from __future__ import annotations

from pgfleet.errors import DriverMissing

try:
    from pgfleet.http.app import create_app
except ModuleNotFoundError as error:
    if error.name not in ("fastapi", "starlette", "pydantic", "anyio"):
        raise
    raise DriverMissing(f"the monitoring API needs {error.name}", "pip install 'pgfleet[server]'") from error

__all__ = ["create_app"]
