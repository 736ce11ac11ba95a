"""Looks at the primary: changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pgfleet.errors import ProvisionError
from pgfleet.provision.selfhosted.catalog import ASK_ALL, ASK_ROLE, Catalog
from pgfleet.provision.selfhosted.facts import Machine, Primary, Role, Slot
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.places import Place, place_of

OLDEST_MAJOR = 13
"""The first with `max_slot_wal_keep_size`: without it one dead replica fills the primary's disk."""
MARK = "pgfleet "
"""A role's comment begins with this and the fleet's name; the place of its replica follows, as JSON."""

_MACHINE = """
data=$1
echo "architecture=$(uname -m)"
echo "libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo "addresses=$(hostname -I 2>/dev/null)"
echo "free=$(df -Pk "$data/pg_wal" | awk 'NR == 2 { print $4 }')"
pid=$(head -n 1 "$data/postmaster.pid")
echo "unit=$(sed -n 's,.*/\\([^/]*[.]service\\)$,\\1,p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)"
log=$(readlink "/proc/$pid/fd/2" 2>/dev/null)
if [ -f "$log" ]; then echo "log=$log"; fi
if [ -d /run/systemd/system ]; then echo systemd=yes; fi
"""


async def look_primary(catalog: Catalog) -> Primary:
    """All that is to know. Raises ProvisionError when it is no primary, too old, or asked by no superuser."""
    site, host = catalog.site, catalog.host
    version = check_version(site.primary, await catalog.ask(ASK_ROLE))
    told = await catalog.ask(ASK_ALL)
    settings = told["settings"]
    machine = pairs(await host.script(_MACHINE, settings["data_directory"]))
    return Primary(
        version=version,
        system_id=told["system_id"],
        settings=settings,
        commanded=frozenset(told["sources"] or ()),
        hba=told["hba"],
        roles=tuple(_roles(site.fleet, told["roles"])),
        strangers=frozenset(
            role["name"] for role in told["roles"] if not _is_ours(site.fleet, role["comment"])
        ),
        slots=tuple(_slot(row) for row in told["slots"]),
        streaming=frozenset(
            (row["name"], row["user"]) for row in told["senders"] if row["state"] == "streaming"
        ),
        size_bytes=int(told["size_bytes"]),
        free_bytes=int(machine["free"]) * 1024,
        machine=machine_of(host, machine),
        manager=_manager(site.primary, version // 10000, told["bin_directory"], settings, machine),
        tablespaces=tuple(told["tablespaces"]),
    )


def check_version(place: Place, role: Mapping[str, Any]) -> int:
    """Its version. Raises ProvisionError when it is no primary, too old, or asked by no superuser."""
    if role["standby"]:
        raise ProvisionError(
            f"{place}: it is a standby, not a primary",
            "write the host and port of the primary; after a failover that is the promoted one",
        )
    if not role["superuser"]:
        raise ProvisionError(
            f"{place}: the database user is no superuser", "name one who is: database_user under [primary]"
        )
    if (major := role["version"] // 10000) < OLDEST_MAJOR:
        raise ProvisionError(
            f"{place}: PostgreSQL {major} is too old; it must be {OLDEST_MAJOR} or newer", "upgrade it first"
        )
    return int(role["version"])


def _is_ours(fleet: str, comment: str | None) -> bool:
    return (comment or "").startswith(f"{MARK}{fleet} ")


def _roles(fleet: str, rows: list[dict[str, Any]]) -> Iterator[Role]:
    for row in rows:
        if _is_ours(fleet, row["comment"]):
            yield Role(
                row["name"],
                place_of(row["comment"].removeprefix(f"{MARK}{fleet} ")),
                row["login"] and row["replication"],
                row["verifier"] or "",
                row["comment"],
            )


def _slot(row: Mapping[str, Any]) -> Slot:
    return Slot(row["slot_name"], row["slot_type"] == "physical", row["active"], row["wal_status"] == "lost")


def machine_of(host: Host, told: Mapping[str, str]) -> Machine:
    """What the host said of itself."""
    return Machine(told["architecture"], told["libc"], frozenset(told["addresses"].split()), host.has_root)


def pairs(text: str) -> dict[str, str]:
    """`name=value` lines."""
    split = (line.partition("=") for line in text.splitlines())
    return {name: value for name, found, value in split if found}


def _manager(
    place: Place, major: int, bin_directory: str, settings: Mapping[str, str], machine: Mapping[str, str]
) -> Manager:
    """Who has started the server that runs."""
    debian = settings["config_file"].removeprefix("/etc/postgresql/").split("/")
    is_debian = settings["config_file"].startswith("/etc/postgresql/") and len(debian) == 3
    unit = place.unit or (machine.get("unit", "") if machine.get("systemd") else "")
    kind = place.manager or ("pg_ctlcluster" if is_debian else "systemd" if unit else "pg_ctl")
    return Manager(
        kind,
        major,
        place.bin_directory or bin_directory,
        settings["data_directory"],
        machine.get("log", ""),
        debian[1] if is_debian else place.cluster,
        unit or f"postgresql-{major}",
    )


async def wait_ready(catalog: Catalog) -> None:
    """After a restart: until it takes connections. Raises ProvisionError when it does not."""
    await catalog.host.script(_READY, *catalog.argv())


_READY = """
tries=0
until echo 'select 1' | "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 250 ]; then echo 'select 1' | "$@"; exit 1; fi
    sleep 0.2
done
"""
