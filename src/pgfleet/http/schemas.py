"""The JSON of every endpoint, as OpenAPI tells it. The values come from `pgfleet.core.report`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pgfleet.core.health import Status
from pgfleet.core.node import Role

NOW = "2026-01-31T09:30:00.000Z"
Privilege = Literal["full", "limited"]


def _shaped(**example: Any) -> ConfigDict:
    return ConfigDict(alias_generator=to_camel, json_schema_extra={"examples": [example]})


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class ReplicaLag(BaseModel):
    """One configured replica."""

    model_config = ConfigDict(alias_generator=to_camel)
    name: str
    lag_seconds: float | None = Field(description="At its last probe; null: not measured.")
    status: Status = Field(description="warning above 5 s, critical above 10 s, unhealthy: not answering.")
    reason: str | None = Field(description="Why it takes no plain reads; null: it does.")
    detail: str | None = Field(description="What the driver said, when the node does not answer.")


class LagReport(BaseModel):
    """Every configured replica, in the order of their numbers."""

    model_config = _shaped(
        timestamp=NOW,
        replicas=[
            {"name": "replica-1", "lagSeconds": 0.0, "status": "healthy", "reason": None, "detail": None},
            {
                "name": "replica-2",
                "lagSeconds": None,
                "status": "unhealthy",
                "reason": "not answering",
                "detail": "connection refused",
            },
        ],
    )
    timestamp: str
    replicas: list[ReplicaLag]


class HealthReport(BaseModel):
    """Whether every replica answers, is a standby of this cluster, and is `healthy` or `warning`."""

    model_config = _shaped(
        healthy=True,
        timestamp=NOW,
        replicasEnabled=True,
        replicaCount=3,
        healthyCount=3,
        primary="primary",
        message="All 3 replicas are healthy",
    )
    healthy: bool
    timestamp: str
    replicas_enabled: bool
    replica_count: int
    healthy_count: int
    primary: str | None = Field(description="The node that takes writes; null: none is known that answers.")
    message: str


class Connections(BaseModel):
    """The connections to one node."""

    total_connections: int = Field(description="Open: active and idle.")
    active_connections: int
    idle_connections: int
    max_connections: int
    utilisation: float | None = Field(
        description="0 to 1, target under 0.70. Of a pool: active / max. Of a server: total / max. null: max is 0."
    )
    waiting: int | None = Field(None, description="Of a pool: callers in line.")
    privilege: Privilege | None = Field(
        None, description="Of a server. limited: it shows our role only the sessions of that role."
    )
    reason: str | None = Field(None, description="Why a server told nothing.")


_THREE = {"total_connections": 45, "active_connections": 12, "idle_connections": 33, "max_connections": 100}


class PoolReport(BaseModel):
    """Connections by node."""

    model_config = _shaped(
        timestamp=NOW,
        source="pool",
        worker=4711,
        primary={**_THREE, "utilisation": 0.12, "waiting": 0},
        replicas={"replica-1": {**_THREE, "utilisation": 0.12, "waiting": 0}},
    )
    timestamp: str
    source: Literal["pool", "server"] = Field(
        description="pool: this process's own pools; server: client backends in pg_stat_activity."
    )
    worker: int | None = Field(description="The process whose pools these are.")
    primary: Connections
    replicas: dict[str, Connections]


class Standby(BaseModel):
    """A row of pg_stat_replication."""

    application_name: str
    client_addr: str | None
    state: str | None
    sent_lsn: str | None
    write_lsn: str | None
    flush_lsn: str | None
    replay_lsn: str | None
    sync_state: str | None
    connection_age_seconds: int | None


class Slot(BaseModel):
    """A row of pg_replication_slots."""

    slot_name: str
    slot_type: str
    active: bool
    restart_lsn: str | None
    wal_status: str | None
    retained_bytes: int | None = Field(description="WAL that the primary keeps for this slot.")


class ReplicationReport(BaseModel):
    """What the present primary says of its standbys."""

    model_config = _shaped(
        timestamp=NOW,
        primary="primary",
        privilege="full",
        standbys=[
            {
                "application_name": "replica-1",
                "client_addr": "10.0.0.2",
                "state": "streaming",
                "sent_lsn": "0/3000148",
                "write_lsn": "0/3000148",
                "flush_lsn": "0/3000148",
                "replay_lsn": "0/3000148",
                "sync_state": "async",
                "connection_age_seconds": 86400,
            }
        ],
        slots=[
            {
                "slot_name": "replica_1",
                "slot_type": "physical",
                "active": True,
                "restart_lsn": "0/3000148",
                "wal_status": "reserved",
                "retained_bytes": 0,
            }
        ],
    )
    timestamp: str
    primary: str = Field(description="The node that was asked.")
    privilege: Privilege = Field(
        description="limited: our role lacks pg_monitor, and everything but the names of the standbys is null."
    )
    standbys: list[Standby]
    slots: list[Slot]


class Counts(BaseModel):
    """Leases since the process started."""

    reads: int | None
    writes: int | None


class DistributionReport(BaseModel):
    """How many reads each node answered."""

    model_config = _shaped(
        timestamp=NOW,
        source="pool",
        worker=4711,
        primary={"reads": 20, "writes": 250},
        replicas={"replica-1": {"reads": 490, "writes": 0}, "replica-2": {"reads": 490, "writes": 0}},
        replicaReadShare=0.98,
    )
    timestamp: str
    source: Literal["pool", "none"] = Field(
        description="none: this service routes no reads, so all counts are null."
    )
    worker: int | None
    primary: Counts
    replicas: dict[str, Counts] = Field(description="A replica has writes once it was promoted.")
    replica_read_share: float | None = Field(description="0 to 1, target 0.80; null before the first read.")


class NodePart(BaseModel):
    """One node's part in a read."""

    model_config = ConfigDict(alias_generator=to_camel)
    name: str
    role: Role | None = Field(description="What the server said of itself; null: it never answered.")
    candidate: bool
    reason: str | None = Field(description="Why it is left out.")
    detail: str | None
    staleness_bound_seconds: float | None = Field(description="No read of it is staler; null: not known.")
    lag_seconds: float | None
    satisfied: bool | None = Field(
        description="Whether it has what the read must see; null: nothing in particular."
    )
    behind_bytes: int | None = Field(description="Of the log, until it has; null: not known.")


class ExplanationReport(BaseModel):
    """Which nodes would serve such a read now: replicas, which take turns, then the primary."""

    model_config = _shaped(
        timestamp=NOW,
        candidates=["replica-1", "primary"],
        mustSee=None,
        nodes=[
            {
                "name": "primary",
                "role": "primary",
                "candidate": True,
                "reason": None,
                "detail": None,
                "stalenessBoundSeconds": None,
                "lagSeconds": None,
                "satisfied": None,
                "behindBytes": None,
            },
            {
                "name": "replica-1",
                "role": "replica",
                "candidate": True,
                "reason": None,
                "detail": None,
                "stalenessBoundSeconds": 0.412,
                "lagSeconds": 0.0,
                "satisfied": None,
                "behindBytes": None,
            },
        ],
    )
    timestamp: str
    candidates: list[str]
    must_see: str | None = Field(
        alias="mustSee", description="The position that the read must see; null: nothing in particular."
    )
    nodes: list[NodePart]


EXAMPLES = {
    model.__name__: model.model_config["json_schema_extra"]
    for model in (
        LagReport,
        HealthReport,
        PoolReport,
        ReplicationReport,
        DistributionReport,
        ExplanationReport,
    )
}
"""By model. FastAPI leaves every null out of the examples that it takes from the models itself."""
