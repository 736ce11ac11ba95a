"""`fleet.toml` -> Declaration, and everything that is wrong with it, in one pass."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration, Keys, WantedReplica
from pgfleet.provision.registry import EXTRAS, platform
from pgfleet.settings.kinds import WEIGHT, ZONE, shown
from pgfleet.settings.source import read_text

TABLES = ("fleet", "provider", "primary", "replica")
OF_FLEET = frozenset({"name", "register"})
OF_PROVIDER = frozenset({"kind"})
OF_PRIMARY = frozenset({"dsn_env", "dsn_file"})
OF_REPLICA = frozenset({"name", "zone", "class", "tags", "weight"})
LONGEST_FILE = 1 << 20
"""Characters."""

_NAME = re.compile("[a-z]([a-z0-9]|-(?=[a-z0-9])){0,39}")
"""What is a name on every platform, and with `_` for `-` a replication slot's."""
_NAME_RULE = "at most 40 lower-case letters, digits and single -, a letter first"


def read_declaration(path: str | Path) -> Declaration:
    """Read a file. Raises ConfigurationError with every problem, DriverMissing when its provider needs an extra."""
    path = Path(os.path.abspath(path))
    try:
        text = read_text(str(path), LONGEST_FILE)
    except OSError as error:
        raise _wrong(
            path, f"cannot be read ({error.strerror}); write it, or name another with --file"
        ) from None
    except ValueError as error:
        raise _wrong(path, "is not UTF-8" if isinstance(error, UnicodeError) else str(error)) from None
    return parse_declaration(text, path)


def parse_declaration(text: str, path: Path) -> Declaration:
    """The same of a text that stands in `path`."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "nested too deeply"
        raise _wrong(path, f"is not TOML ({where}); mend it there") from None
    reading = _Reading(document)
    declaration = reading.declaration(path)
    if reading.problems:
        raise ConfigurationError(tuple(f"{path.name}: {line}" for line in reading.problems), _HINT)
    return declaration


_HINT = "Nothing was done: mend the file, and run it again."


def _wrong(path: Path, complaint: str) -> ConfigurationError:
    return ConfigurationError((f"{path}: {complaint}",), _HINT)


class _Reading:
    """One reading of a document: values where they are right, and what is wrong in `problems`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._document = document
        self._check_keys("", document, frozenset(TABLES))

    def declaration(self, path: Path) -> Declaration:
        fleet, provider, primary = self._table("fleet"), self._table("provider"), self._table("primary")
        kind = self._kind(provider)
        keys = platform(kind).KEYS if kind else None
        self._check_keys("[fleet]", fleet, OF_FLEET)
        self._check_own_keys("[provider]", provider, OF_PROVIDER, keys.provider if keys else None)
        self._check_own_keys("[primary]", primary, OF_PRIMARY, keys.primary if keys else None)
        self._check_texts("[primary]", primary, *sorted(OF_PRIMARY))
        if len(OF_PRIMARY & primary.keys()) > 1:
            self.problems.append("[primary]: has dsn_env and dsn_file; keep one of them")
        return Declaration(
            name=self._name("[fleet]", fleet),
            provider=kind,
            replicas=tuple(self._replicas(keys)),
            options={key: value for key, value in provider.items() if key not in OF_PROVIDER},
            primary=primary,
            directory=str(path.parent),
            register=self._register(fleet, path),
        )

    def _table(self, name: str) -> dict[str, Any]:
        table = self._document.get(name, {})
        if isinstance(table, dict):
            return table
        self.problems.append(f"{name}: is no table; write [{name}]")
        return {}

    def _kind(self, provider: Mapping[str, Any]) -> str:
        kind = provider.get("kind")
        if isinstance(kind, str) and kind in EXTRAS:
            return kind
        known = ", ".join(EXTRAS)
        if kind is None:
            self.problems.append(f'[provider] kind: is not set; write kind = "...", one of {known}')
        else:
            self.problems.append(
                f"[provider] kind: {shown(kind)} is no provider; {_meant(str(kind), EXTRAS)}{known}"
            )
        return ""

    def _register(self, fleet: Mapping[str, Any], path: Path) -> str:
        self._check_texts("[fleet]", fleet, "register")
        register = fleet.get("register")
        if not isinstance(register, str):
            return ""
        wanted = os.path.normpath(path.parent / register)
        if os.path.realpath(wanted) == os.path.realpath(path):
            self.problems.append(
                "[fleet] register: is this file itself; write the path of another, which holds passwords"
            )
        return wanted

    def _replicas(self, keys: Keys | None) -> Iterator[WantedReplica]:
        tables = self._document.get("replica", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.problems.append("replica: is no list of tables; write [[replica]] before each")
            return
        if not tables:
            self.problems.append('replica: there is none; write [[replica]] with name = "replica-1"')
        owners: dict[str, str] = {}
        for number, table in enumerate(tables, 1):
            place = f"[[replica]] {number}"
            self._check_own_keys(place, table, OF_REPLICA, keys.replica if keys else None)
            replica = self._replica(place, table)
            if replica.name and owners.setdefault(replica.name, place) != place:
                self.problems.append(
                    f"{place} name: '{replica.name}' is the name of {owners[replica.name]} too; write another"
                )
            yield replica

    def _replica(self, place: str, table: Mapping[str, Any]) -> WantedReplica:
        name = self._name(place, table)
        if name == "primary":
            self.problems.append(f"{place} name: 'primary' is the primary's; write another")
        self._check_texts(place, table, "zone", "class")
        weight, zone = table.get("weight", 1), table.get("zone")
        self._complain(f"{place} weight", WEIGHT.complaint(weight))
        self._complain(
            f"{place} zone", ZONE.complaint(zone) if isinstance(zone, str) and zone.strip() else None
        )
        return WantedReplica(
            name=name,
            zone=str(zone or ""),
            instance_class=str(table.get("class", "")),
            tags=self._tags(place, table.get("tags", {})),
            weight=weight,
            options={key: value for key, value in table.items() if key not in OF_REPLICA},
        )

    def _tags(self, place: str, tags: object) -> dict[str, str]:
        if isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values()):
            return tags
        self.problems.append(
            f'{place} tags: is no table of texts; write tags = {{ Environment = "production" }}'
        )
        return {}

    def _name(self, place: str, table: Mapping[str, Any]) -> str:
        name = table.get("name")
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
        said = "is not set" if name is None else f"{shown(name)} is not {_NAME_RULE}"
        example = "hospitality" if place == "[fleet]" else "replica-1"
        self.problems.append(f'{place} name: {said}; write name = "{example}"')
        return ""

    def _check_texts(self, place: str, table: Mapping[str, Any], *keys: str) -> None:
        for key in keys:
            value = table.get(key, "x")
            if not isinstance(value, str) or not value.strip():
                self.problems.append(f'{place} {key}: is not a text; write {key} = "..."')

    def _check_own_keys(
        self, place: str, table: Mapping[str, Any], common: frozenset[str], own: frozenset[str] | None
    ) -> None:
        """Without a provider nobody knows its keys: then all are taken."""
        if own is not None:
            self._check_keys(place, table, common | own)

    def _check_keys(self, place: str, table: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in table:
            if key not in known:
                said = f"'{key}'" if re.fullmatch(r"[\w.-]{1,40}", key) else "a key"
                where = f"{place}: has " if place else "has at its top "
                self.problems.append(
                    f"{where}{said}, which means nothing; {_meant(key, known)}{', '.join(sorted(known))}"
                )

    def _complain(self, where: str, complaint: str | None) -> None:
        if complaint:
            self.problems.append(f"{where}: {complaint}")


def _meant(word: str, known: Mapping[str, str] | frozenset[str]) -> str:
    """`write zone? Known are `: the nearest of the words first."""
    near = get_close_matches(word, sorted(known), 1)
    return f"write {near[0]}? Known are " if near else "write one of "
