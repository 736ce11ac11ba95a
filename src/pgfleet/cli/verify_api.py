"""The monitoring API of `pgfleet verify`'s own router, served on loopback for as long as it is asked."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pgfleet.cli.web import listen, web_server
from pgfleet.errors import DriverMissing
from pgfleet.settings import Secret
from pgfleet.verify.asking import Site
from pgfleet.verify.load import Router


def serving(router: Router) -> AbstractAsyncContextManager[Site]:
    """The API on a free port, with a token that nobody else knows. Raises DriverMissing."""
    try:
        from pgfleet.http import create_app
    except ModuleNotFoundError as error:
        raise DriverMissing("the monitoring API needs FastAPI", "pip install 'pgfleet[server]'") from error
    token = Secret(secrets.token_urlsafe())
    app: Any = create_app(router, auth=token)
    return _serving(web_server(app), token)


@asynccontextmanager
async def _serving(server: Any, token: Secret) -> AsyncIterator[Site]:
    with listen("127.0.0.1", 0) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", token)
        finally:
            server.should_exit = True
            await task
