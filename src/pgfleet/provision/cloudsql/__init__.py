"""Read replicas of an instance of Google Cloud SQL for PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.errors import DriverMissing
from pgfleet.provision.cloudsql.settings import OPTIONS
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Provider

KEYS = Keys(
    provider=frozenset({"project", "region", "endpoint"}),
    primary=frozenset({"instance"}),
    replica=frozenset(OPTIONS),
)


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """The provider of a declaration. Raises DriverMissing without google-auth."""
    try:
        from pgfleet.provision.cloudsql.provider import CloudSqlProvider
    except ImportError as error:
        raise DriverMissing(f"Cloud SQL cannot be asked: {error}", "pip install 'pgfleet[gcp]'") from error
    return CloudSqlProvider(declaration, environ)
