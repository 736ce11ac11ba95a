"""What is done at each of Celery's signals. A worker of its own has `tests/integration/test_celery.py`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from celery.app.task import Context

from pgfleet.carriers.celery import install
from pgfleet.carriers.jobs import HEADER
from pgfleet.carriers.sessions import Opening
from pgfleet.errors import DriverMissing
from tests.unit.carriers.fake import NO_PRIMARY, FakeBlockingRouter


@pytest.fixture
def router() -> Iterator[FakeBlockingRouter]:
    router = FakeBlockingRouter()
    uninstall = install(lambda: router)
    yield router
    uninstall()


def published(**headers: Any) -> dict[str, Any]:
    """The headers of a message that is sent here."""
    signals.before_task_publish.send("task", body=((), {}, {}), headers=headers)
    return headers


class Task:
    """A task as the worker runs it."""

    def __init__(self, **headers: str) -> None:
        self._task = SimpleNamespace(request=Context(dict(headers)))

    def __enter__(self) -> Task:
        signals.task_prerun.send("task", task_id="1", task=self._task, args=(), kwargs={})
        return self

    def __exit__(self, *exc_info: object) -> None:
        signals.task_postrun.send("task", task_id="1", task=self._task, args=(), kwargs={})


def test_a_task_sees_what_was_written_before_it_was_sent(router: FakeBlockingRouter) -> None:
    with Opening(router, None):
        written = router.write()
        headers = published()
    assert headers == {HEADER: f"token-{written}"}
    with Task(**headers):
        assert router.sees() == written
    assert router.present is None


def test_who_wrote_nothing_sends_nothing(router: FakeBlockingRouter) -> None:
    with Opening(router, None):
        assert published() == {}
    assert router.issued == 0


def test_what_it_was_itself_sent_with_goes_on(router: FakeBlockingRouter) -> None:
    with Task(**{HEADER: "token-7"}):
        assert published() == {HEADER: "token-7"}
        router.write()
        assert published() == {HEADER: "token-1000"}
    assert router.issued == 1


def test_a_retry_brings_along_what_it_wrote_in_the_place_of_what_it_was_sent_with(
    router: FakeBlockingRouter,
) -> None:
    with Task(**{HEADER: "token-7"}):
        assert published(**{HEADER: "token-7"}) == {HEADER: "token-7"}
        router.write()
        assert published(**{HEADER: "token-7"}) == {HEADER: "token-1000"}


def test_a_token_that_the_caller_gives_stays(router: FakeBlockingRouter) -> None:
    with Opening(router, None):
        router.write()
        assert published(**{HEADER: "theirs"}) == {HEADER: "theirs"}


def test_outside_of_a_session_nothing_is_known_to_be_written(router: FakeBlockingRouter) -> None:
    router.write()
    assert published() == {}


def test_the_session_of_another_router_is_none(router: FakeBlockingRouter) -> None:
    other = FakeBlockingRouter()
    with Opening(other, None):
        other.write()
        assert published() == {}


def test_inside_a_session_of_the_task_s_own_the_whole_task_s_token_is_taken(
    router: FakeBlockingRouter,
) -> None:
    with Task():
        router.write()
        with router.session():
            assert published() == {HEADER: "token-1000"}


def test_a_message_without_headers_is_left_alone(router: FakeBlockingRouter) -> None:
    with Opening(router, None):
        router.write()
        assert signals.before_task_publish.send("task", body={}, headers=None)[0][1] is None


def test_without_a_token_the_task_is_sent_with_what_there_is(
    router: FakeBlockingRouter, caplog: pytest.LogCaptureFixture
) -> None:
    router.trouble = NO_PRIMARY
    for headers in ({}, {HEADER: "token-7"}):
        with Task(**headers):
            router.write()
            assert published() == published() == headers
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("token", [None, "", 7, "forged", "x" * 1_000_000])
def test_a_token_that_is_none_does_no_harm(router: FakeBlockingRouter, token: Any) -> None:
    with Task(**{HEADER: token}):
        assert router.sees() == 0
    assert router.sessions[0].ended


def test_tasks_inside_tasks_end_in_their_order(router: FakeBlockingRouter) -> None:
    with Task(**{HEADER: "token-7"}):
        with Task(**{HEADER: "token-5"}):
            assert router.sees() == 5
        assert router.sees() == 7
    assert router.present is None


def test_a_task_that_is_run_at_once_is_in_the_session_of_its_caller(router: FakeBlockingRouter) -> None:
    with Opening(router, None):
        written = router.write()
        with Task():
            assert router.sees() == written
            router.write()
        assert router.sees() == written + 1
    assert len(router.sessions) == 1


def test_nothing_is_left_for_the_next_task_of_the_thread(router: FakeBlockingRouter) -> None:
    with pytest.raises(ZeroDivisionError), Task(**{HEADER: "token-7"}):
        raise ZeroDivisionError
    with Task():
        assert router.sees() == 0
    assert all(session.ended for session in router.sessions)


def test_a_task_whose_session_cannot_begin_runs_without_one(caplog: pytest.LogCaptureFixture) -> None:
    def closed() -> FakeBlockingRouter:
        raise RuntimeError("the router is not open")

    uninstall = install(closed)
    with Task(), Task():
        pass
    uninstall()
    assert "the router is not open" in caplog.text


def test_what_is_installed_twice_counts_once_and_two_routers_do_not_meet(router: FakeBlockingRouter) -> None:
    second = FakeBlockingRouter()
    undo = [install(second), install(second)]
    with Task():
        assert len(second.sessions) == len(router.sessions) == 1
    undo[0]()
    with Task():
        assert (len(second.sessions), len(router.sessions)) == (1, 2)
    undo[1]()


def test_without_celery_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "pgfleet.carriers.celery")
    with pytest.raises(DriverMissing) as caught:
        import_module("pgfleet.carriers.celery")
    assert caught.value.hint == "pip install 'pgfleet[celery]'"
