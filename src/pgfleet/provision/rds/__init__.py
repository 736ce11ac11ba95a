"""Read replicas of an instance of Amazon RDS for PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from pgfleet.errors import DriverMissing
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Provider
from pgfleet.provision.rds.settings import OPTIONS

KEYS = Keys(
    provider=frozenset({"region", "profile", "endpoint"}),
    primary=frozenset({"instance", "region"}),
    replica=frozenset({"region", *OPTIONS}),
)


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """The provider of a declaration. Raises DriverMissing without boto3."""
    try:
        from pgfleet.provision.rds.provider import RdsProvider
    except ImportError as error:
        raise DriverMissing(f"Amazon RDS cannot be asked: {error}", "pip install 'pgfleet[aws]'") from error
    return RdsProvider(declaration, environ)
