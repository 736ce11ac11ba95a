"""The way between one client and one server. What cannot pass now is sent again later, as TCP does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

LATENCY_S = (0.0001, 0.001)


class Way:
    """One direction. Nothing is lost in it, it is only late; ends of connections travel like everything else."""

    def __init__(self, rng: Random) -> None:
        self.is_open = True
        self.delay_s = 0.0
        self._rng = rng
        self._held: list[Callable[[], None]] = []

    def send(self, arrive: Callable[[], None]) -> None:
        """Call `arrive` when it has got there."""
        if not self.is_open:
            self._held.append(arrive)
            return
        delay_s = self._rng.uniform(*LATENCY_S) + self.delay_s * self._rng.uniform(0.5, 1.5)
        asyncio.get_running_loop().call_later(delay_s, arrive)

    def reopen(self) -> None:
        """Deliver what was held."""
        self.is_open = True
        held, self._held = self._held, []
        for arrive in held:
            self.send(arrive)


class Link:
    """Both ways between a client and a server. One may be closed while the other is open."""

    def __init__(self, rng: Random) -> None:
        self.requests = Way(rng)
        self.answers = Way(rng)
        self.refuses = False
        """New connections are refused on the way, as by a firewall that says so."""

    def heal(self) -> None:
        """As if nothing had been."""
        self.refuses = False
        for way in (self.requests, self.answers):
            way.delay_s = 0.0
            way.reopen()

    @property
    def is_well(self) -> bool:
        """Whether everything passes at its usual pace."""
        ways = (self.requests, self.answers)
        return not self.refuses and all(way.is_open and not way.delay_s for way in ways)
