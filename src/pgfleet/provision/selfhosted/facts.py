"""What was seen on the primary and on the replicas' hosts, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.marks import Mark
from pgfleet.provision.selfhosted.places import Place


@dataclass(frozen=True, slots=True)
class Machine:
    """What of a host a data directory depends on."""

    architecture: str
    """As `uname -m` says."""
    libc: str = ""
    """`glibc 2.36`: text sorts as this says."""
    addresses: frozenset[str] = frozenset()
    has_root: bool = True
    """Whether commands can run as root there."""


@dataclass(frozen=True, slots=True)
class Role:
    """A replication role that bears our mark: its comment says where its replica is."""

    name: str
    place: Place
    is_as_wanted: bool
    """It may log in and replicate."""
    verifier: str = field(default="", repr=False)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot."""

    name: str
    is_physical: bool
    is_active: bool = False
    is_lost: bool = False
    """The WAL that it stands for is gone, so its replica needs a new copy."""


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary."""

    version: int
    """`server_version_num`: 150018."""
    system_id: str
    settings: Mapping[str, str]
    commanded: frozenset[str]
    """Settings given on its command line, which nothing else overrides."""
    hba: str
    roles: tuple[Role, ...]
    """Those of this fleet."""
    strangers: frozenset[str]
    """The names of all other roles."""
    slots: tuple[Slot, ...]
    streaming: frozenset[tuple[str, str]]
    """Name and role of each standby that streams."""
    size_bytes: int
    free_bytes: int
    machine: Machine
    manager: Manager
    tablespaces: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        """15, 18."""
        return self.version // 10000

    def slot(self, name: str) -> Slot | None:
        """The slot of a name."""
        return next((slot for slot in self.slots if slot.name == name), None)

    def role(self, replica: str) -> Role | None:
        """The role of a replica, if it is ours."""
        return next((role for role in self.roles if role.place.name == replica), None)


class Data(StrEnum):
    """What is in the data directory of a replica."""

    NOTHING = "nothing"
    HALF = "half"
    """A copy that we began, and did not end."""
    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica's host, and what of the replica is there."""

    place: Place
    """With what was empty found."""
    machine: Machine
    data: Data
    mark: Mark | None = None
    """Of ours."""
    system_id: str = ""
    """Of the data, once it is whole."""
    is_running: bool = False
    is_standby: bool = False
    """Whether its data make a standby: one that was promoted does not."""
    cluster_data: str | None = None
    """The data directory of Debian's cluster of this name; None: there is no such cluster."""
    password: str = field(default="", repr=False)
    """In its passfile."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """In its `postgresql.auto.conf`."""
    limits: Mapping[str, int] = field(default_factory=dict)
    versions: tuple[int, ...] = ()
    """The majors of PostgreSQL that are there, when ours is not."""
    free_bytes: int = 0
    reaches_primary: bool = True
    can_write_state: bool = True
    misses: tuple[str, ...] = ()
    """Programs and files that it needs and cannot use."""
    manager: Manager | None = None

    @property
    def has_cluster(self) -> bool:
        """Whether Debian's configuration of its cluster is there."""
        return self.cluster_data is not None

    @property
    def state(self) -> str:
        """The directory of our marks, passfile and log."""
        return self.place.state_directory
