"""The names of the environment."""

from __future__ import annotations

from typing import NamedTuple

from pgfleet.settings.kinds import (
    BOOLEAN,
    BUDGET,
    CATCHUP_WAIT,
    DISCOVERED,
    DURATION,
    INTERVAL,
    LOST_WRITE,
    MAX_CONNECTIONS,
    MIN_CONNECTIONS,
    NAME,
    NOBODY_QUALIFIES,
    OVERLOAD,
    PATH,
    POLICY,
    POOLER,
    RATE,
    SECONDS,
    SHARE,
    TOKEN,
    TOKEN_ERROR,
    TOKEN_SECRETS,
    UNKNOWN,
    WEIGHT,
    ZONE,
    Kind,
)


class Variable(NamedTuple):
    """A variable, and the field that it sets."""

    name: str
    field: str
    kind: Kind


DATABASE_URL = "DATABASE_URL"
DATABASE_READ_URL = "DATABASE_READ_URL"
DATABASE_PROBE_URL = "DATABASE_PROBE_URL"
CONNECTION_STRING = "CONNECTION_STRING"
PROBE_URL = "PROBE_URL"
REPLICA_PREFIX = "READ_REPLICA_"
FLEET_FILE = "PGFLEET_FLEET_FILE"
DISCOVERY = "PGFLEET_DISCOVERY"

GENERAL = (
    Variable("USE_READ_REPLICAS", "use_replicas", BOOLEAN),
    Variable("REPLICA_HEALTH_CHECK_INTERVAL", "health_check_interval_s", INTERVAL),
    Variable("DB_MAX_IDLE_TIME", "max_idle_s", DURATION),
    Variable("DB_MAX_LIFETIME", "max_lifetime_s", DURATION),
    Variable("DB_CONNECTION_TIMEOUT", "connection_timeout_s", DURATION),
    Variable("DB_QUERY_TIMEOUT", "query_timeout_s", DURATION),
    Variable("PGFLEET_MAX_LAG_S", "max_lag_s", SECONDS),
    Variable("PGFLEET_FALLBACK_SHARE", "fallback_share", SHARE),
    Variable("PGFLEET_MAX_EJECTED_SHARE", "max_ejected_share", SHARE),
    Variable("PGFLEET_PANIC_SHARE", "panic_share", SHARE),
    Variable("PGFLEET_FALLBACK_RATE", "fallback_rate", RATE),
    Variable("PGFLEET_OVERLOAD", "overload", OVERLOAD),
    Variable("PGFLEET_RETRY_BUDGET", "retry_budget", BUDGET),
    Variable("PGFLEET_HEDGE", "hedge", BOOLEAN),
    Variable("PGFLEET_POLICY", "policy", POLICY),
    Variable("PGFLEET_POOLER", "pooler", POOLER),
    Variable("PGFLEET_TOKEN_SECRET", "token_secrets", TOKEN_SECRETS),
    Variable("PGFLEET_TOKEN_ERRORS", "token_errors", TOKEN_ERROR),
    Variable("PGFLEET_CATCHUP_WAIT_MS", "catchup_wait_ms", CATCHUP_WAIT),
    Variable("PGFLEET_UNKNOWN", "unknown", UNKNOWN),
    Variable("PGFLEET_UNQUALIFIED", "unqualified", NOBODY_QUALIFIES),
    Variable("PGFLEET_LOST_WRITES", "lost_writes", LOST_WRITE),
    Variable("PGFLEET_API_TOKEN", "api_token", TOKEN),
    Variable(FLEET_FILE, "fleet_file", PATH),
    Variable(DISCOVERY, "discovery", DISCOVERED),
)
"""Those of the whole fleet: fields of `Settings`."""

OF_PRIMARY = (
    Variable("DB_MAX_CONNECTIONS", "max_connections", MAX_CONNECTIONS),
    Variable("DB_MIN_CONNECTIONS", "min_connections", MIN_CONNECTIONS),
)

OF_REPLICA = (
    Variable("NAME", "name", NAME),
    Variable("WEIGHT", "weight", WEIGHT),
    Variable("ZONE", "zone", ZONE),
    Variable("MAX_CONNECTIONS", "max_connections", MAX_CONNECTIONS),
    Variable("MIN_CONNECTIONS", "min_connections", MIN_CONNECTIONS),
    Variable("SHARED_ENDPOINT", "shared_endpoint", BOOLEAN),
)
"""Those of one replica, without `READ_REPLICA_<n>_`: fields of `NodeSettings`."""

REPLICA_NAMES = (CONNECTION_STRING, *(variable.name for variable in OF_REPLICA), PROBE_URL)

VARIABLES = (
    DATABASE_URL,
    DATABASE_READ_URL,
    DATABASE_PROBE_URL,
    *(f"{REPLICA_PREFIX}<n>_{name}" for name in REPLICA_NAMES),
    *(variable.name for variable in OF_PRIMARY),
    *(variable.name for variable in GENERAL),
)
"""Every name that is read, each also as `NAME_FILE`. `<n>` stands for 1, 2, 3, ..."""

OTHER_NAMES = ("PGFLEET_PG_BIN",)
"""Names of ours that are no settings of a router: who starts servers on this machine reads them."""
