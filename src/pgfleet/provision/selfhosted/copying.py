"""The copy of a primary on a replica's host."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pgfleet.core.words import size
from pgfleet.errors import ProvisionError
from pgfleet.provision.pace import Pace
from pgfleet.provision.provider import Tell
from pgfleet.provision.selfhosted.facts import Data, Replica
from pgfleet.provision.selfhosted.host import Host
from pgfleet.provision.selfhosted.job import Job
from pgfleet.provision.selfhosted.marks import INSIDE, Mark, mark_path, new_mark, passfile_path
from pgfleet.provision.selfhosted.places import Place, Site, identifier
from pgfleet.provision.selfhosted.primary_steps import free_slot
from pgfleet.provision.selfhosted.settings import conninfo
from pgfleet.provision.selfhosted.wishes import upstream

LOGIN_TIMEOUT_S = 15.0
PAUSE_S = 0.1
TELL_EVERY_PERCENT = 10
FILLED = 3
"""The exit code of a script that found something where it wanted nothing."""

_PROGRESS = re.compile(r"\s*(\d+)/(\d+) kB \((\d+)%\)")


def backup_argv(site: Site, seen: Replica) -> tuple[str, ...]:
    """pg_basebackup as it runs; by hand it is the same. The password is in the passfile that it names."""
    place = seen.place
    return (
        f"{place.bin_directory}/pg_basebackup", "-D", place.data_directory,
        "-d", conninfo(upstream(site, place, passfile_path(place, site.fleet))),
        "-X", "stream", "-S", identifier(site.fleet, place.name), "-R", "-P", "-c", site.checkpoint,
        *(("-r", site.max_rate) if site.max_rate else ()), "-w",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Copying(Job):
    """One copy that is made."""

    async def make(self) -> Mark:
        """Mark, clear what an earlier attempt left, copy, and mark the copy as whole."""
        await self._end_earlier()
        mark = new_mark(self.site.fleet, self.place)
        await self.note(mark)
        await self._clear()
        await self._wait_login()
        await free_slot(self.catalog, identifier(self.site.fleet, self.place.name))
        self._compare_libc()
        await self._back_up()
        await self.host.write(f"{self.place.data_directory}/{INSIDE}", mark.number + "\n")
        whole = replace(mark, is_whole=True)
        await self.note(whole)
        return whole

    async def _end_earlier(self) -> None:
        """A backup whose starter is gone still writes; a server whose copy is not whole may run."""
        if self.seen.is_running and self.seen.data is Data.HALF and self.seen.manager:
            await self.seen.manager.do(self.host, "stop")
        await end_backups(self.host, self.site.fleet, self.place)

    async def _clear(self) -> None:
        """Only what an earlier attempt left is taken away. The directory stays: it may be a mounted disk."""
        directory, ours = self.place.data_directory, "ours" if self.seen.data is Data.HALF else ""
        made = await self.host.try_owner("sh", "-c", _MAKE_EMPTY, "sh", directory, ours)
        if made.code not in (0, FILLED) and self.host.has_root:
            await self.host.root("sh", "-c", _MAKE_FOR, "sh", directory, self.place.os_user)
            made = await self.host.try_owner("sh", "-c", _MAKE_EMPTY, "sh", directory, ours)
        await self._check_empty(made.code == FILLED)
        self.host.checked(f"making {directory}", made, f"let {self.place.os_user} own it")

    async def _check_empty(self, is_filled: bool) -> None:
        """Somebody filled the directory this moment: the mark must not say that it is ours to clear."""
        if is_filled:
            await self.host.script('rm -f "$1"', mark_path(self.place, self.site.fleet))
            raise ProvisionError(
                f"{self.place}: {self.place.data_directory} is not ours to touch: it is not empty any more",
                "plan again, and do what it says",
            )

    async def _wait_login(self) -> None:
        """The primary reads `pg_hba.conf` in its own time, and whatever else is in the way shows before the copy."""
        words = upstream(self.site, self.place, passfile_path(self.place, self.site.fleet))
        info = conninfo({**words, "replication": "true", "connect_timeout": "5"})
        argv = (f"{self.place.bin_directory}/psql", "-X", "-A", "-t", "-w", "-d", info)
        async for _ in Pace(PAUSE_S, LOGIN_TIMEOUT_S).looks():
            result = await self.host.try_owner(*argv, stdin="IDENTIFY_SYSTEM;")
            if result.code == 0 and self.primary.system_id in result.out:
                return
            if result.code == 0:
                raise ProvisionError(
                    f"{self.place}: another cluster answers at {self.site.primary.address}",
                    "write the address of the primary",
                )
            if "pg_hba.conf" not in result.err:
                break
        self.host.checked(
            "the login to the primary", result, "see to pg_hba.conf, TLS and the firewall of the primary"
        )

    def _compare_libc(self) -> None:
        here, there = self.seen.machine.libc, self.primary.machine.libc
        if here and there and here != there:
            self.tell(
                f"{self.place.name}: {here} here and {there} on the primary: if they sort text otherwise, indexes on"
                " text are wrong here; use the same system on both"
            )

    async def _back_up(self) -> None:
        self.tell(f"{self.place.name}: copies {size(self.primary.size_bytes)}")
        argv = backup_argv(self.site, self.seen)
        result = await self.host.try_owner(
            *argv, on_line=Progress(self.place.name, self.tell), timeout_s=None
        )
        await self._check_empty("exists but is not empty" in result.err)
        is_full = "No space left" in result.err
        self.host.checked(
            "pg_basebackup",
            replace(result, err=_without_progress(result.err)),
            "make room there, and apply again" if is_full else "mend that, and apply again",
        )


class Progress:
    """Takes pg_basebackup's lines, and tells each tenth part once."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._name = name
        self._tell = tell
        self._told_percent = 0

    def __call__(self, line: str) -> None:
        """See OnLine."""
        found = _PROGRESS.match(line)
        if found and int(found[3]) >= self._told_percent + TELL_EVERY_PERCENT:
            self._told_percent = int(found[3]) // TELL_EVERY_PERCENT * TELL_EVERY_PERCENT
            self._tell(f"{self._name}: {found[3]} % of {size(int(found[2]) * 1024)} copied")


def _without_progress(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not _PROGRESS.match(line))


async def end_backups(host: Host, fleet: str, place: Place) -> None:
    """End each backup of this replica that still runs, and return when none does."""
    await host.script(_END_BACKUPS, place.data_directory, identifier(fleet, place.name))


_END_BACKUPS = """
export DIRECTORY=" -D $1 " ROLE=" user=$2 "
tries=0
while pids=$(ps -ww -eo pid=,args= |
        awk '$2 ~ /pg_basebackup$/ && index($0, ENVIRON["DIRECTORY"]) && index($0, ENVIRON["ROLE"]) { print $1 }')
    [ -n "$pids" ]; do
    kill -9 $pids 2>/dev/null
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then echo "a pg_basebackup cannot be ended: $pids" >&2; exit 1; fi
    sleep 0.1
done
"""
"""With a network between them the one who began a backup can be gone long before the backup is."""

_MAKE_EMPTY = """
set -e
umask 077
mkdir -p "$1"
if [ "$2" = ours ]; then find "$1" -mindepth 1 -maxdepth 1 -exec rm -rf {} +; fi
if [ -n "$(ls -A "$1")" ]; then exit 3; fi
chmod 700 "$1"
"""

_MAKE_FOR = """
set -e
mkdir -p "$1"
chown "$2:" "$1"
chmod 700 "$1"
"""
