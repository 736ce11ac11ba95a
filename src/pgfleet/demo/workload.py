"""Users at work: a steady stream of reads and writes, a few hundred a second, four reads to a write."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pgfleet.demo.hospitality import CITIES, DAYS_AHEAD, ORGS, ROOMS_PER_ORG, Hospitality
from pgfleet.demo.tally import Tally, Timings
from pgfleet.errors import PgfleetError

T = TypeVar("T")

USERS = 16
ACTIONS_PER_S = 350.0
"""Of all users together. A tenth of a core of these days, for the client and the servers each."""


class Workload:
    """Users of the hotel system, each of whom does one thing after the other at a steady pace."""

    def __init__(self, hotels: Hospitality, seed: int | None = None) -> None:
        self.tally = Tally()
        self._hotels = hotels
        self._random = random.Random(seed)  # noqa: S311 (whose turn it is, not a secret)
        self._ended = False
        # Of a hundred statements 80 read, 7 of them what was just booked, and 20 write.
        self._actions = {
            self._search: 20,
            self._look_for_rooms: 33,
            self._stand_at_the_desk: 20,
            self._book: 7,
            self._check_in: 7,
            self._clean: 6,
        }

    async def run(self) -> None:
        """Work until `end()`; what is under way is finished."""
        await asyncio.gather(*(self._user(number / USERS) for number in range(USERS)))

    def end(self) -> None:
        """Begin nothing new."""
        self._ended = True

    async def _user(self, phase: float) -> None:
        """A user who was held up skips what he missed: a fleet that stalls is not met by a storm afterwards."""
        interval_s = USERS / ACTIONS_PER_S
        next_s = time.monotonic() + phase * interval_s
        while not self._ended:
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            await self._act()
            next_s = max(next_s + interval_s, time.monotonic())

    async def _act(self) -> None:
        (action,) = self._random.choices([*self._actions], weights=[*self._actions.values()])
        await action(self._random.randint(1, ORGS))

    async def _search(self, _: int) -> None:
        city = self._random.choice(CITIES)
        await self._timed(self.tally.reads, lambda: self._hotels.search(city))

    async def _look_for_rooms(self, org_id: int) -> None:
        day = self._day()
        await self._timed(self.tally.reads, lambda: self._hotels.free_rooms(org_id, day))

    async def _stand_at_the_desk(self, org_id: int) -> None:
        day = self._day()
        await self._timed(self.tally.reads, lambda: self._hotels.front_desk(org_id, day))

    async def _book(self, org_id: int) -> None:
        """Book, and look at the booking at once, as everybody does."""
        room_id, day = self._room(org_id), self._day()
        booking_id = await self._timed(
            self.tally.writes, lambda: self._hotels.book(org_id, room_id, f"Guest of {org_id}", day)
        )
        if booking_id is None:
            return
        found = await self._timed(self.tally.reads, lambda: self._found(org_id, booking_id))
        if found is not None:
            self.tally.read_back += 1
            self.tally.stale += not found

    async def _found(self, org_id: int, booking_id: int) -> bool:
        return await self._hotels.booking(org_id, booking_id) is not None

    async def _check_in(self, org_id: int) -> None:
        await self._timed(self.tally.writes, lambda: self._hotels.check_in(org_id))

    async def _clean(self, org_id: int) -> None:
        room_id = self._room(org_id)
        await self._timed(self.tally.writes, lambda: self._hotels.clean(org_id, room_id))

    async def _timed(self, timings: Timings, action: Callable[[], Awaitable[T]]) -> T | None:
        """What the action gives. None: it failed, which the user sees, and the tally."""
        begun_s = time.monotonic()
        try:
            result = await action()
        except Exception as error:
            timings.failed += 1
            self.tally.last_error = error.message if isinstance(error, PgfleetError) else str(error)
            return None
        timings.add((time.monotonic() - begun_s) * 1000)
        return result

    def _day(self) -> int:
        return self._random.randrange(DAYS_AHEAD)

    def _room(self, org_id: int) -> int:
        return (org_id - 1) * ROOMS_PER_ORG + self._random.randint(1, ROOMS_PER_ORG)
