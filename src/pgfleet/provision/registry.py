"""Which platforms there are. Each is a room that is imported when a file names it.

A room `pgfleet.provision.<kind>` has two names: `KEYS`, the keys of the file that only it knows, and
`open_provider(declaration, environ)`. Importing the room needs no extra; opening may, and then raises
ImportError, or ConfigurationError with every key whose value is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from pgfleet.errors import DriverMissing
from pgfleet.provision.declaration import Declaration, Keys
from pgfleet.provision.provider import Provider

EXTRAS = {"local": "local", "selfhosted": "ssh", "rds": "aws", "cloudsql": "gcp"}
"""By kind the extra that brings what its room needs."""


class Platform(Protocol):
    """A room."""

    KEYS: Keys

    def open_provider(self, declaration: Declaration, environ: Mapping[str, str]) -> Provider:
        """For one declaration. Contacts nobody yet."""


def platform(kind: str) -> Platform:
    """The room of a kind, one of EXTRAS. Raises DriverMissing."""
    try:
        return cast("Platform", import_module(f"pgfleet.provision.{kind}"))
    except ImportError as error:
        raise _missing(kind, error) from error


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """The provider of a declaration. Raises ConfigurationError for a wrong value, DriverMissing."""
    try:
        return platform(declaration.provider).open_provider(declaration, environ)
    except ImportError as error:
        raise error if isinstance(error, DriverMissing) else _missing(declaration.provider, error) from error


def _missing(kind: str, error: ImportError) -> DriverMissing:
    return DriverMissing(
        f"the provider {kind} cannot be imported: {error}", f"pip install 'pgfleet[{EXTRAS[kind]}]'"
    )
