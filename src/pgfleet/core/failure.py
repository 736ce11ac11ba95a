"""What a failure means, whose it is and what follows: one table, read by SQLSTATE and phase, never by message text.

The same code means different things at different moments. While a connection is made, while it is cleaned and
while a node is probed, only our own words are on the wire, so whatever the server objects to is not the caller's SQL.
While a statement runs, an error after which the connection still stands is the statement's own, even when its code
speaks of connections: postgres_fdw and dblink hand on the far server's code. So the column tells as much as the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal


class Phase(StrEnum):
    """What was going on when it failed."""

    CONNECT = "connect"
    """A new connection was being made and looked at, for a lease or to fill a pool."""
    ACQUIRE = "acquire"
    """A lease waited for a connection, or took an idle one and found it dead."""
    STATEMENT = "statement"
    """The caller's statement was sent."""
    RESET = "reset"
    """A connection was being cleaned for its next borrower."""
    PROBE = "probe"
    """The monitor asked, or made the connection that it asks on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What an adapter made of a driver's exception, from its type and its fields."""

    sqlstate: str | None = None
    """Five characters, from the server. A code that the driver made up is left out: `lost` says that better."""
    lost: bool = False
    """The connection is gone or was never made: refused, reset, end of file, no such host, severity FATAL or PANIC."""
    timed_out: bool = False
    """Our patience ended before the server's answer came."""
    refused_login: bool = False
    """The server answered and would not let us in, and the driver does not tell its SQLSTATE (libpq does not)."""
    ours: bool = False
    """We cut it ourselves: cancelled the statement or severed the connection."""


class Verdict(StrEnum):
    """Whose fault it is. The value is what people read."""

    BUSY = "has no free connection"
    UNREACHABLE = "does not answer"
    TERMINATED = "ended this connection"
    """57P01, an administrator's word: one is this connection, two from one node in short order are the node."""
    CONNECTION_LOST = "connection lost"
    """This connection only, and no sign of what its node does: idle for too long, or it could not be cleaned."""
    CONFLICT = "replay cancelled the statement"
    NOT_PRIMARY = "takes no writes"
    READ_ONLY = "a read lease takes no writes"
    CONFIG = "refuses this configuration"
    CANCELLED = "cut by pgfleet"
    EXPIRED = "the session's own timeout ended it"
    """25P03 and 25P04: the caller's transaction lasted longer than the caller's settings allow."""
    QUERY = "the statement failed"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a verdict. A connection of which the fault says `lost` is dropped whatever stands here."""

    retry_elsewhere: bool = False
    """A read that pgfleet may run again runs on another connection: of another node, if there is one."""
    suspect: bool = False
    """The node leaves the rotation at once, until a probe brings it back."""
    probe: bool = False
    """Ask the node now. A suspect that is not asked now (CONFIG) is asked at the slow pace."""
    strike: bool = False
    """By itself a matter of one connection; a second one from this node makes it a suspect."""
    drop_connection: bool = False
    """This connection is not lent again."""
    never_executed: bool = False
    """Even when it was sent, the server did none of it: a write is as safe to send again as a read."""


CONSEQUENCES: Final[Mapping[Verdict, Consequence]] = MappingProxyType(
    {
        Verdict.BUSY: Consequence(retry_elsewhere=True, drop_connection=True, never_executed=True),
        Verdict.UNREACHABLE: Consequence(
            retry_elsewhere=True, suspect=True, probe=True, drop_connection=True
        ),
        Verdict.TERMINATED: Consequence(retry_elsewhere=True, probe=True, strike=True, drop_connection=True),
        Verdict.CONNECTION_LOST: Consequence(retry_elsewhere=True, drop_connection=True),
        Verdict.CONFLICT: Consequence(retry_elsewhere=True),
        Verdict.NOT_PRIMARY: Consequence(retry_elsewhere=True, probe=True, never_executed=True),
        Verdict.READ_ONLY: Consequence(never_executed=True),
        Verdict.CONFIG: Consequence(
            retry_elsewhere=True, suspect=True, drop_connection=True, never_executed=True
        ),
        # Whoever cut it knows what to do next. A cancel request may arrive late and hit the next borrower.
        Verdict.CANCELLED: Consequence(drop_connection=True),
        Verdict.EXPIRED: Consequence(drop_connection=True),
        Verdict.QUERY: Consequence(),
    }
)


_COLUMN: Final[Mapping[Phase, int]] = MappingProxyType(
    {Phase.CONNECT: 0, Phase.ACQUIRE: 1, Phase.STATEMENT: 2, Phase.RESET: 4, Phase.PROBE: 5}
)
_STATEMENT_AND_CONNECTION: Final = 3
"""The caller's SQL has two columns: in this one the connection went with it."""

_BUSY, _DOWN, _ENDED, _GONE = Verdict.BUSY, Verdict.UNREACHABLE, Verdict.TERMINATED, Verdict.CONNECTION_LOST
_CLASH, _CONF, _EXPIRED, _QUERY = Verdict.CONFLICT, Verdict.CONFIG, Verdict.EXPIRED, Verdict.QUERY
_NOT_PRI, _RD_ONLY = Verdict.NOT_PRIMARY, Verdict.READ_ONLY

# fmt: off
_TABLE: Final[Mapping[str, tuple[Verdict, ...]]] = MappingProxyType({
    #                   CONNECT  ACQUIRE  STATEMENT and connection  RESET    PROBE
    # Without a SQLSTATE.
    "lost":             (_DOWN,  _GONE,   _DOWN,    _DOWN,          _DOWN,   _DOWN),
    "timed out":        (_DOWN,  _BUSY,   _QUERY,   _DOWN,          _GONE,   _DOWN),
    # Full or misconfigured: libpq does not say which. A full node must stay in the rotation; of one that is
    # misconfigured the probe learns, for it logs in with the same words.
    "refused login":    (_BUSY,  _BUSY,   _QUERY,   _BUSY,          _GONE,   _CONF),
    # The connection and the server.
    "08":               (_DOWN,  _GONE,   _QUERY,   _DOWN,          _DOWN,   _DOWN),
    "57P01":            (_ENDED, _GONE,   _QUERY,   _ENDED,         _ENDED,  _ENDED),    # admin_shutdown
    "57P02":            (_DOWN,  _GONE,   _QUERY,   _DOWN,          _DOWN,   _DOWN),     # crash_shutdown
    "57P03":            (_DOWN,  _GONE,   _QUERY,   _DOWN,          _DOWN,   _DOWN),     # cannot_connect_now
    "57P04":            (_CONF,  _GONE,   _QUERY,   _CONF,          _CONF,   _CONF),     # database_dropped
    "57P05":            (_GONE,  _GONE,   _QUERY,   _GONE,          _GONE,   _GONE),     # idle_session_timeout
    # No room. In a statement 53400 is temp_file_limit: elsewhere it would fail the same way.
    "53300":            (_BUSY,  _BUSY,   _QUERY,   _BUSY,          _GONE,   _BUSY),     # too_many_connections
    "53400":            (_BUSY,  _BUSY,   _QUERY,   _BUSY,          _GONE,   _BUSY),     # configuration_limit_exceeded
    # The server's own trouble: memory, disk, I/O, internal errors. From a statement they are passed on. PostGIS
    # tells bad geometry by XX000, pg_read_file() a missing file by 58P01; a corrupt page must not hide in a retry.
    "53":               (_DOWN,  _GONE,   _QUERY,   _DOWN,          _GONE,   _DOWN),
    "58":               (_DOWN,  _GONE,   _QUERY,   _DOWN,          _GONE,   _DOWN),
    "XX":               (_DOWN,  _GONE,   _QUERY,   _DOWN,          _GONE,   _DOWN),
    # Who may log in, and where to.
    "28":               (_CONF,  _CONF,   _QUERY,   _CONF,          _GONE,   _CONF),
    "3D000":            (_CONF,  _CONF,   _QUERY,   _CONF,          _GONE,   _CONF),     # invalid_catalog_name
    # Timeouts that the server keeps. While connecting, 57014 is authentication_timeout.
    "57014":            (_DOWN,  _GONE,   _QUERY,   _QUERY,         _GONE,   _DOWN),     # query_canceled
    "25P03":            (_GONE,  _GONE,   _EXPIRED, _EXPIRED,       _GONE,   _GONE),     # idle in a transaction
    "25P04":            (_GONE,  _GONE,   _EXPIRED, _EXPIRED,       _GONE,   _GONE),     # transaction_timeout
    # What depends on the lease or on the node's role. On a primary, 40001 and 40P01 are the caller's.
    "25006 write":      (_CONF,  _GONE,   _NOT_PRI, _NOT_PRI,       _GONE,   _CONF),     # read_only_sql_transaction
    "25006 read":       (_CONF,  _GONE,   _RD_ONLY, _RD_ONLY,       _GONE,   _CONF),
    "40001 in recovery":(_CLASH, _GONE,   _CLASH,   _CLASH,         _GONE,   _CLASH),    # serialization_failure
    "40P01 in recovery":(_CLASH, _GONE,   _CLASH,   _CLASH,         _GONE,   _CLASH),    # deadlock_detected
    # All the rest. A server that refuses what we say by ourselves needs another configuration: a role without the
    # CONNECT privilege (42501), a pooler without a startup parameter (0A000), a setting it does not know (42704).
    "else":             (_CONF,  _GONE,   _QUERY,   _QUERY,         _GONE,   _CONF),
})
# fmt: on


def classify(fault: Fault, phase: Phase, *, lease: Literal["read", "write"], in_recovery: bool) -> Verdict:
    """The verdict on a failure in `phase`, under such a `lease`, of a node that is `in_recovery` or not.

    Total: every fault has a verdict. A probe counts as a read.
    """
    if fault.ours and _may_be_our_cut(fault.sqlstate):
        return Verdict.CANCELLED
    row = next(_TABLE[name] for name in _names(fault, lease, in_recovery) if name in _TABLE)
    lost_with_statement = phase is Phase.STATEMENT and fault.lost
    return row[_STATEMENT_AND_CONNECTION if lost_with_statement else _COLUMN[phase]]


def _may_be_our_cut(sqlstate: str | None) -> bool:
    """A statement that failed by itself just before we cut it keeps its own verdict."""
    return sqlstate is None or sqlstate == "57014" or sqlstate.startswith("08")


def _names(fault: Fault, lease: str, in_recovery: bool) -> list[str]:
    """The names under which the table may have this fault, the most precise first."""
    if code := fault.sqlstate:
        role = "in recovery" if in_recovery else "on a primary"
        return [f"{code} {lease}", f"{code} {role}", code, code[:2], "else"]
    flags = {"refused login": fault.refused_login, "lost": fault.lost, "timed out": fault.timed_out}
    return [name for name, said in flags.items() if said] + ["else"]
