"""The fleet of the demo: where `pgfleet local` finds it, and gone at the end however the demo ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgfleet.cli.endings import undisturbed
from pgfleet.errors import LocalFleetError
from pgfleet.local import LocalFleet
from pgfleet.local.configuration import PLAIN_USER

if TYPE_CHECKING:
    from pgfleet.cli.demo_view import View

SETTINGS = {
    "DB_MAX_CONNECTIONS": "20",
    "DB_MIN_CONNECTIONS": "2",
    "DB_CONNECTION_TIMEOUT": "5s",
    "DB_QUERY_TIMEOUT": "10s",
    "REPLICA_HEALTH_CHECK_INTERVAL": "500",
}
OF_REPLICA = {"MAX_CONNECTIONS": "20", "MIN_CONNECTIONS": "2"}


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """A fleet that runs."""

    local: LocalFleet
    is_ours: bool
    """Started by this demo, and to be gone at its end."""

    def environ(self) -> dict[str, str]:
        """The environment of the application: an ordinary role, small pools."""
        environ = self.local.environ(plain=True)
        prefixes = [name.removesuffix("CONNECTION_STRING") for name in environ if name.endswith("_STRING")]
        small = {prefix + name: value for prefix in prefixes for name, value in OF_REPLICA.items()}
        return environ | SETTINGS | small


@contextmanager
def demo_fleet(replicas: int, pg_bin: Path | None, view: View) -> Iterator[DemoFleet]:
    """A fleet in the default directory, so that `pgfleet local` needs no arguments to find it.

    One that is there already is used, and left running.
    """
    if _is_there():
        view.say("There is a fleet here already (pgfleet local up): the demo uses it, and leaves it running.")
        yield DemoFleet(LocalFleet.up(), is_ours=False)
        return
    try:
        with view.busy("Starting a primary and its replicas ..."):
            fleet = LocalFleet.up(replicas=replicas, pg_bin=pg_bin)
            # As a fleet that is watched should have it.
            fleet.sql(fleet.primary, f"grant pg_monitor to {PLAIN_USER}")
        yield DemoFleet(fleet, is_ours=True)
    finally:
        with undisturbed():
            LocalFleet.remove()
            view.say("Everything is gone again: processes, files, ports.")


def _is_there() -> bool:
    try:
        LocalFleet.attach()
    except LocalFleetError:
        return False
    return True
