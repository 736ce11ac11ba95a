"""The application's connection string, and the same one for each replica."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol, runtime_checkable
from urllib.parse import quote, unquote

from pgfleet.errors import ConfigurationError
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.provider import Endpoint, Provider
from pgfleet.settings import Dsn
from pgfleet.settings.conninfo import is_url
from pgfleet.settings.source import Source
from pgfleet.settings.variables import DATABASE_URL

OF_PLACE = ("host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts")
"""What a connection string says of one server or of the choice among several, and not of whoever comes."""


@runtime_checkable
class KnowsDsn(Protocol):
    """A provider that made the application's role itself."""

    def dsn(self) -> Dsn:
        """The primary's, for an application."""


def application_dsn(declaration: Declaration, environ: Mapping[str, str], provider: Provider) -> Dsn:
    """What `[primary] dsn_env` or `dsn_file` names, or the provider knows, or DATABASE_URL.

    Raises ConfigurationError when there is none, or it cannot be read.
    """
    variable, path = declaration.primary.get("dsn_env"), declaration.primary.get("dsn_file")
    if not variable and not path and isinstance(provider, KnowsDsn):
        return provider.dsn()
    name = variable or DATABASE_URL
    texts = {f"{name}_FILE": os.path.join(declaration.directory, path)} if path else environ
    source = Source(texts)
    dsn = source.dsn(name)
    if dsn is None:
        problems = [f"{where}: {complaint}" for where, complaint in source.problems.items()]
        raise ConfigurationError(
            tuple(problems or [f"{name}: is not set"]),
            "The replicas take user, password and database from the application's connection string:"
            f" set {DATABASE_URL}, or write dsn_env or dsn_file into [primary].",
        )
    return dsn


def at(dsn: Dsn, endpoint: Endpoint) -> Dsn:
    """The connection string of another server: all but its place as it is, and in the way in which it is written."""
    text = dsn.reveal()
    if not is_url(text):
        return dsn.changed(OF_PLACE, host=endpoint.host, port=str(endpoint.port))
    scheme, _, rest = text.partition("://")
    credentials, sign, address = rest.rpartition("@")
    place, _, query = address.partition("?")
    database = place.partition("/")[2]
    kept = [item for item in query.split("&") if item and unquote(item.partition("=")[0]) not in OF_PLACE]
    parameters = f"?{'&'.join(kept)}" if kept else ""
    return Dsn.parse(f"{scheme}://{credentials}{sign}{_place(endpoint)}/{database}{parameters}")


def _place(endpoint: Endpoint) -> str:
    host = quote(endpoint.host, safe=":")
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"
