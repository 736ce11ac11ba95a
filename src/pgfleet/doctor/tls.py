"""TLS as libpq's parameters ask for it, for the one handshake that tells why a driver's failed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

ROOT_CERTIFICATE = Path("~/.postgresql/root.crt")


class Mode(StrEnum):
    """`sslmode`."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


def mode_of(parameters: Mapping[str, str]) -> Mode:
    """What the connection string says; libpq's default is `prefer`."""
    return Mode(parameters.get("sslmode", "prefer"))


def context_of(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """A context that verifies as much as libpq would. Raises OSError or SSLError for a file that cannot be read.

    `require` verifies the authority when a root certificate is there, as libpq does.
    """
    mode = mode_of(parameters)
    root = parameters.get("sslrootcert", "")
    root = root or (str(ROOT_CERTIFICATE.expanduser()) if ROOT_CERTIFICATE.expanduser().exists() else "")
    context = ssl.create_default_context()
    context.check_hostname = mode is Mode.VERIFY_FULL or root == "system"
    verifies = mode in (Mode.VERIFY_CA, Mode.VERIFY_FULL) or (mode is Mode.REQUIRE and bool(root))
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if verifies and root != "system":
        context = _of_authority(context, root)
    if certificate := parameters.get("sslcert"):
        context.load_cert_chain(certificate, parameters.get("sslkey"), parameters.get("sslpassword"))
    return context


def _of_authority(likeness: ssl.SSLContext, root: str) -> ssl.SSLContext:
    """The same, which trusts this authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = likeness.check_hostname
    context.load_verify_locations(root)
    return context
