"""Carries a plan out: at the same time what may be, nothing new after a failure, nothing left running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from time import monotonic
from typing import Protocol

from pgfleet.errors import PgfleetError, ProvisionError
from pgfleet.provision.plan import Plan, needed
from pgfleet.provision.provider import Provider, Step
from pgfleet.provision.redact import redacted

AGAIN = "The same command then goes on from here."

_log = logging.getLogger("pgfleet.provision")


class Progress(Protocol):
    """Whoever follows the work. Called in the event loop, once a fact."""

    def began(self, step: Step) -> None:
        """A step has begun."""

    def told(self, step: Step, line: str) -> None:
        """It has come so far. Secrets are hidden."""

    def ended(self, step: Step, took_s: float) -> None:
        """It is done."""

    def failed(self, step: Step, why: str) -> None:
        """It could not be done. Secrets are hidden."""


class Unseen:
    """Nobody follows the work; the log has it."""

    def began(self, step: Step) -> None:
        """See Progress."""

    def told(self, step: Step, line: str) -> None:
        """See Progress."""

    def ended(self, step: Step, took_s: float) -> None:
        """See Progress."""

    def failed(self, step: Step, why: str) -> None:
        """See Progress."""


async def apply(
    provider: Provider, plan: Plan, progress: Progress | None = None, allowed: Collection[str] = ()
) -> None:
    """Do the steps of a plan, each when what it needs is done.

    After a failure no new step begins, and those that run come to their end. Raises ProvisionError with every step that
    failed, its cause and what to do; and before anything begins, when the plan has a problem, or needs a consent that
    is not in `allowed`. A cancelled apply cancels its steps, and the next one goes on from there.
    """
    _check(plan, allowed)
    await _Run(provider, plan, progress or Unseen()).run()


def _check(plan: Plan, allowed: Collection[str]) -> None:
    if plan.problems:
        raise ProvisionError("\n".join(plan.problems), "Nothing was changed.")
    for step in plan.steps:
        if step.consent and step.consent not in allowed:
            raise ProvisionError(
                f"{step.title}: needs your consent ({step.consent}), and nothing was changed",
                f"Look at the plan, choose a good moment, and add --allow {step.consent}",
            )


class _Run:
    """One apply."""

    def __init__(self, provider: Provider, plan: Plan, progress: Progress) -> None:
        self._provider = provider
        self._progress = progress
        self._waiting = list(plan.steps)
        self._running: dict[asyncio.Task[None], Step] = {}
        self._failures: list[tuple[Step, Exception]] = []

    async def run(self) -> None:
        try:
            self._begin_ready()
            while self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                self._collect()
                self._begin_ready()
        finally:
            await self._cancel()
        if self._failures:
            raise _failure(self._failures)

    def _begin_ready(self) -> None:
        """No step that needs one which is not done, and none after a failure."""
        undone = [*self._waiting, *self._running.values()]
        for step in [] if self._failures else list(self._waiting):
            if not needed(step, undone):
                self._waiting.remove(step)
                self._running[asyncio.create_task(self._carry_out(step))] = step

    async def _carry_out(self, step: Step) -> None:
        began_s = monotonic()
        _log.info("%s: begins", redacted(step.title))
        self._progress.began(step)
        try:
            await self._provider.carry_out(step.change, lambda line: self._tell(step, redacted(line)))
        except Exception as error:
            why = _cause(error)
            _log.error("%s: failed: %s", redacted(step.title), why)
            self._progress.failed(step, why)
            raise
        took_s = monotonic() - began_s
        _log.info("%s: done in %.1f s", redacted(step.title), took_s)
        self._progress.ended(step, took_s)

    def _tell(self, step: Step, line: str) -> None:
        _log.info("%s: %s", redacted(step.title), line)
        self._progress.told(step, line)

    def _collect(self) -> None:
        for task in [task for task in self._running if task.done()]:
            step = self._running.pop(task)
            try:
                task.result()
            except Exception as error:
                self._failures.append((step, error))

    async def _cancel(self) -> None:
        """What still runs when the apply itself is ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _cause(error: Exception) -> str:
    told = error.message if isinstance(error, PgfleetError) else f"{type(error).__name__}: {error}"
    return redacted(told)


def _failure(failures: list[tuple[Step, Exception]]) -> ProvisionError:
    """Without the cause as such: a stranger's error may quote a secret."""
    hints = [error.hint for _, error in failures if isinstance(error, PgfleetError) and error.hint]
    return ProvisionError(
        "\n".join(f"{redacted(step.title)}: {_cause(error)}" for step, error in failures),
        " ".join([*dict.fromkeys(f"{hint.rstrip('.')}." for hint in hints), AGAIN]),
    )
