"""A worker of Celery, over its broker in memory: each task sees what was written where it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery, Task, chain
from celery.contrib.testing.worker import start_worker

from pgfleet.carriers.celery import install
from pgfleet.carriers.jobs import token_headers
from pgfleet.carriers.sessions import Opening
from tests.unit.carriers.fake import FakeBlockingRouter

ROUTER = FakeBlockingRouter()
WITHIN_S = 20


def application() -> Celery:
    app = Celery("hotel", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(
        task_always_eager=False,
        worker_hijack_root_logger=False,
        broker_transport_options={"polling_interval": 0.01},
    )
    return app


app = application()


@app.task  # type: ignore[untyped-decorator]
def sees(*_: Any) -> int:
    return ROUTER.sees()


@app.task  # type: ignore[untyped-decorator]
def write(*_: Any) -> int:
    return ROUTER.write()


@app.task  # type: ignore[untyped-decorator]
def fail() -> None:
    ROUTER.write()
    raise ZeroDivisionError


@app.task(bind=True, max_retries=2)  # type: ignore[untyped-decorator]
def insist(self: Task) -> list[int]:
    """Tells in its last attempt what it saw at the beginning of it, and what it has written before."""
    seen = ROUTER.sees()
    if self.request.retries < 1:
        ROUTER.write()
        raise self.retry(countdown=0)
    return [self.request.retries, seen]


@pytest.fixture(scope="module", params=["solo", "threads"], autouse=True)
def worker(request: pytest.FixtureRequest) -> Iterator[None]:
    uninstall = install(ROUTER)
    with start_worker(
        app,
        pool=request.param,
        concurrency=4,
        perform_ping_check=False,
        loglevel="warning",
        shutdown_timeout=WITHIN_S,
    ):
        yield
    uninstall()


def test_a_task_sees_what_was_written_before_it_was_sent() -> None:
    with Opening(ROUTER, None):
        written = ROUTER.write()
        result = sees.delay()
    assert result.get(WITHIN_S, interval=0.01) == written


def test_the_next_task_of_a_chain_sees_what_the_one_before_wrote() -> None:
    result = chain(write.s(), sees.s()).apply_async()
    seen = result.get(WITHIN_S, interval=0.01)
    assert seen == result.parent.get(WITHIN_S, interval=0.01) > 0


def test_a_chain_takes_along_what_its_first_task_was_sent_with() -> None:
    with Opening(ROUTER, None):
        written = ROUTER.write()
        result = chain(sees.s(), sees.s(), sees.s()).apply_async()
    assert result.get(WITHIN_S, interval=0.01) == written


def test_a_retry_sees_what_the_attempt_before_it_wrote() -> None:
    retries, seen = insist.apply_async(headers=token_headers("token-7")).get(WITHIN_S, interval=0.01)
    assert retries == 1
    assert seen >= 1000


def test_headers_that_the_caller_gives_are_enough() -> None:
    assert sees.apply_async(headers=token_headers("token-7")).get(WITHIN_S, interval=0.01) == 7


def test_nothing_is_left_for_the_next_task() -> None:
    for task in (write, fail):
        task.apply_async(headers=token_headers("token-7")).get(WITHIN_S, propagate=False, interval=0.01)
        assert [sees.delay().get(WITHIN_S, interval=0.01) for _ in range(5)] == [0] * 5
    assert all(session.ended for session in ROUTER.sessions)


def test_many_at_once_keep_to_themselves() -> None:
    def ask(number: int) -> None:
        assert (
            sees.apply_async(headers=token_headers(f"token-{number}")).get(WITHIN_S, interval=0.01) == number
        )

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(ask, range(1, 41)):
            pass
