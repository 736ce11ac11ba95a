"""What stands between us and a node that cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Obstacle(StrEnum):
    """The step that failed, in the order in which a connection takes them. The value is the id of its finding."""

    DNS = "dns-failed"
    SOCKET_MISSING = "socket-missing"
    REFUSED = "tcp-refused"
    NO_ROUTE = "host-unreachable"
    TCP_TIMEOUT = "tcp-timeout"
    SILENT = "node-silent"
    NOT_POSTGRESQL = "not-postgresql"
    TLS_REFUSED = "tls-not-offered"
    CERTIFICATE = "tls-certificate"
    TLS_FAILED = "tls-failed"
    STARTING = "node-starting"
    FULL = "connections-full"
    LOGIN_REFUSED = "login-refused"
    PASSWORD_WRONG = "password-wrong"  # noqa: S105 (no password)
    PASSWORD_MISSING = "password-missing"  # noqa: S105 (no password)
    DATABASE_MISSING = "database-missing"
    CONNECT_DENIED = "connect-denied"
    FAILED = "connection-failed"


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a node could not be asked."""

    obstacle: Obstacle
    detail: str = ""
    """What the server, the driver or the system said, in a line. No password is in it."""


_BY_SQLSTATE: Final[Mapping[str, Obstacle]] = MappingProxyType(
    {
        "28P01": Obstacle.PASSWORD_WRONG,
        "28000": Obstacle.LOGIN_REFUSED,
        "3D000": Obstacle.DATABASE_MISSING,
        "57P04": Obstacle.DATABASE_MISSING,
        "42501": Obstacle.CONNECT_DENIED,
        "53300": Obstacle.FULL,
        "53400": Obstacle.FULL,
        "57P01": Obstacle.STARTING,
        "57P02": Obstacle.STARTING,
        "57P03": Obstacle.STARTING,
    }
)


def obstacle_of(sqlstate: str) -> Obstacle:
    """What the server's refusal of a connection means."""
    return _BY_SQLSTATE.get(sqlstate, Obstacle.FAILED)
