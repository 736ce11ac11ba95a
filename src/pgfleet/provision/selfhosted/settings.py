"""Settings of a server, as they are wanted, as they are, and as they stand in `postgresql.auto.conf`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgfleet.core.words import literal

LIMITS = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)
"""What must not be lower on a standby than on its primary, or it stops replaying."""

_MEGABYTES = {"MB": 1, "GB": 1024, "TB": 1024 * 1024}
_LINE = re.compile(r"\s*([A-Za-z_.]+)\s*=?\s*(?:'((?:[^'\\]|\\.|'')*)'|([^\s#']+))")
_WORD = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))")


def megabytes(text: str) -> int:
    """`64GB` in megabytes; -1 when it is no such size."""
    found = re.fullmatch(r"([1-9]\d{0,8})([MGT]B)", text)
    return int(found[1]) * _MEGABYTES[found[2]] if found else -1


def shown_size(amount_mb: int) -> str:
    """Megabytes as PostgreSQL writes them; -1 is no limit."""
    for unit, factor in reversed(_MEGABYTES.items()):
        if amount_mb > 0 and amount_mb % factor == 0:
            return f"{amount_mb // factor}{unit}"
    return str(amount_mb)


def _in_file(value: str) -> str:
    """A value in a configuration file, where a backslash escapes."""
    return literal(value.replace("\\", r"\\"))


def values_of(text: str) -> dict[str, str]:
    """The settings in a configuration file; of several lines for one, the last."""
    found = (_LINE.match(line) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {line[1].lower(): _unquoted(line[2], line[3]) for line in found if line}


def _unquoted(inner: str | None, bare: str | None) -> str:
    return bare or "" if inner is None else re.sub(r"''|\\(.)", lambda found: found[1] or "'", inner)


def with_values(text: str, values: Mapping[str, str]) -> str:
    """A configuration file with these settings, each once, at its end."""
    kept = [
        line
        for line in text.splitlines()
        if line.lstrip().startswith("#") or not (found := _LINE.match(line)) or found[1].lower() not in values
    ]
    added = [f"{name} = {_in_file(value)}" for name, value in values.items()]
    return "\n".join((*kept, *added)) + "\n"


def conninfo(words: Mapping[str, str]) -> str:
    """A connection string of libpq."""
    return " ".join(f"{word}={_word(value)}" for word, value in words.items() if value)


def _word(value: str) -> str:
    if re.fullmatch(r"[\w./:@-]+", value):
        return value
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def words_of(text: str) -> dict[str, str]:
    """The words of a connection string."""
    return {
        found[1]: found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
        for found in _WORD.finditer(text)
    }
