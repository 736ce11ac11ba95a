"""What the faults are played on, and the register that they stand in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, wraps
from typing import Any

import psycopg

from pgfleet.core.diagnosis.diagnose import diagnose
from pgfleet.core.diagnosis.finding import Finding
from pgfleet.core.diagnosis.snapshot import Snapshot
from pgfleet.core.diagnosis.thresholds import Thresholds
from pgfleet.doctor.examine import Patience, examine
from pgfleet.doctor.nodes import with_discovered
from pgfleet.local import LocalFleet
from pgfleet.settings import Settings
from pgfleet.testing import eventually
from tests.certificates import Certificates, certificates
from tests.conftest import INSTALLATIONS

SETTINGS: dict[str, Any] = {
    "archive_mode": True,
    "archive_command": "/bin/true",
    "max_prepared_transactions": 4,
    "max_replication_slots": 5,
    "max_wal_senders": 10,
    "max_connections": 120,
}
USUAL = Thresholds()
PATIENCE = Patience(timeout_s=6.0, interval_s=0.1)
BRIEF = Patience(timeout_s=1.6, interval_s=0.1)
"""Where somebody is silent."""
STREAMS = (
    "select count(*) = {} from pg_stat_replication where state = 'streaming' and replay_lsn >= '{}'::pg_lsn"
)


@dataclass(frozen=True)
class Case:
    """How the doctor is called while something is wrong."""

    environ: dict[str, str]
    thresholds: Thresholds = field(default_factory=Thresholds)
    processes: int = 1
    clock: Callable[[], float] = time.time
    patience: Patience = PATIENCE

    def snapshot(self) -> Snapshot:
        """What the doctor sees."""
        return asyncio.run(self._look())

    def findings(self) -> tuple[Finding, ...]:
        """What it finds."""
        return diagnose(self.snapshot(), self.thresholds)

    async def _look(self) -> Snapshot:
        settings, trouble = await with_discovered(Settings.from_env(self.environ))
        return await examine(settings, self.processes, self.patience, self.clock, trouble)


class Stage:
    """The fleets of one module, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def give_up(self) -> None:
        """Nobody knows what a fault that failed has left: the next one gets a fleet of its own."""
        vars(self).pop("fleet", None)

    @cached_property
    def fleet(self) -> LocalFleet:
        """A primary and two replicas, on the wheel's PostgreSQL."""
        return self._stack.enter_context(LocalFleet.temporary(replicas=2, settings=SETTINGS))

    @cached_property
    def bare(self) -> LocalFleet:
        """A primary alone, which nobody could follow."""
        settings: dict[str, Any] = {"wal_level": "minimal", "max_wal_senders": 0}
        return self._stack.enter_context(LocalFleet.temporary(replicas=0, settings=settings))

    @cached_property
    def certificates(self) -> Certificates:
        """Those of `older`."""
        return self._stack.enter_context(certificates())

    @cached_property
    def older(self) -> LocalFleet:
        """A primary and a replica with TLS, on Debian's PostgreSQL: the wheel's is built without."""
        pg_bin = next(path for path in INSTALLATIONS if path and "postgresql" in path.parts)
        settings = self.certificates.settings()
        return self._stack.enter_context(LocalFleet.temporary(replicas=1, pg_bin=pg_bin, settings=settings))

    def case(self, plain: bool = False, **options: Any) -> Case:
        """The fleet's own environment."""
        return Case(self.environ(plain), **options)

    def environ(self, plain: bool = False, **changes: str | None) -> dict[str, str]:
        """The fleet's environment with these changes; None takes a variable away."""
        merged: dict[str, str | None] = {
            **self.fleet.environ(plain),
            "DB_MAX_CONNECTIONS": "50",
            **changes,
        }
        return {name: value for name, value in merged.items() if value is not None}

    def second_at(self, dsn: str, **options: Any) -> Case:
        """The fleet, with this address in the place of the second replica's."""
        return Case(self.environ(READ_REPLICA_2_CONNECTION_STRING=dsn), **options)

    def sql(self, name: str, sql: str) -> list[tuple[str, ...]]:
        """Run statements as the superuser."""
        return self.fleet.sql(name, sql)

    def holds(self, name: str, condition: str) -> bool:
        """Whether this is so on a node."""
        return self.sql(name, f"select {condition}") == [("t",)]

    def until(self, name: str, condition: str) -> None:
        """Wait until this is so on a node."""
        eventually(lambda: self.holds(name, condition), within_s=20)

    def until_whole(self, replicas: int = 2) -> None:
        """Wait until so many replicas stream, and have replayed what there is."""
        self.sql("primary", "select pg_log_standby_snapshot()")
        at = self.sql("primary", "select pg_current_wal_flush_lsn()")[0][0]
        eventually(lambda: self.sql("primary", STREAMS.format(replicas, at)) == [("t",)], within_s=20)

    def copy_anew(self, name: str) -> None:
        """Make a standby that lacks what its primary has removed a copy again, with a slot."""
        cluster, slot = self.fleet._cluster(), self.fleet.node(name).slot
        self.fleet.stop(name)
        self.sql(
            "primary",
            f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{slot}'",
        )
        self.sql("primary", f"select pg_create_physical_replication_slot('{slot}', true)")
        cluster._follow_as_copy(name, "primary")
        self.until_whole()

    @contextmanager
    def altered(self, name: str, **settings: str) -> Iterator[None]:
        """A node with other settings, until the block ends. What needs a restart waits for one."""
        try:
            for setting, value in settings.items():
                self.sql(name, f"alter system set {setting} = '{value}'")
            self._reload(name)
            yield
        finally:
            for setting in settings:
                self.sql(name, f"alter system reset {setting}")
            self._reload(name)

    def _reload(self, name: str) -> None:
        before = self.sql(name, "select pg_conf_load_time()")
        self.sql(name, "select pg_reload_conf()")
        eventually(lambda: self.sql(name, "select pg_conf_load_time()") != before)

    @contextmanager
    def client(self, name: str, plain: bool = False, **options: Any) -> Iterator[psycopg.Connection[Any]]:
        """A client's connection."""
        with psycopg.connect(self.fleet.dsn(name, plain), **options) as connection:
            yield connection

    @contextmanager
    def redirected(self, name: str, port: int) -> Iterator[None]:
        """A standby that looks for its primary on another port."""
        found = self.sql(name, "select current_setting('primary_conninfo')")[0][0]
        words = [f"port={port}" if word.startswith("port=") else word for word in found.split()]
        with self.altered(name, primary_conninfo=" ".join(words).replace("'", "''")):
            yield
        self.until_whole()


Arrange = Callable[[Stage], Iterator[Case]]


@dataclass(frozen=True)
class Planned:
    """A fault."""

    fault: str
    """As the guide calls it."""
    first: str
    """The id of the finding that must come first."""
    node: str
    """The node that it must be of."""
    also: tuple[str, ...]
    """Ids that must be found too."""
    thresholds: Thresholds
    """Where a time or an amount decides, its bound is lowered: nobody waits for minutes."""
    arrange: Callable[[Stage], AbstractContextManager[Case]]

    @property
    def lowered(self) -> str:
        """Which bounds those are, as the guide tells it."""
        names = [each.name for each in fields(USUAL)]
        bounds = [(name, getattr(USUAL, name), getattr(self.thresholds, name)) for name in names]
        return ", ".join(
            f"`{n}` from {_plain(usual)} to {_plain(its)}" for n, usual, its in bounds if its != usual
        )

    def __str__(self) -> str:
        return self.arrange.__name__


def _plain(bound: float) -> str:
    return f"{bound:,}".removesuffix(".0")


PLANNED: list[Planned] = []


def planned(
    fault: str, first: str, node: str, *also: str, thresholds: Thresholds = USUAL
) -> Callable[[Arrange], Callable[[Stage], AbstractContextManager[Case]]]:
    """Register a fault."""

    def register(arrange: Arrange) -> Callable[[Stage], AbstractContextManager[Case]]:
        arranged = contextmanager(arrange)

        @contextmanager
        @wraps(arrange)
        def managed(stage: Stage) -> Iterator[Case]:
            with arranged(stage) as case:
                yield replace(case, thresholds=thresholds)

        PLANNED.append(Planned(fault, first, node, also, thresholds, managed))
        return managed

    return register
