"""What is changed on a replica's host: the copy, its configuration, start and stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from time import monotonic

from pgfleet.errors import ProvisionError
from pgfleet.provision.pace import Pace
from pgfleet.provision.selfhosted.copying import Copying, end_backups
from pgfleet.provision.selfhosted.facts import Data, Primary, Replica
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.job import Job
from pgfleet.provision.selfhosted.look_replica import cluster_directory
from pgfleet.provision.selfhosted.managers import Manager
from pgfleet.provision.selfhosted.marks import Mark, mark_path, passfile_path
from pgfleet.provision.selfhosted.places import Site, identifier
from pgfleet.provision.selfhosted.primary_steps import walsender
from pgfleet.provision.selfhosted.settings import LIMITS, conninfo, values_of, with_values
from pgfleet.provision.selfhosted.wishes import listening, upstream

PATIENCE_S = 12.0
"""With a standby that runs, before it is restarted."""
RELOADED = frozenset({"primary_conninfo", "primary_slot_name"})
"""Settings that a standby takes without a restart: it only connects anew."""
STREAM_TIMEOUT_S = 120.0
"""Without any move of a standby toward streaming."""
PAUSE_S = 0.1


def own_values(site: Site, primary: Primary, seen: Replica) -> dict[str, str]:
    """The settings that make a copy of the primary this replica."""
    place = seen.place
    return {
        **{name: primary.settings[name] for name in LIMITS},
        "hot_standby": "on",
        "port": str(place.port),
        "listen_addresses": listening(primary.settings["listen_addresses"], place.address, seen.machine),
        "primary_conninfo": conninfo(upstream(site, place, passfile_path(place, site.fleet))),
        "primary_slot_name": identifier(site.fleet, place.name),
    }


@dataclass(frozen=True, slots=True)
class Making(Job):
    """One replica that is made, finished or changed."""

    @property
    def manager(self) -> Manager:
        """Who starts it."""
        assert self.seen.manager is not None
        return self.seen.manager

    async def make(self) -> None:
        """From whatever is there to a replica that streams. Done twice it does no harm."""
        mark = self.seen.mark
        if self.seen.data is not Data.OURS or mark is None:
            copying = Copying(self.site, self.primary, self.catalog, self.host, self.seen, self.tell)
            mark = await copying.make()
        changed = await self._configure(mark)
        await self._begin(changed, mark)
        await self.note(replace(mark, is_settled=True))

    async def _begin(self, changed: frozenset[str], mark: Mark) -> None:
        """Start it; one that runs has readers, and is left alone as far as may be."""
        if self.seen.data is not Data.OURS or not self.seen.is_running:
            await self._do("start")
        elif mark.is_settled and changed and changed <= RELOADED:
            before = await walsender(self.catalog, self.place.name)
            await self._do("reload")
            return await self._wait_streaming(before)
        elif changed or not mark.is_settled or not await self._streams_soon():
            await self._do("restart")
        return await self._wait_streaming()

    async def _configure(self, mark: Mark) -> frozenset[str]:
        """Before the first start, and again when something differs; the settings that did.

        The mark says so before they are written: else nobody knew of a server that has not taken them.
        """
        path = f"{self.place.data_directory}/postgresql.auto.conf"
        before = await self.host.read(path)
        values, now = own_values(self.site, self.primary, self.seen), values_of(before)
        if changed := frozenset(name for name, value in values.items() if now.get(name) != value):
            await self.note(replace(mark, is_settled=False))
            await self.host.write(path, with_values(before, values))
        await self.host.script(_COMPLETE, self.place.data_directory, self._sample(), stdin=self.primary.hba)
        await self._make_cluster()
        return changed

    def _sample(self) -> str:
        """Where Debian keeps the configuration that a new cluster begins with."""
        major = self.primary.major
        sample = f"/usr/share/postgresql/{major}/postgresql.conf.sample"
        return cluster_directory(self.place, major) + "/:" + sample

    async def _make_cluster(self) -> None:
        """Debian's configuration of a data directory that is there: it moves the files from it to /etc."""
        if self.manager.kind != "pg_ctlcluster":
            return
        directory = cluster_directory(self.place, self.primary.major)
        if await self.host.script('if [ -e "$1/postgresql.conf" ]; then echo yes; fi', directory):
            return
        await self.host.root(
            "pg_createcluster", str(self.primary.major), self.place.cluster, "-d", self.place.data_directory,
            "-p", str(self.place.port), "-u", self.place.os_user,
        )  # fmt: skip

    async def _do(self, action: str) -> None:
        self.tell(f"{self.place.name}: {action}s")
        try:
            await self.manager.do(self.host, action)
        except ProvisionError as error:
            raise ProvisionError(
                f"{error.message}\n{await self._log()}".strip(), error.hint or "see its log there"
            ) from error

    async def _streams_soon(self) -> bool:
        """After a break a standby asks again every five seconds."""
        async for _ in Pace(PAUSE_S, PATIENCE_S).looks():
            if await walsender(self.catalog, self.place.name):
                return True
        return False

    async def _wait_streaming(self, before: str = "") -> None:
        """From another process than before, when it was told to connect anew."""
        deadline_s, position = monotonic() + STREAM_TIMEOUT_S, ""
        while await walsender(self.catalog, self.place.name) in ("", before):
            now = await self.host.script(_POSITION, self.place.data_directory, self.place.bin_directory)
            if now != position:
                deadline_s, position = monotonic() + STREAM_TIMEOUT_S, now
            if monotonic() > deadline_s or not now:
                what = "does not stream" if now else "has ended again"
                raise ProvisionError(
                    f"{self.place}: it {what}\n{await self._log()}".strip(),
                    "mend what its log names, and apply again",
                )
            await asyncio.sleep(PAUSE_S)
        self.tell(f"{self.place.name}: streams")

    async def _log(self) -> str:
        """The last words of its server."""
        debian = f"/var/log/postgresql/postgresql-{self.primary.major}-{self.place.cluster}.log"
        path = debian if self.manager.kind == "pg_ctlcluster" else self.manager.log
        return (
            await self.host.script(
                _LOG, path, f"{self.place.data_directory}/log", f"{self.place.data_directory}/pg_log"
            )
        ).strip()


async def remove(host: Host, fleet: str, seen: Replica) -> None:
    """Stop it and take away what is ours; the mark last, so that a removal that was ended goes on."""
    place = seen.place
    assert seen.manager is not None
    if seen.is_running:
        await seen.manager.do(host, "stop")
    if seen.data in (Data.OURS, Data.HALF):
        await end_backups(host, fleet, place)
        if seen.has_cluster:
            await host.root("pg_dropcluster", str(seen.manager.major), place.cluster)
        await host.script(_REMOVE, place.data_directory)
    await host.script(
        _FORGET, place.state_directory, fleet, seen.manager.log, passfile_path(place, fleet), mark_path(place, fleet)
    )  # fmt: skip


_COMPLETE = """
set -e
umask 077
data=$1
cluster=${2%%:*}
sample=${2#*:}
if [ ! -e "$cluster/postgresql.conf" ] || [ "$cluster" = / ]; then
    if [ ! -e "$data/postgresql.conf" ]; then
        if [ "$cluster" != / ] && [ -e "$sample" ]; then cat "$sample"; fi > "$data/postgresql.conf"
    fi
    if [ ! -e "$data/pg_hba.conf" ]; then cat > "$data/pg_hba.conf"; fi
    if [ ! -e "$data/pg_ident.conf" ]; then : > "$data/pg_ident.conf"; fi
fi
"""
"""A primary whose configuration is elsewhere gives none to its copy: then the replica lets in whom the primary does."""

_POSITION = """
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    echo "running $("$2/pg_controldata" -D "$1" | grep -E 'minimum recovery ending location|REDO location')"
    ls "$1/pg_wal" | tail -n 2
    ps -eo args= | grep '[r]ecovering' || true
fi
"""

_LOG = """
newest=$(ls -t "$2"/*.log "$3"/*.log 2>/dev/null | head -n 1)
tail -n 40 "${newest:-$1}" 2>/dev/null | grep -E ' (FATAL|PANIC|ERROR|DETAIL|HINT): ' | tail -n 5
true
"""

_REMOVE = """
if [ -d "$1" ]; then
    find "$1" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    rmdir "$1" 2>/dev/null || true
fi
"""

_FORGET = """
rm -f "$3" "$4" "$5"
rmdir "$1/$2" "$1" 2>/dev/null || true
"""
