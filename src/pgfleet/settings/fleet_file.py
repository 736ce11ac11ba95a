"""The fleet file -> replicas, and everything that is wrong with it, in one pass.

It is TOML: a table `[[replica]]` for each replica. `[primary]` and `[provider]` are somebody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pgfleet.settings.conninfo import EXAMPLE
from pgfleet.settings.kinds import BOOLEAN, shown
from pgfleet.settings.node import NodeSettings, with_bounds
from pgfleet.settings.source import Source, read_text
from pgfleet.settings.variables import FLEET_FILE, OF_REPLICA

REPLICA = "replica"
TABLES = (REPLICA, "primary", "provider")
FIELDS = tuple(variable.field for variable in OF_REPLICA)
KEYS = ("name", "dsn", "dsn_file", *FIELDS[1:], "drain")
LONGEST_FLEET = 1 << 20
"""Characters: thousands of replicas."""

Read = tuple[tuple[NodeSettings, ...], tuple[str, ...]]
"""The replicas in order, and the problems, a line each. With a problem, use none of them."""


def read_fleet_file(path: str) -> Read:
    """The replicas of a file. No problem quotes what may be a connection string."""
    try:
        text = read_text(path, LONGEST_FLEET)
    except OSError as error:
        made = "write the path of a readable file, or let `pgfleet replica add` make it"
        return (), (f"{FLEET_FILE}: cannot be read ({error.strerror}); {made}",)
    except ValueError as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        return (), (f"{FLEET_FILE}: {reason}; write the path of a fleet file",)
    return parse_fleet(text, os.path.dirname(path))


def parse_fleet(text: str, directory: str = "") -> Read:
    """The same of a text. A relative `dsn_file` is looked for in `directory`."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "nested too deeply"
    else:
        return _read(document, directory)
    return (), (f"{FLEET_FILE}: is not TOML ({where}); mend it there",)


def _read(document: Mapping[str, Any], directory: str) -> Read:
    problems = [
        f"{FLEET_FILE}: has {shown(key)} at its top, which means nothing; write [[{REPLICA}]]"
        for key in document
        if key not in TABLES
    ]
    tables = document.get(REPLICA, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        return (), (
            *problems,
            f"{FLEET_FILE}: has a {REPLICA} that is no list; write [[{REPLICA}]] before each",
        )
    replicas = []
    for index, table in enumerate(tables):
        place = f"{FLEET_FILE} {REPLICA}[{index}]"
        found = [*_key_problems(place, table)]
        dsn = None if found else _dsn(place, table, directory, found)
        problems += found
        if dsn:
            replicas.append(dsn)
    return tuple(replicas), tuple(problems)


def _key_problems(place: str, table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if key not in KEYS:
            yield f"{place}: has {shown(key)}, which means nothing; write one of {', '.join(KEYS)}"
        elif key in ("dsn", "dsn_file") and not isinstance(value, str):
            yield f'{place}.{key}: is not a text; write {key} = "..."'
    if "name" not in table:
        yield f'{place}.name: is not set; write name = "reports-1"'
    if not isinstance(table.get("drain", False), bool):
        yield f"{place}.drain: is not {BOOLEAN.noun}; {BOOLEAN.write}"


def _dsn(place: str, table: Mapping[str, Any], directory: str, problems: list[str]) -> NodeSettings | None:
    """The node of a table whose keys are right; its values are checked with those of all other nodes."""
    name = f"{place}.dsn"
    texts = {name: table.get("dsn", "")}
    if "dsn_file" in table:
        texts[f"{name}_file"] = os.path.join(directory, table["dsn_file"])
    source = Source(texts, suffix="_file")
    dsn = source.dsn(name)
    problems += [f"{where}: {complaint}" for where, complaint in source.problems.items()]
    if dsn is None and not problems:
        problems.append(f'{name}: is not set; write dsn = "{EXAMPLE}"')
    if dsn is None:
        return None
    values = with_bounds({field: table[field] for field in FIELDS if field in table})
    return NodeSettings(dsn=dsn, variable=place, draining=table.get("drain", False), **values)
