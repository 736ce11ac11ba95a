"""How we know what we made on a replica's host: a mark beside the data, and its number within.

The mark is written before the copy begins and says that it is not whole, since pg_basebackup wants an empty directory.
The number is written into the data when it is. A directory that somebody filled since bears another number or none.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.places import Place, identifier

INSIDE = "pgfleet.mark"
"""In the data directory: the number alone."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What of ours is, or is to be, in a data directory."""

    fleet: str
    replica: str
    data_directory: str
    number: str
    is_whole: bool = False
    is_settled: bool = False
    """Whether its server has taken the configuration that was written last."""

    def is_of(self, fleet: str, place: Place) -> bool:
        """Whether it speaks of this replica, where it stands."""
        wanted = (fleet, place.name, place.data_directory)
        return (self.fleet, self.replica, self.data_directory) == wanted

    def text(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self)) + "\n"


def new_mark(fleet: str, place: Place) -> Mark:
    """Of a copy that begins now."""
    return Mark(fleet, place.name, place.data_directory, secrets.token_hex(16))


def read_mark(text: str) -> Mark | None:
    """The mark in a file; None: it is none."""
    try:
        return Mark(**json.loads(text))
    except (ValueError, TypeError):
        return None


def mark_path(place: Place, fleet: str) -> str:
    """Where it is."""
    return f"{place.state_directory}/{fleet}/{place.name}.json"


async def note(host: Host, fleet: str, place: Place, mark: Mark) -> None:
    """Write a mark."""
    await host.write(mark_path(place, fleet), mark.text())


def passfile_path(place: Place, fleet: str) -> str:
    """libpq's password file of the standby, with its role's password."""
    return f"{place.state_directory}/{fleet}/{place.name}.pgpass"


def passfile_text(fleet: str, replica: str, password: str) -> str:
    """For any host, since after a failover another server is the primary."""
    return f"*:*:*:{identifier(fleet, replica)}:{password}\n"
