"""How people are told names, sizes and times."""

from __future__ import annotations

import re
import shlex

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def identifier(name: str) -> str:
    """A name as SQL takes it."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"


def shell(text: str) -> str:
    """A word as a shell takes it."""
    return shlex.quote(text)


def size(count: float) -> str:
    """Bytes for people: `16.0 MB`."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} B" if unit == "B" else f"{value:,.1f} {unit}"


def span(seconds: float) -> str:
    """A time for people: `0.4 s`, `12 s`, `3 min`, `2.5 h`, `4 d`."""
    value = abs(seconds)
    if value < 10:
        return f"{seconds:.1f} s"
    if value < 120:
        return f"{seconds:.0f} s"
    if value < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if value < 172_800 else f"{seconds / 86_400:.0f} d"


def percent(share: float) -> str:
    """`93 %`."""
    return f"{100 * share:.0f} %"


def counted(count: int, noun: str) -> str:
    """`1 slot`, `2 slots`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
