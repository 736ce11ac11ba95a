"""One's own servers: replicas made by SSH, or on this host, with PostgreSQL's own programs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from pgfleet.provision.declaration import Declaration
from pgfleet.provision.provider import Provider
from pgfleet.provision.selfhosted.keys import KEYS, site_of

__all__ = ["KEYS", "open_provider"]


def open_provider(declaration: Declaration, environ: Mapping[str, str]) -> Provider:
    """For one declaration. Raises ConfigurationError, and ImportError when SSH is needed and asyncssh is missing."""
    from pgfleet.provision.selfhosted.provider import SelfHosted

    site = site_of(declaration)
    if any(place.login.host for place in (site.primary, *site.replicas)):
        import_module("pgfleet.provision.selfhosted.ssh")
    return SelfHosted(site)
