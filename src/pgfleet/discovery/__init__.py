"""Who tells which servers the fleet has. Each is imported when PGFLEET_DISCOVERY names its scheme."""

from __future__ import annotations

from importlib import import_module

from pgfleet.errors import DriverMissing
from pgfleet.ports import Discovery, Runtime

SCHEMES = {
    "cloudsql": "pgfleet.discovery.cloudsql:CloudSql",
    "dns": "pgfleet.discovery.dns:Dns",
    "srv": "pgfleet.discovery.dns:Srv",
    "patroni": "pgfleet.discovery.patroni:Patroni",
    "rds": "pgfleet.discovery.rds:Rds",
    "static": "pgfleet.discovery.static:Static",
}
"""By scheme the class that is made of the address behind it, and of the runtime."""


def load(setting: str, runtime: Runtime) -> Discovery:
    """The discovery that a setting names, `scheme:address`. Raises DriverMissing when its package is not installed."""
    scheme, _, address = setting.partition(":")
    module, _, name = SCHEMES[scheme].partition(":")
    try:
        made: Discovery = getattr(import_module(module), name)(address, runtime)
    except ImportError as error:
        raise DriverMissing(
            f"discovery by {scheme} cannot be imported: {error}", "pip install 'pgfleet[all]'"
        ) from error
    return made
