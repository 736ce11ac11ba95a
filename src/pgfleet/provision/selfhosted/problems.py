"""Why a fleet cannot be made as it is wanted, a line each, with the next step."""

from __future__ import annotations

from collections.abc import Iterator

from pgfleet.core.words import size
from pgfleet.provision.selfhosted.facts import Data, Primary, Replica
from pgfleet.provision.selfhosted.places import identifier
from pgfleet.provision.selfhosted.view import View
from pgfleet.provision.selfhosted.wishes import AT_START, floors

LOG_BYTES = 256 << 20
"""For the WAL that is written while the copy is made."""


def needed_bytes(primary: Primary) -> int:
    """The room that a copy takes."""
    return primary.size_bytes + primary.size_bytes // 10 + LOG_BYTES


def problems(view: View) -> list[str]:
    """All of them."""
    found = [*_of_primary(view)]
    for place in view.site.replicas:
        if seen := view.replicas.get(place.name):
            found += _of_replica(view, seen)
    return [*found, *_shared(view)]


def _shared(view: View) -> Iterator[str]:
    """Two servers in one directory: what a file leaves to be found can be the same."""
    primary = view.site.primary
    taken = {(primary.login.host, view.primary.settings["data_directory"]): primary.name}
    for place in (seen.place for seen in view.replicas.values() if seen.place.data_directory):
        other = taken.setdefault((place.login.host, place.data_directory), place.name)
        if other != place.name:
            yield (
                f"{place}: {place.data_directory} is that of {other}; name another data_directory, or on Debian"
                " another cluster"
            )


def _of_primary(view: View) -> Iterator[str]:
    site, primary = view.site, view.primary
    if primary.tablespaces:
        yield (
            f"{site.primary}: has tablespaces ({', '.join(primary.tablespaces)}), which pgfleet does not copy; make"
            " the replicas by hand with pg_basebackup --tablespace-mapping"
        )
    if any(place.is_encrypted for place in site.replicas) and primary.settings["ssl"] != "on":
        yield f"{site.primary}: a replica's sslmode asks for TLS, and ssl is off; set up ssl there, or lower sslmode"
    lacking = view.lacking().keys()
    for name in sorted(lacking & primary.commanded):
        yield f"{site.primary}: {name} is set on its command line, which nothing overrides; take it away there"
    if AT_START & lacking and primary.manager.kind == "systemd" and not primary.machine.has_root:
        yield f"{site.primary}: must be restarted by systemd, and nobody may become root there; allow that by sudo"
    names = {identifier(site.fleet, place.name) for place in site.replicas}
    others = sum(slot.name not in names for slot in primary.slots)
    slots = max(int(values["max_replication_slots"]) for values in (floors(site), primary.settings))
    if others + len(names) > slots:
        yield (
            f"{site.primary}: has {others} slots of others, so max_replication_slots must be"
            f" {others + len(names)} or more; write that under [primary]"
        )


def _of_replica(view: View, seen: Replica) -> Iterator[str]:
    place, primary = seen.place, view.primary
    if not place.bin_directory:
        yield _no_postgres(view, seen)
        return
    if not place.data_directory:
        yield f"{place}: there is no usual place for its data; write data_directory"
    if seen.machine.architecture != primary.machine.architecture:
        yield (
            f"{place}: is {seen.machine.architecture} and the primary {primary.machine.architecture}; a copy of the"
            " data runs on the same only; name another host"
        )
    if _lacks_root(seen):
        yield (
            f"{place}: {place.manager} needs root there, and nobody may become root; log in as root, allow sudo"
            ' without a password, or write manager = "pg_ctl"'
        )
    if seen.cluster_data not in (None, place.data_directory):
        yield (
            f"{place}: there is a cluster {place.cluster}, whose data are in {seen.cluster_data}; name another cluster"
        )
    if not seen.can_write_state:
        yield f"{place}: {place.os_user} cannot write to {seen.state}; name another: state_directory"
    for missing in seen.misses:
        yield f"{place}: {place.os_user} cannot read {missing}; put it there"
    if not seen.reaches_primary and _should_reach(view):
        upstream = view.site.primary
        yield (
            f"{place}: does not reach PostgreSQL at {upstream.address} port {upstream.port}; see to the firewall and"
            " to the primary's address"
        )
    yield from _of_room(view, seen)


def _lacks_root(seen: Replica) -> bool:
    """Debian's cluster can be started by its owner, but not made."""
    kind = seen.place.manager
    needs = kind == "systemd" or (kind == "pg_ctlcluster" and not seen.has_cluster)
    return needs and not seen.machine.has_root


def _no_postgres(view: View, seen: Replica) -> str:
    major = view.primary.major
    has = ", ".join(str(version) for version in seen.versions) or "none"
    return (
        f"{seen.place}: needs PostgreSQL {major} as the primary has it, and there is {has}; install it (Debian:"
        f" postgresql-{major}), or name its bin_directory"
    )


def _should_reach(view: View) -> bool:
    """Once the primary listens."""
    return "listen_addresses" not in view.lacking()


def _of_room(view: View, seen: Replica) -> Iterator[str]:
    needed = needed_bytes(view.primary)
    if seen.data in (Data.NOTHING, Data.HALF) and seen.place.data_directory and seen.free_bytes < needed:
        yield (
            f"{seen.place}: {seen.place.data_directory} has {size(seen.free_bytes)} free and the copy needs"
            f" {size(needed)}; make room, or name another data_directory"
        )
