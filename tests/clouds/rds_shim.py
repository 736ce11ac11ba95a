"""Amazon RDS for tests: moto, and over it what moto leaves out.

moto makes everything `available` at once, takes any class, zone, name and source, and leaves a promoted replica linked.
Here each change takes some looks of DescribeDBInstances, one a state, and what RDS refuses is refused with its code.
Parameters and answers are held to botocore's model by botocore itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto import mock_aws
from moto.core.responses import PaginatedResult
from moto.rds.exceptions import RDSClientError
from moto.rds.models import DBInstance, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from tests.clouds.rds_account import ACCOUNT, CATALOGUE, ENVIRON, Account, became

LOCK = threading.RLock()
"""moto is asked by several threads."""
MOST_REPLICAS = 15


def refuse(code: str, message: str) -> None:
    raise RDSClientError(code, message)


@contextmanager
def account() -> Iterator[Account]:
    """An account without any instance."""
    shim = Account()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        Behaviour(shim).install(patch)
        yield shim


class Behaviour:
    """What RDS does, over what moto does."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._create = RDSBackend.create_db_instance_read_replica
        self._describe = RDSBackend.describe_db_instances
        self._modify = RDSBackend.modify_db_instance
        self._delete = RDSBackend.delete_db_instance

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it over moto's."""
        shim = self

        def address(database: Any) -> str:
            name = database.db_instance_identifier
            return shim._account.addresses.get(name, f"{name}.c9akciq32.{database.region}.rds.amazonaws.com")

        patch.setattr(DBInstance, "address", property(address))
        patch.setattr(DBInstance, "db_parameter_group_status_list", property(_parameter_groups))
        patch.setattr(RDSResponse, "describe_orderable_db_instance_options", orderable)
        for operation in (
            "create_db_instance_read_replica",
            "describe_db_instances",
            "modify_db_instance",
            "delete_db_instance",
            "promote_read_replica",
        ):
            patch.setattr(RDSBackend, operation, _method(getattr(shim, operation)))

    def describe_db_instances(self, backend: Any, name: str | None = None, filters: Any = None) -> Any:
        for database in [*backend.databases.values()]:
            if name in (None, database.db_instance_identifier):
                self._account.look(database)
        return self._describe(backend, name, filters)

    def create_db_instance_read_replica(self, backend: Any, said: dict[str, Any]) -> Any:
        name = said["db_instance_identifier"]
        source = self._source(backend, said["source_db_instance_identifier"])
        self._allowed(backend, source, name, said)
        replica: Any = self._create(backend, said)
        replica.backend = backend
        replica.tags, replica.backup_retention_period = said.get("tags") or [], 0
        replica.performance_insights_enabled = said.get("enable_performance_insights", False)
        replica.availability_zone = said.get("availability_zone") or f"{backend.region_name}a"
        replica.port = self._account.ports.get(name, replica.port)
        replica.status, replica.status_infos = "creating", []
        self._account.later(
            replica, became("creating"), became("backing-up"), became("available"), self._stream
        )
        source.status = "modifying"
        self._account.later(source, became("modifying"), became("available"))
        return replica

    def modify_db_instance(self, backend: Any, name: str, said: dict[str, Any]) -> Any:
        database = self._there(backend, name)
        if database.status != "available":
            refuse("InvalidDBInstanceState", f"Database instance {name} is not in available state.")
        if said.get("db_instance_class", "db.r5.large") not in CATALOGUE:
            refuse("InvalidParameterCombination", "RDS does not support the DBInstanceClass")
        self._has_group(backend, said)
        if not said.get("apply_immediately"):
            return database
        database.pending_modified_values = {"DBInstanceClass": said.get("db_instance_class")}
        self._account.later(
            database, lambda _: None, became("modifying"), lambda _: self._apply(backend, name, said)
        )
        return database

    def _apply(self, backend: Any, name: str, said: dict[str, Any]) -> None:
        database: Any = self._modify(backend, name, said)
        database.performance_insights_enabled = said.get(
            "enable_performance_insights", getattr(database, "performance_insights_enabled", False)
        )
        if said.get("db_parameter_group_name"):
            database.parameters_apply = "pending-reboot"
        database.pending_modified_values = {}
        database.status = "available"

    def delete_db_instance(self, backend: Any, db_instance_identifier: str, **said: Any) -> Any:
        database = self._there(backend, db_instance_identifier)
        assert database.source_db_instance_identifier, "nobody asks to delete a primary"
        if database.status == "deleting":
            refuse("InvalidDBInstanceState", f"Instance {db_instance_identifier} is already being deleted.")
        if not said.get("skip_final_snapshot"):
            refuse("InvalidParameterCombination", "A final snapshot cannot be made of a read replica.")
        if database.deletion_protection:
            refuse("InvalidParameterCombination", "Cannot delete protected DB Instance")
        database.status = "deleting"
        self._due_to_end(backend, database)
        return database

    def _due_to_end(self, backend: Any, database: Any) -> None:
        self._account.due[database.region, database.db_instance_identifier].clear()
        self._account.later(database, became("deleting"), lambda gone: self._end(backend, gone))

    def promote_read_replica(self, backend: Any, said: dict[str, Any]) -> Any:
        database = self._there(backend, said["db_instance_identifier"])
        if not database.source_db_instance_identifier:
            refuse("InvalidDBInstanceState", "DB Instance is not a read replica.")
        if database.status != "available":
            refuse("InvalidDBInstanceState", "DB Instance is not in available state.")
        self._account.later(
            database,
            lambda _: None,
            became("modifying"),
            lambda d: self._part(backend, d),
            became("available"),
        )
        return database

    def _source(self, backend: Any, name: str) -> Any:
        region = name.split(":")[3] if ":" in name else backend.region_name
        if ":" not in name and name not in backend.databases:
            refuse("DBInstanceNotFound", f"DBInstance {name} not found.")
        return self._there(rds_backends[ACCOUNT][region], name.rpartition(":")[2])

    def _there(self, backend: Any, name: str) -> Any:
        if name not in backend.databases:
            refuse("DBInstanceNotFound", f"DBInstance {name} not found.")
        return backend.databases[name]

    def _allowed(self, backend: Any, source: Any, name: str, said: dict[str, Any]) -> None:
        if name in backend.databases:
            refuse("DBInstanceAlreadyExists", "DB instance already exists")
        backend._validate_db_identifier(name)
        if not source.backup_retention_period:
            refuse("InvalidDBInstanceState", "Automated backups are not enabled for this database instance.")
        if source.status != "available":
            refuse("InvalidDBInstanceState", f"{source.db_instance_identifier} is not in available state.")
        if len(source.replicas) >= MOST_REPLICAS or len(backend.databases) >= self._account.quota:
            refuse("InstanceQuotaExceeded", "The request would exceed the maximum number of DB instances.")
        self._has_group(backend, said)
        letters = CATALOGUE.get(said.get("db_instance_class") or source.db_instance_class)
        if letters is None:
            refuse("InvalidParameterCombination", "RDS does not support creating this DBInstanceClass")
        zone = said.get("availability_zone")
        if zone and zone not in [f"{backend.region_name}{letter}" for letter in letters or ""]:
            refuse("InvalidVPCNetworkStateFault", f"{zone} is not a valid availability zone.")
        if source.storage_encrypted and source.region != backend.region_name and not said.get("kms_key_id"):
            refuse("KMSKeyNotAccessibleFault", "A KMS key of the destination region is needed.")

    def _has_group(self, backend: Any, said: dict[str, Any]) -> None:
        name = said.get("db_parameter_group_name")
        if name and name not in backend.db_parameter_groups:
            refuse("DBParameterGroupNotFound", f"DB Parameter Group {name} not found.")

    def _stream(self, replica: Any) -> None:
        status, message = self._account.replication
        is_well = status == "replicating"
        info = {"StatusType": "read replication", "Normal": is_well, "Status": status, "Message": message}
        replica.status_infos = [info]

    def _end(self, backend: Any, database: Any) -> None:
        self._unlink(backend, database)
        del backend.databases[database.db_instance_identifier]

    def _part(self, backend: Any, database: Any) -> None:
        self._unlink(backend, database)
        database.is_replica, database.source_db_instance_identifier = False, None
        database.status_infos = []

    def _unlink(self, backend: Any, database: Any) -> None:
        source = self._source(backend, database.source_db_instance_identifier)
        mine = {database.db_instance_identifier, database.db_instance_arn}
        source.replicas = [name for name in source.replicas if name not in mine]


def _parameter_groups(database: Any) -> list[dict[str, str]]:
    """With what moto leaves out: those of a new group hold after a restart."""
    status = getattr(database, "parameters_apply", "in-sync")
    groups = database.db_parameter_groups()
    return [{"DBParameterGroupName": group.name, "ParameterApplyStatus": status} for group in groups]


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes the backend as moto's methods do."""

    def locked(backend: Any, *args: Any, **kwargs: Any) -> Any:
        with LOCK:
            return function(backend, *args, **kwargs)

    return locked


def orderable(response: Any) -> PaginatedResult:
    """Where a class is to be had. moto has none of PostgreSQL, and does not look at the class."""
    options = [
        {
            "Engine": response.params["Engine"],
            "EngineVersion": response.params["EngineVersion"],
            "DBInstanceClass": name,
            "ReadReplicaCapable": True,
            "AvailabilityZones": [{"Name": f"{response.region}{letter}"} for letter in letters],
        }
        for name, letters in CATALOGUE.items()
        if name == response.params["DBInstanceClass"]
    ]
    return PaginatedResult({"OrderableDBInstanceOptions": options})
