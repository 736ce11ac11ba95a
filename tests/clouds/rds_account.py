"""One account of Amazon RDS for tests: what is in it, and what was asked of it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs

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


@cache
def client(region: str) -> Rds:
    """One for all tests: to make one takes longer than most of them. moto answers those made at any time."""
    return Rds(region, ENVIRON, attempts=4)


class Account:
    """One account, and what was asked of it."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.faults: deque[tuple[str, str, str]] = deque()
        """Answers to give instead: operation, code, message. What was asked is done all the same: the worst case."""
        self.quota = 40
        self.addresses: dict[str, str] = {}
        """By instance a host of ours, instead of the name that moto makes up."""
        self.ports: dict[str, int] = {}
        """By instance the port of a server of ours."""
        self.due: dict[tuple[str, str], deque[Deed]] = defaultdict(deque)
        self.replication = ("replicating", "")
        """What the replicas' replication does once they are there."""

    def open(self, region: str = REGION) -> Rds:
        """A client whose calls are noted, here and nowhere else."""
        api = client(region)
        for moment, name, hook in self._hooks:
            api.client.meta.events.unregister(f"{moment}.rds", unique_id=name)
            api.client.meta.events.register_first(f"{moment}.rds", hook, unique_id=name)
        return api

    @property
    def _hooks(self) -> tuple[tuple[str, str, Callable[..., Any]], ...]:
        return (("before-call", "note", self._note), ("before-send", "fail", self._fail))

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
            "VpcSecurityGroupIds": ["sg-1"],  # without one moto makes a whole network
        }
        client(region).call("CreateDBInstance", **facts | more)

    def replica(self, name: str, source: str = "hotel", tags: dict[str, str] | None = None) -> None:
        """A replica that somebody has made, and that streams."""
        api = client(REGION)
        self.settle(source)
        listed = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
        said = {"SourceDBInstanceIdentifier": source, "PubliclyAccessible": False, "Tags": listed}
        api.call("CreateDBInstanceReadReplica", DBInstanceIdentifier=name, **said)
        self.settle(name)
        self.settle(source)

    def settle(self, name: str, region: str = REGION) -> None:
        """All that is to happen to an instance has happened."""
        while self.due[region, name]:
            self.look(self.instance(name, region))

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
        return AWSResponse(request.url, 503 if code == "ServiceUnavailable" else 400, {}, _Raw(body.encode()))


class _Raw:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


def became(status: str) -> Deed:
    return lambda database: setattr(database, "status", status)
