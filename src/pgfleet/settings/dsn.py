"""Where a server is and who asks: one connection string, read once, that never shows its password."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat

from pgfleet.settings.conninfo import EXAMPLE, is_url, parse_conninfo
from pgfleet.settings.secret import Secret

DEFAULT_PORT = 5432

_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
_FIELDS = frozenset(("host", "port", "user", "password", "dbname"))
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?|[/@][^\x00-\x1f\x7f]+")
"""A name or an IPv4 address, an IPv6 address, a socket. All may be shown: none holds `user:password@`."""

Hosts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A connection string, from a URL (`postgresql://...`) or from keywords (`host=... port=...`), as libpq reads it.

    What it does not say stays None for the driver to find (`PGUSER`, `PGPASSWORD`, the password file); only the host
    must be named, because a fleet is several servers.
    """

    hosts: Hosts
    """Each host name, address or socket directory, with its port."""
    user: str | None
    database: str | None
    password: Secret | None
    _text: Secret

    @classmethod
    def parse(cls, text: str, variable: str = "DATABASE_URL") -> Dsn:
        """Read a connection string. Raises ValueError, which names `variable` and quotes no part of the text."""
        try:
            return _read(text.strip() if is_url(text.strip()) else text)  # libpq takes no blanks around a URL
        except ValueError as error:
            complaint = str(error)
        raise ValueError(f"{variable}: {complaint}")  # out here: no context that would show the frames within

    def reveal(self) -> str:
        """The text as it was given, password included, without the blanks around a URL."""
        return self._text.reveal()

    @property
    def parameters(self) -> Mapping[str, str]:
        """All else that the text says, by libpq's keywords: `sslmode`, `application_name`, `options`, ...

        A new dict at each call. It may hold secrets (`sslpassword`): it is for drivers, not for people.
        """
        return {k: v for k, v in parse_conninfo(self.reveal()).items() if k not in _FIELDS}

    @property
    def display(self) -> str:
        """`host:port/database`, for people."""
        shown = f"{','.join(_address(*host) for host in self.hosts)}/{self.database or self.user or ''}"
        return "".join(character if character.isprintable() else "?" for character in shown)

    @property
    def server(self) -> tuple[object, ...]:
        """Equal for two that lead to the same server and database, as far as names can tell.

        Of several hosts, `target_session_attrs` chooses: the same list can mean the primary here and a standby there.
        """
        parameters = self.parameters
        choice = parameters.get("target_session_attrs", "any") if len(self.hosts) > 1 else "any"
        hosts = sorted((host if host.startswith("/") else host.lower(), port) for host, port in self.hosts)
        return tuple(hosts), parameters.get("hostaddr", ""), self.database or self.user, choice

    def changed(self, without: Iterable[str] = (), **keywords: str) -> Dsn:
        """The same connection string with these of libpq's keywords in place of its own."""
        words = {k: v for k, v in parse_conninfo(self.reveal()).items() if k not in without} | keywords
        return Dsn.parse(" ".join(f"{word}={_quoted(value)}" for word, value in words.items()))

    def __repr__(self) -> str:
        return f"Dsn({self.display})"

    __str__ = __repr__


def _read(text: str) -> Dsn:
    values = parse_conninfo(text)
    _check_choices(values)
    database = values.get("dbname") or None
    if database and re.search("://|=", database):
        raise ValueError(f"has a connection string in the place of its database; write {EXAMPLE}")
    password = values.get("password")
    return Dsn(
        _read_hosts(values),
        values.get("user") or None,
        database,
        Secret(password) if password else None,
        Secret(text),
    )


def _check_choices(values: Mapping[str, str]) -> None:
    for keyword, choices in _CHOICES.items():
        if values.get(keyword, choices[0]) not in choices:
            raise ValueError(f"has an unknown {keyword}; write one of {', '.join(choices)}")


def _read_hosts(values: Mapping[str, str]) -> Hosts:
    named = values.get("host") or values.get("hostaddr")
    if not named:
        raise ValueError(
            f"names no host; write {EXAMPLE}, or ?host=/var/run/postgresql for a socket directory"
        )
    hosts, ports = named.split(","), values.get("port", "").split(",")
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError("has a host that is no host name, address or socket directory; write " + EXAMPLE)
    if len(ports) not in (1, len(hosts)):
        raise ValueError("has more ports than hosts, or fewer; write one port, or one for each host")
    every_port = ports if len(ports) == len(hosts) else repeat(ports[0])
    return tuple((host, _read_port(port)) for host, port in zip(hosts, every_port, strict=False))


def _read_port(text: str) -> int:
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0 if text else DEFAULT_PORT
    if not 1 <= port <= 65535:
        raise ValueError(
            "has a port that is no number from 1 to 65535; "
            f"write {EXAMPLE}, with %3A for : and %2F for / in user and password"
        )
    return port


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("/") else f"{host}:{port}"
