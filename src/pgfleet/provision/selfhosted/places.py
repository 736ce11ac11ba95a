"""Where the servers of a fleet stand and how their hosts are reached, as values."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

LOCAL = "local"
LOOPBACK = "127.0.0.1"
SSH_PORT = 22
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
MANAGERS = ("systemd", "pg_ctlcluster", "pg_ctl")


@dataclass(frozen=True, slots=True)
class Login:
    """How a host is reached by SSH. Without a host: it is this one, and nothing is reached."""

    host: str = ""
    ssh_port: int = SSH_PORT
    ssh_user: str = ""
    """Empty: as SSH's own configuration says, or the caller's name."""
    ssh_key: str = ""
    """A private key's path. Empty: the agent's, and those of `~/.ssh`."""
    known_hosts: str = ""
    """A file's path. Empty: `~/.ssh/known_hosts`."""
    host_key: str = ""
    """`ssh-ed25519 AAAA...`: the host's public key itself, instead of a file."""

    def __str__(self) -> str:
        return self.host or "this host"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server stands. Empty: found there, or as its host has it."""

    name: str
    login: Login = Login()
    address: str = LOOPBACK
    """Where the others and the applications reach it."""
    seen_as: str = ""
    """The address or network from which a replica comes to the primary, when that is not `address`."""
    port: int = 5432
    os_user: str = "postgres"
    data_directory: str = ""
    bin_directory: str = ""
    state_directory: str = ""
    """Where our marks, passfiles and logs lie. Empty: `.pgfleet` in the home of `os_user`."""
    manager: str = ""
    cluster: str = "main"
    """Of pg_ctlcluster."""
    unit: str = ""
    """Of systemd."""
    sslmode: str = ""
    sslrootcert: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.login})"

    @property
    def client(self) -> str:
        """The address column of its line in `pg_hba.conf`."""
        shown = self.seen_as or self.address
        try:
            return str(ipaddress.ip_network(shown))
        except ValueError:
            return shown

    @property
    def is_encrypted(self) -> bool:
        """Whether its replication never goes in clear."""
        return self.sslmode in TLS_MODES[3:]


@dataclass(frozen=True, slots=True)
class Site:
    """A whole fleet of one's own servers."""

    fleet: str
    primary: Place
    replicas: tuple[Place, ...]
    floors: Mapping[str, str] = field(default_factory=dict)
    """Settings of the primary that the file asks for."""
    socket_directory: str = ""
    database_user: str = ""
    """The superuser. Empty: the one of the operating system's user's name."""
    passfile: str = ""
    """On the primary's host, with the superuser's password. Empty: the local socket asks for none."""
    max_rate: str = ""
    """Of pg_basebackup."""
    checkpoint: str = "fast"


def identifier(fleet: str, replica: str) -> str:
    """The name of a replica's slot and of its role: `hospitality_replica_1`."""
    return f"{fleet}_{replica}".replace("-", "_")


def written(place: Place) -> str:
    """What it takes to find a place again and to clear it, as JSON, without what is as always."""
    plain = Place(place.name)
    found = replace(place, address=plain.address, port=plain.port, seen_as="", sslmode="", sslrootcert="")
    return json.dumps(_unusual(asdict(found), asdict(plain)), sort_keys=True)


def _unusual(values: dict[str, object], usual: dict[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {"name": values["name"]} if "name" in values else {}
    for key, value in values.items():
        if value != usual[key]:
            inner = usual[key]
            kept[key] = (
                _unusual(value, inner) if isinstance(value, dict) and isinstance(inner, dict) else value
            )
    return kept


def place_of(text: str) -> Place:
    """The place that was written. What a newer release added is left out. Raises ValueError when it is none."""
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise ValueError(f"not a place: {text[:80]}")
    login = found.pop("login", {})
    return Place(**_known(found, Place), login=Login(**_known(login, Login)))


def _known(values: Mapping[str, Any], kind: type[Place | Login]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in names and isinstance(value, (str, int))}
