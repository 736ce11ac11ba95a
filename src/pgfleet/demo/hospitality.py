"""A hotel system for many organisations: its tables and what its users do, written as an application would."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pgfleet.aio import AsyncReplicaRouter
from pgfleet.errors import LocalFleetError

ORGS = 1_000
HOTELS_PER_ORG = 2
ROOMS_PER_HOTEL = 5
ROOMS_PER_ORG = HOTELS_PER_ORG * ROOMS_PER_HOTEL
DAYS_AHEAD = 360
CITIES = (
    "Aarhus",
    "Bergen",
    "Coimbra",
    "Dresden",
    "Esbjerg",
    "Fribourg",
    "Girona",
    "Heraklion",
    "Innsbruck",
    "Jaca",
)

READY_TIMEOUT_S = 20.0
READY_PAUSE_S = 0.05
MAKER = "whoever makes the tables"
"""An org_id like any other: so it is known when a replica has all that was written under it."""

CREATE = f"""
    create schema hospitality;
    create table hospitality.hotel (
        id int primary key, org_id int not null, name text not null, city text not null);
    create table hospitality.room (
        id int primary key, hotel_id int not null references hospitality.hotel, number text not null,
        price_cents int not null, cleaned_at timestamptz);
    create table hospitality.booking (
        id bigint generated always as identity primary key, org_id int not null,
        room_id int not null references hospitality.room, guest text not null, arrives date not null,
        nights int not null, checked_in_at timestamptz);

    insert into hospitality.hotel
    select id, 1 + (id - 1) / {HOTELS_PER_ORG}, 'Hotel ' || id,
           ('{{{",".join(CITIES)}}}'::text[])[1 + id % {len(CITIES)}]
    from generate_series(1, {ORGS * HOTELS_PER_ORG}) id;
    insert into hospitality.room
    select id, 1 + (id - 1) / {ROOMS_PER_HOTEL}, (101 + id % {ROOMS_PER_HOTEL})::text, 4000 + id * 37 % 18000
    from generate_series(1, {ORGS * ROOMS_PER_ORG}) id;
    insert into hospitality.booking (org_id, room_id, guest, arrives, nights)
    select 1 + (id - 1) / {ROOMS_PER_ORG}, id, 'Guest ' || id, current_date + id * 7 % {DAYS_AHEAD}, 1 + id % 7
    from generate_series(1, {ORGS * ROOMS_PER_ORG}) id;

    create index on hospitality.hotel (org_id);
    create index on hospitality.hotel (city);
    create index on hospitality.room (hotel_id, price_cents);
    create index on hospitality.booking (room_id, arrives);
    create index on hospitality.booking (org_id, arrives);
    analyze hospitality.hotel, hospitality.room, hospitality.booking;
"""  # noqa: S608 (constants of this file)

SEARCH = """
    select hotel.name, min(room.price_cents) as from_cents
    from hospitality.hotel join hospitality.room on room.hotel_id = hotel.id
    where hotel.city = $1 group by hotel.id order by from_cents limit 20
"""
FREE_ROOMS = """
    select room.id, room.number, room.price_cents
    from hospitality.hotel join hospitality.room on room.hotel_id = hotel.id
    where hotel.org_id = $1 and not exists (
        select from hospitality.booking
        where room_id = room.id and arrives <= current_date + $2::int and arrives + nights > current_date + $2::int)
    order by room.price_cents
"""
ARRIVALS = """
    select id, room_id, guest from hospitality.booking
    where org_id = $1 and arrives = current_date + $2::int order by id
"""
TO_CLEAN = """
    select room.number from hospitality.hotel join hospitality.room on room.hotel_id = hotel.id
    where hotel.org_id = $1 order by room.cleaned_at nulls first limit 5
"""
BOOKING = "select id, guest, arrives, nights from hospitality.booking where org_id = $1 and id = $2"

BOOK = """
    insert into hospitality.booking (org_id, room_id, guest, arrives, nights)
    values ($1, $2, $3, current_date + $4::int, 2) returning id
"""
CHECK_IN = """
    update hospitality.booking set checked_in_at = now()
    where id = (select id from hospitality.booking where org_id = $1 and checked_in_at is null order by arrives limit 1)
"""
CLEAN = "update hospitality.room set cleaned_at = now() where id = $1"


class Hospitality:
    """What the users of the hotel system do. An organisation sees what it has written, at once."""

    def __init__(self, router: AsyncReplicaRouter[Any]) -> None:
        self._router = router

    # what they read

    async def search(self, city: str) -> list[Any]:
        """Hotels of a city, for a guest who belongs to no organisation: a few seconds old is fresh enough."""
        return await self._router.fetch(SEARCH, city)

    async def free_rooms(self, org_id: int, day: int) -> list[Any]:
        """The organisation's rooms that nobody has booked for a day."""
        return await self._router.fetch(FREE_ROOMS, org_id, day, org_id=org_id)

    async def front_desk(self, org_id: int, day: int) -> tuple[list[Any], list[Any]]:
        """Who arrives and which rooms to clean: two statements on one node, tried together on another if it fails."""

        async def both(conn: Any) -> tuple[list[Any], list[Any]]:
            return await conn.fetch(ARRIVALS, org_id, day), await conn.fetch(TO_CLEAN, org_id)

        return await self._router.run_read(both, org_id=org_id)

    async def booking(self, org_id: int, booking_id: int) -> Any:
        """One booking; None when the node that answered does not have it."""
        return await self._router.fetch_one(BOOKING, org_id, booking_id, org_id=org_id)

    # what they write

    async def book(self, org_id: int, room_id: int, guest: str, day: int) -> int:
        """Book a room; the number of the booking."""
        async with self._router.write(org_id=org_id) as conn:
            booking_id: int = await conn.fetchval(BOOK, org_id, room_id, guest, day)
            return booking_id

    async def check_in(self, org_id: int) -> None:
        """The organisation's next guest has come."""
        await self._router.execute(CHECK_IN, org_id, org_id=org_id)

    async def clean(self, org_id: int, room_id: int) -> None:
        """A room has been cleaned."""
        await self._router.execute(CLEAN, room_id, org_id=org_id)

    # the tables

    async def prepare(self) -> bool:
        """Make the tables, unless they are there, and wait for the replicas to have them. Whether it made them."""
        async with self._router.write(org_id=MAKER, transaction=True) as conn:
            made = await conn.fetchval("select to_regnamespace('hospitality') is null")
            if made:
                await conn.execute(CREATE)
        await self._replicas_have_them()
        return bool(made)

    async def remove(self) -> None:
        """Drop the tables."""
        await self._router.execute("drop schema hospitality cascade")

    async def _replicas_have_them(self) -> None:
        """Until every replica that serves reads would serve those of whoever made the tables."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while late := self._late():
            if time.monotonic() > deadline_s:
                raise LocalFleetError(
                    f"{', '.join(sorted(late))} did not get the tables within {READY_TIMEOUT_S:g} s",
                    "pgfleet local status shows whether it lags; pgfleet local lag NODE --delay 0 ends that",
                )
            await self._router.engine.refresh(older_than_s=0.0)
            await asyncio.sleep(READY_PAUSE_S)

    def _late(self) -> set[str]:
        ready = self._router.explain(org_id=MAKER).candidates
        return set(self._router.explain().candidates).difference(ready)
