"""Read replicas of an instance of Amazon RDS for PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Provider
from pgfleet.provision.rds.settings import OPTIONS, wrong_values

KEYS = Keys(
    provider=frozenset({"region", "profile", "endpoint"}),
    primary=frozenset({"instance", "region"}),
    replica=frozenset({"region", *OPTIONS}),
)


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """The provider of a declaration. Raises ConfigurationError with every wrong value, ImportError without boto3."""
    from pgfleet.provision.rds.provider import RdsProvider

    if problems := tuple(wrong_values(declaration)):
        raise ConfigurationError(problems, "Nothing was done: mend the file, and run it again.")
    return RdsProvider(declaration, environ)
