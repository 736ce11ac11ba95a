"""Jobs of Celery that see what was written before they were sent."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

from pgfleet.carriers.jobs import token_headers, token_of
from pgfleet.carriers.seldom import Seldom
from pgfleet.carriers.sessions import BlockingRouter, Found, Opened, Opening, found, present
from pgfleet.errors import DriverMissing

try:
    from celery import signals
except ModuleNotFoundError as error:
    if error.name != "celery":
        raise
    raise DriverMissing("the signals of Celery need celery", "pip install 'pgfleet[celery]'") from error


def install(router: Found[BlockingRouter]) -> Callable[[], None]:
    """Let every task run in a session of its own, which sees what was written where the task was sent.

    `router`: a ReplicaRouter, or a callable that returns it. Call it where the Celery application is made, before a
    worker starts; what it returns takes it back. A task takes along the token of the request (`carriers.wsgi`) or
    of the task that sends it, if that wrote or was itself sent with one; a token in `apply_async(headers=...)` stays.
    """
    carrier = _Carrier(router)
    uid = ("pgfleet.carriers", id(router))
    connected = (
        (signals.before_task_publish, carrier.publish),
        (signals.task_prerun, carrier.begin),
        (signals.task_postrun, carrier.end),
    )
    for signal, receiver in connected:
        signal.connect(receiver, weak=False, dispatch_uid=uid)

    def uninstall() -> None:
        for signal, _ in connected:
            signal.disconnect(dispatch_uid=uid)

    return uninstall


_running: WeakKeyDictionary[Any, ExitStack] = WeakKeyDictionary()
"""By its request the sessions of a task that runs, of all routers: they end in the reverse order of their beginning."""


class _Carrier:
    """What is done when a task is sent, begins and ends."""

    def __init__(self, router: Found[BlockingRouter]) -> None:
        self._router = router
        self._seldom = Seldom()

    def publish(self, headers: MutableMapping[str, Any] | None = None, **_: Any) -> None:
        """A task is sent by the code that runs here."""
        opened = present(found(self._router))
        if opened is None or headers is None:
            return
        if token_of(headers) in (None, opened.after):  # a retry brings along what it was sent with
            headers.update(token_headers(self._token(opened)))

    def begin(self, task: Any, **_: Any) -> None:
        """A task begins in this thread."""
        router, after = found(self._router), token_of(task.request.headers)
        if after is None and present(router):
            return  # run at once by whoever sends it (`task_always_eager`), in that session
        _running.setdefault(task.request, ExitStack()).enter_context(Opening(router, after))

    @staticmethod
    def end(task: Any, **_: Any) -> None:
        """It has ended, however it did."""
        if stack := _running.pop(task.request, None):
            stack.close()

    def _token(self, opened: Opened[BlockingRouter]) -> str | None:
        if not opened.session.wrote:
            return opened.after
        try:
            return opened.context.copy().run(opened.router.token)
        except Exception as error:
            self._seldom.warn("A task takes no new consistency token along: %s", error)
            return opened.after
