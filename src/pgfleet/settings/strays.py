"""Names of the environment that were meant for pgfleet, and that nothing reads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgfleet.settings.source import FILE
from pgfleet.settings.variables import OTHER_NAMES, VARIABLES

PREFIX = "PGFLEET_"
NEAR = 0.75
"""How like a name must be to one of ours that begins as it does."""
VERY_NEAR = 0.9
"""The same for a name that may be somebody else's: `DB_HOST` is."""

_OURS = frozenset((*VARIABLES, *OTHER_NAMES))
_SERVICE_LINK = re.compile(r"PGFLEET\w*?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_[A-Z]+(_[A-Z]+)?)?)")
"""What Kubernetes sets in every pod for a service named `pgfleet`: nobody wrote it."""


def strays(names: Iterable[str]) -> dict[str, str | None]:
    """The names that begin as ours do and mean nothing, each with the nearest that does; None: none is near."""
    return {
        name: _nearest(name, NEAR)
        for name in sorted(names)
        if name.startswith(PREFIX) and not _is_ours(name) and not _SERVICE_LINK.fullmatch(name)
    }


def lookalikes(names: Iterable[str]) -> dict[str, str]:
    """Other names that look like one of ours which is not set, each with that one."""
    there = set(names)
    near = {
        name: _nearest(name, VERY_NEAR)
        for name in sorted(there)
        if not name.startswith((PREFIX, "READ_REPLICA")) and not _is_ours(name)
    }
    return {name: ours for name, ours in near.items() if ours and not {ours, ours + FILE} & there}


def _is_ours(name: str) -> bool:
    return name in _OURS or name.removesuffix(FILE) in _OURS


def _nearest(name: str, cutoff: float) -> str | None:
    from difflib import get_close_matches

    suffix = FILE if name.endswith(FILE) else ""
    match = get_close_matches(name.removesuffix(suffix), [own for own in _OURS if "<" not in own], 1, cutoff)
    return match[0] + suffix if match else None
