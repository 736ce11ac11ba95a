"""Read replicas of an instance of Google Cloud SQL for PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.errors import ConfigurationError
from pgfleet.provision.cloudsql.settings import OPTIONS, wrong_values
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Provider

KEYS = Keys(
    provider=frozenset({"project", "region", "endpoint"}),
    primary=frozenset({"instance"}),
    replica=frozenset(OPTIONS),
)


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """The provider of a declaration. Raises ConfigurationError with every wrong value, and ImportError."""
    from pgfleet.provision.cloudsql.provider import CloudSqlProvider

    if problems := tuple(wrong_values(declaration)):
        raise ConfigurationError(problems, "Nothing was done: mend the file, and run it again.")
    return CloudSqlProvider(declaration, environ)
