"""One account of Amazon RDS for tests: what is in it, and what was asked of it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import boto3
from botocore.awsrequest import AWSResponse
from moto.rds.models import rds_backends

from pgfleet.clouds.aws import Rds

ACCOUNT = "123456789012"
REGION = "us-east-1"
FAR = "eu-west-1"
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_REGION": REGION}
CATALOGUE = {"db.r5.large": "abc", "db.r5.xlarge": "ab"}
"""By class the letters of its zones, in every region."""

Deed = Callable[[Any], None]


class Account:
    """One account, and what was asked of it."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.faults: deque[tuple[str, str, str]] = deque()
        """Answers to give instead: operation, code, message."""
        self.quota = 40
        self.addresses: dict[str, str] = {}
        """By instance a host of ours, instead of the name that moto makes up."""
        self.due: dict[tuple[str, str], deque[Deed]] = defaultdict(deque)
        self.replication = ("replicating", "")
        """What the replicas' replication does once they are there."""

    def open(self, region: str = REGION, attempts: int = 4) -> Rds:
        """A client whose calls are noted."""
        api = Rds(region, ENVIRON, attempts=attempts)
        events = api.client.meta.events
        events.register("before-call.rds", self._note)
        events.register_first("before-send.rds", self._fail)
        return api

    def primary(self, name: str = "hotel", region: str = REGION, **more: Any) -> None:
        """A primary that may have replicas."""
        facts = {
            "DBInstanceIdentifier": name,
            "DBInstanceClass": "db.r5.large",
            "Engine": "postgres",
            "EngineVersion": "16.4",
            "AllocatedStorage": 100,
            "MasterUsername": "app",
            "MasterUserPassword": "s3cr3t-s3cr3t",
            "BackupRetentionPeriod": 1,
        }
        boto3.client("rds", region).create_db_instance(**facts | more)

    def instance(self, name: str, region: str = REGION) -> Any:
        """As moto has it."""
        return rds_backends[ACCOUNT][region].databases[name]

    def names(self, region: str = REGION) -> list[str]:
        """Of every instance."""
        return sorted(rds_backends[ACCOUNT][region].databases)

    def writes(self) -> list[str]:
        """The operations that were asked for and change something, in order."""
        return [operation for operation, _ in self.said if not operation.startswith("Describe")]

    def later(self, database: Any, *deeds: Deed) -> None:
        """Happens to an instance, one deed at each look at it."""
        self.due[database.region, database.db_instance_identifier].extend(deeds)

    def look(self, database: Any) -> None:
        """Somebody looks."""
        if due := self.due[database.region, database.db_instance_identifier]:
            due.popleft()(database)

    def _note(self, model: Any, params: Any, **_: Any) -> None:
        self.operations[model.name] += 1
        self.said.append((model.name, params["body"]))

    def _fail(self, request: Any, **more: Any) -> AWSResponse | None:
        operation = parse_qs(request.body.decode() if isinstance(request.body, bytes) else request.body)[
            "Action"
        ][0]
        if not self.faults or self.faults[0][0] not in (operation, "*"):
            return None
        _, code, message = self.faults.popleft()
        body = (
            f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        )
        return AWSResponse(request.url, 400, {}, _Raw(body.encode()))


class _Raw:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


def became(status: str) -> Deed:
    return lambda database: setattr(database, "status", status)
