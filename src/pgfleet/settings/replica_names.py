"""Which replicas the names of the environment speak of, and which names were meant to and do not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

from pgfleet.settings.source import FILE
from pgfleet.settings.variables import REPLICA_NAMES, REPLICA_PREFIX

_KNOWN = re.compile(rf"{REPLICA_PREFIX}([1-9][0-9]{{0,8}})_({'|'.join(REPLICA_NAMES)})({FILE})?")
_MEANT = re.compile(r"READ_REPLICAS?_(.*)", re.DOTALL)
_SERVICE_LINK = re.compile(
    r"READ_REPLICA\w*?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_[A-Z]+(_[A-Z]+)?)?)"
)
"""What Kubernetes sets in every pod for a service named `read-replica-1`: nobody wrote it."""


def replica_numbers(names: Iterable[str]) -> list[int]:
    """Every `<n>` that has a variable, in order."""
    return sorted({int(known[1]) for known in map(_KNOWN.fullmatch, names) if known})


def numbered(names: Iterable[str]) -> dict[str, int]:
    """For each replica the `<n>` of its variables: its own, if it is called `replica-7`, or else one that is free."""
    names = list(names)
    own = {name: int(name[8:]) for name in names if re.fullmatch("replica-[1-9][0-9]{0,8}", name)}
    taken = set(own.values())
    free = (number for number in count(1) if number not in taken)
    return {name: own[name] if name in own else next(free) for name in names}


def misnamed(names: Iterable[str]) -> dict[str, str]:
    """The names that look like a replica's and are not, each with its complaint."""
    return {
        name: f"is no variable of pgfleet; write {_likely(meant[1])}"
        for name in sorted(names)
        if (meant := _MEANT.fullmatch(name))
        and not _KNOWN.fullmatch(name)
        and not _SERVICE_LINK.fullmatch(name)
    }


def _likely(rest: str) -> str:
    """The right name for what follows `READ_REPLICA_` in a wrong one."""
    from difflib import get_close_matches

    number = re.match("0*([1-9][0-9]{0,8})_", rest)
    known = [*REPLICA_NAMES, *(name + FILE for name in REPLICA_NAMES)]
    match = get_close_matches(rest.partition("_")[2], known, 1) or get_close_matches(rest, known, 1)
    what = match[0] if match else f"CONNECTION_STRING (or {', '.join(REPLICA_NAMES[1:])})"
    return f"{REPLICA_PREFIX}{number[1] if number else '<n>'}_{what}" + (
        "" if number else ", with <n> 1, 2, 3, ..."
    )
