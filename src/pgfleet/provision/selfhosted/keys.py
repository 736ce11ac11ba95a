"""The keys of `fleet.toml` that are ours -> a Site, and everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from pgfleet.core.changes import Key
from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration, Keys, WantedReplica
from pgfleet.provision.selfhosted.places import (
    LOCAL,
    LOOPBACK,
    MANAGERS,
    TLS_MODES,
    Login,
    Place,
    Site,
    identifier,
)

LONGEST_NAME = 63
"""Of a role or a slot, in bytes."""

_NUMBERS = {"port": 5432, "ssh_port": 22}
_CHOICES = {"manager": MANAGERS, "sslmode": TLS_MODES, "checkpoint": ("fast", "spread")}
_HERE_PATHS = ("ssh_key", "known_hosts")
_THERE_PATHS = (
    "data_directory", "bin_directory", "state_directory", "socket_directory", "passfile", "sslrootcert",
)  # fmt: skip
SETTINGS = ("max_wal_senders", "max_replication_slots", "wal_keep_size", "max_slot_wal_keep_size")
"""Settings of the primary that the file may ask for."""

_LOGIN = frozenset({"ssh_port", "ssh_user", "ssh_key", "known_hosts"})
_SHARED = _LOGIN | {
    "os_user", "port", "bin_directory", "data_directory", "state_directory", "manager", "cluster", "unit",
}  # fmt: skip
_TLS = frozenset({"sslmode", "sslrootcert"})
_OWN = _SHARED | {"host", "host_key", "address"}

KEYS = Keys(
    provider=_SHARED | _TLS | {"max_rate", "checkpoint"},
    primary=_OWN | {"socket_directory", "database_user", "passfile", *SETTINGS},
    replica=_OWN | _TLS | {"seen_as"},
)

_HINT = "Nothing was done: mend the file, and run it again."


def site_of(declaration: Declaration) -> Site:
    """The fleet that a declaration asks for. Raises ConfigurationError with every problem."""
    reading = _Reading(declaration)
    site = reading.site()
    if reading.problems:
        raise ConfigurationError(tuple(reading.problems), _HINT)
    return site


class _Reading:
    """One reading: values where they are right, and what is wrong in `problems`."""

    def __init__(self, declaration: Declaration) -> None:
        self.problems: list[str] = []
        self._declaration = declaration

    def site(self) -> Site:
        asked = self._declaration
        common = self._checked("[provider]", asked.options)
        primary = self._checked("[primary]", asked.primary)
        site = Site(
            fleet=asked.name,
            primary=self._place("primary", primary, common),
            replicas=tuple(self._replica(replica, common) for replica in asked.replicas),
            floors={name: str(primary[name]) for name in SETTINGS if name in primary},
            **{name: primary[name] for name in ("socket_directory", "database_user", "passfile") if name in primary},
            **{name: common[name] for name in ("max_rate", "checkpoint") if name in common},
        )  # fmt: skip
        self._compare(site)
        return site

    def _replica(self, replica: WantedReplica, common: Mapping[str, Any]) -> Place:
        where = f"replica {replica.name}"
        if replica.instance_class:
            self.problems.append(f"{where} class: one's own hosts have none; leave it out")
        return self._place(replica.name, self._checked(where, replica.options), common)

    def _place(self, name: str, own: Mapping[str, Any], common: Mapping[str, Any]) -> Place:
        values = {**common, **own}
        host = "" if values.get("host", LOCAL) == LOCAL else values["host"]
        login = Login(host, **{key: values[key] for key in (*_LOGIN, "host_key") if key in values and host})
        known = (_SHARED | _TLS | {"seen_as"}) - _LOGIN
        rest = {key: values[key] for key in known if key in values}
        return Place(name, login, address=values.get("address", host or LOOPBACK), **rest)

    def _checked(self, where: str, options: Mapping[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        for key, value in options.items():
            if key not in KEYS.provider | KEYS.primary | KEYS.replica:
                continue  # dsn_env and others that all providers have
            if complaint := _complaint(key, value):
                self.problems.append(f"{where} {key}: {complaint}")
            else:
                checked[key] = self._resolved(key, value)
        return checked

    def _resolved(self, key: str, value: Any) -> Any:
        """A path on this host starts at the file; one on another host is what it is there."""
        if key in _HERE_PATHS:
            return os.path.normpath(os.path.join(self._declaration.directory, os.path.expanduser(value)))
        return value.rstrip("/") if key in _THERE_PATHS else value

    def _compare(self, site: Site) -> None:
        """What is wrong between the servers."""
        if site.primary.address == LOOPBACK and any(place.login.host for place in site.replicas):
            self.problems.append(
                "[primary] address: is not set, and replicas are on other hosts; write where they reach it"
            )
        taken: dict[Key, str] = {}
        for place in (site.primary, *site.replicas):
            for what, key in (
                ("port", (place.login.host, str(place.port))),
                ("data_directory", (place.login.host, place.data_directory)),
            ):
                if key[1] and (other := taken.setdefault(key, place.name)) != place.name:
                    self.problems.append(
                        f"{place.name} {what}: {key[1]} on {place.login} is that of {other}; write another"
                    )
        for place in site.replicas:
            if len(name := identifier(site.fleet, place.name)) > LONGEST_NAME:
                self.problems.append(
                    f"replica {place.name}: its slot would be called {name}, longer than {LONGEST_NAME}"
                    " characters; shorten its name or the fleet's"
                )


def _complaint(key: str, value: Any) -> str:
    """Why a value cannot be, and what to write; empty: it can."""
    if key in _NUMBERS:
        is_port = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
        return "" if is_port else f"is no port; write {key} = {_NUMBERS[key]}"
    if key in SETTINGS:
        return "" if _is_setting(key, value) else f"is not such a value; write {_EXAMPLES[key]}"
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return f'is not a text; write {key} = "..."'
    return _TEXTS[key](value) if key in _TEXTS else ""


def _is_setting(key: str, value: Any) -> bool:
    from pgfleet.provision.selfhosted.settings import megabytes

    if key.endswith("_size"):
        return isinstance(value, str) and megabytes(value) > 0
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10_000


_EXAMPLES = {
    "max_wal_senders": "max_wal_senders = 10",
    "max_replication_slots": "max_replication_slots = 10",
    "wal_keep_size": 'wal_keep_size = "1GB"',
    "max_slot_wal_keep_size": 'max_slot_wal_keep_size = "50GB"',
}


def _one_of(key: str) -> Callable[[str], str]:
    choices = _CHOICES[key]
    return lambda value: (
        "" if value in choices else f"'{value}' is unknown; write one of {', '.join(choices)}"
    )


def _absolute(value: str) -> str:
    if value.startswith("/") and value.strip("/") and "'" not in value:
        return ""
    return "is no absolute path; begin it with /, and use no quotes"


def _address(value: str) -> str:
    return (
        "" if value.isascii() and not set(" ,'\"#\\@").intersection(value) else "is no address or host name"
    )


def _host_key(value: str) -> str:
    words = value.split()
    return (
        ""
        if len(words) >= 2 and words[0].startswith(("ssh-", "ecdsa-", "sk-"))
        else (
            "is no public key; write the type and the key, as `ssh-keyscan` shows it behind the host's name"
        )
    )


_TEXTS: Mapping[str, Callable[[str], str]] = {
    **{key: _one_of(key) for key in _CHOICES},
    **dict.fromkeys(_THERE_PATHS, _absolute),
    "address": _address,
    "seen_as": _address,
    "host": _address,
    "host_key": _host_key,
}
