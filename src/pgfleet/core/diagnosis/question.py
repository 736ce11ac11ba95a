"""How a server is asked: one SELECT whose columns depend on its version, and whose rows come as one JSON text.

So both drivers give the same values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OLDEST, NEWEST = 12, 18
"""The major versions that the table is for. 14 to 18 were tried; 12 and 13 are as their manuals have them."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a row."""

    name: str
    sql: str = ""
    """Empty: the column of that name."""
    since: int = OLDEST
    """The first major version that has it."""
    before: str = "null"
    """What stands for it in older ones."""

    def select(self, major: int) -> str:
        """Its part of the select list."""
        return f"{(self.sql or self.name) if major >= self.since else self.before} as {self.name}"


@dataclass(frozen=True, slots=True)
class Question:
    """One SELECT."""

    name: str
    """What it is about, for people."""
    columns: tuple[Column, ...]
    source: str
    """All that follows the select list."""
    needs: str = ""
    """The attribute of `Server` without which it would be refused."""

    def sql(self, major: int) -> str:
        """The statement for a major version."""
        columns = ", ".join(column.select(major) for column in self.columns)
        return f"select coalesce(json_agg(q), '[]')::text from (select {columns} {self.source}) q"


def read_rows(text: str) -> list[Mapping[str, Any]]:
    """The rows of an answer."""
    rows: list[Mapping[str, Any]] = json.loads(text)
    return rows


def position(name: str, lsn: str, when: str = "") -> Column:
    """An LSN in bytes; NULL where `when` is not so."""
    value = f"pg_wal_lsn_diff({lsn}, '0/0')::bigint"
    return Column(name, f"case when {when} then {value} end" if when else value)


def ago(name: str, moment: str, since: int = OLDEST) -> Column:
    """How long ago, in seconds."""
    return Column(name, f"extract(epoch from clock_timestamp() - {moment})::float8", since)
