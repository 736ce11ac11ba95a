"""Looks at a replica's host: changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgfleet.provision.selfhosted.facts import Data, Primary, Replica
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.look_primary import machine_of, pairs
from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.marks import mark_path, passfile_path, read_mark
from pgfleet.provision.selfhosted.places import Place
from pgfleet.provision.selfhosted.settings import LIMITS, values_of

_HOST = """
major=$1; named=$2; address=$3; port=$4; state=$5; unit=$6; certificate=$7
say() { printf '%s=%s\\n' "$1" "$2"; }
say architecture "$(uname -m)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say addresses "$(hostname -I 2>/dev/null)"
for bin in "$named" "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" /usr/local/pgsql/bin \
    "$(dirname "$(command -v postgres)" 2>/dev/null)"; do
    if [ -x "$bin/postgres" ]; then
        found=$("$bin/postgres" --version | sed 's/.*(PostgreSQL) \\([0-9]*\\).*/\\1/')
        if [ "$found" = "$major" ]; then say bin "$bin"; break; fi
        versions="$versions $found"
    fi
    if [ -n "$named" ]; then bin=$named; break; fi
done
for found in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
    if [ -z "$named" ] && [ -x "$found" ]; then
        versions="$versions $("$found" --version | sed 's/.*(PostgreSQL) \\([0-9]*\\).*/\\1/')"
    fi
done
say versions "$versions"
if [ -x /usr/bin/pg_createcluster ]; then say debian yes; fi
if [ -d /run/systemd/system ]; then
    say systemd yes
    if systemctl cat "$unit" >/dev/null 2>&1; then say unit "$unit"; fi
fi
if [ -x "$bin/pg_isready" ] && "$bin/pg_isready" -q -h "$address" -p "$port" -t 3; then say reaches yes; fi
if [ -z "$state" ]; then eval "state=~$(id -un)/.pgfleet"; fi
say state "$state"
above=$state
while [ ! -e "$above" ]; do above=$(dirname "$above"); done
if [ -w "$above" ]; then say writable yes; fi
if [ -n "$certificate" ] && [ ! -r "$certificate" ]; then say misses "$certificate"; fi
"""

_DATA = """
data=$1; bin=$2; mark=$3; passfile=$4; cluster=$5; shift 5
say() { printf '%s=%s\\n' "$1" "$2"; }
if [ -d "$data" ] && [ ! -r "$data" ]; then say content yes
elif [ -d "$data" ] && [ -n "$(ls -A "$data")" ]; then say content yes; fi
say mark "$(cat "$mark" 2>/dev/null)"
say inside "$(cat "$data/pgfleet.mark" 2>/dev/null)"
if [ -n "$(find "$passfile" -perm 600 2>/dev/null)" ]; then say password "$(cut -d : -f 5 "$passfile")"; fi
control=$("$bin/pg_controldata" -D "$data" 2>/dev/null)
say system_id "$(echo "$control" | sed -n 's/^Database system identifier: *//p')"
if [ -e "$data/standby.signal" ]; then say standby yes; fi
pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then say running yes; fi
above=$data
while [ ! -e "$above" ]; do above=$(dirname "$above"); done
say free "$(df -Pk "$above" | awk 'NR == 2 { print $4 }')"
configuration=$data
if [ -n "$cluster" ] && [ -e "$cluster/postgresql.conf" ]; then
    say cluster "$(sed -n "s/^ *data_directory *=* *'\\([^']*\\)'.*/\\1/p" "$cluster/postgresql.conf" | tail -n 1)"
    configuration=$cluster
fi
if [ -e "$configuration/postgresql.conf" ]; then
    for name in "$@"; do
        say "limit:$name" "$("$bin/postgres" -D "$configuration" -C "$name" 2>/dev/null)"
    done
fi
"""


async def look_replica(host: Host, fleet: str, primary: Primary, upstream: Place) -> Replica:
    """What is there of the replica that stands, or is to stand, at the host's place."""
    unit = host.place.unit or f"postgresql-{primary.major}"
    place = host.place
    told = pairs(
        await host.script(
            _HOST, str(primary.major), place.bin_directory, upstream.address, str(upstream.port),
            place.state_directory, unit, place.sslrootcert if place.sslmode.startswith("verify") else "",
        )
    )  # fmt: skip
    kind = place.manager or _kind(told)
    found = _found(place, told, primary.major, kind, unit)
    seen = Replica(
        place=found,
        machine=machine_of(host, told),
        data=Data.NOTHING,
        versions=_majors(told["versions"]),
        reaches_primary=told.get("reaches") == "yes",
        can_write_state=told.get("writable") == "yes",
        misses=(told["misses"],) if "misses" in told else (),
    )
    if not found.bin_directory or not found.data_directory:
        return seen
    return await _look_inside(host, fleet, primary, replace(seen, manager=_manager(found, primary, kind)))


def _kind(told: Mapping[str, str]) -> str:
    if told.get("debian") and told.get("bin", "").startswith("/usr/lib/postgresql/"):
        return "pg_ctlcluster"
    return "systemd" if told.get("unit") else "pg_ctl"


def _majors(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split() if word.isdigit()}))


def _found(place: Place, told: Mapping[str, str], major: int, kind: str, unit: str) -> Place:
    usual = {
        "pg_ctlcluster": f"/var/lib/postgresql/{major}/{place.cluster}",
        "systemd": f"/var/lib/pgsql/{major}/data" if unit.startswith("postgresql-") else "",
    }
    return replace(
        place,
        bin_directory=told.get("bin", ""),
        data_directory=place.data_directory or usual.get(kind, ""),
        state_directory=told["state"],
        unit=unit,
        manager=kind,
    )


def _manager(place: Place, primary: Primary, kind: str) -> Manager:
    log = f"{place.state_directory}/{place.name}.log"
    return Manager(
        kind, primary.major, place.bin_directory, place.data_directory, log, place.cluster, place.unit
    )


def cluster_directory(place: Place, major: int) -> str:
    """Where Debian's configuration of a cluster is; empty for other layouts."""
    return f"/etc/postgresql/{major}/{place.cluster}" if place.manager == "pg_ctlcluster" else ""


async def _look_inside(host: Host, fleet: str, primary: Primary, seen: Replica) -> Replica:
    place = seen.place
    told = pairs(
        await host.script(
            _DATA, place.data_directory, place.bin_directory, mark_path(place, fleet),
            passfile_path(place, fleet), cluster_directory(place, primary.major), *LIMITS,
        )
    )  # fmt: skip
    data = whose(told, place, fleet, primary)
    is_whole = data is Data.OURS
    auto = await host.read(f"{place.data_directory}/postgresql.auto.conf") if is_whole else ""
    return replace(
        seen,
        data=data,
        mark=read_mark(told["mark"]),
        system_id=told["system_id"],
        is_running=told.get("running") == "yes",
        is_standby=told.get("standby") == "yes",
        cluster_data=told.get("cluster"),
        password=told.get("password", ""),
        values=values_of(auto),
        limits={
            name: int(told[f"limit:{name}"]) for name in LIMITS if told.get(f"limit:{name}", "").isdigit()
        },
        free_bytes=int(told["free"]) * 1024,
    )


def whose(told: Mapping[str, str], place: Place, fleet: str, primary: Primary) -> Data:
    """Whose the data are. What is not surely ours is somebody else's."""
    if not told.get("content"):
        return Data.NOTHING
    mark = read_mark(told["mark"])
    if mark is None or not mark.is_of(fleet, place):
        return Data.FOREIGN
    if mark.is_whole:
        return Data.OURS if told["inside"] == mark.number else Data.FOREIGN
    if told.get("running") and not told.get("standby"):
        return Data.FOREIGN
    return Data.HALF if told["system_id"] in ("", primary.system_id) else Data.FOREIGN
