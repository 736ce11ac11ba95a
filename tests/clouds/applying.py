"""Applies without pauses; and those that are ended at a call, as if their process had died there."""

from __future__ import annotations

from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import plan_apply
from pgfleet.provision.provider import Provider

AT_ONCE = Pace(poll_s=0.0, longest_s=60.0)


def unheard(_: str) -> None:
    pass


class Killed(Exception):
    """The process ends here."""


class Killer:
    """Lets so many calls pass. Whoever makes the next is to raise Killed."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def strikes(self) -> bool:
        """Whether one more call is one too many."""
        self._left -= 1
        return self._left < 0

    async def ended_apply(self, made: Provider) -> bool:
        """Whether an apply came so far as to be ended. One that fails by itself fails the test."""
        try:
            await apply(made, await plan_apply(made))
        except (Killed, ProvisionError):
            if self._left >= 0:
                raise
        return self._left < 0
