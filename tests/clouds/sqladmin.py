"""One project of Google Cloud SQL for tests: its instances, and the operations that change them.

Operations go PENDING, RUNNING, DONE, a step at each look; an instance is PENDING_CREATE until the one that makes it is
done, and while one is under way the next is refused.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from tests.clouds.sqladmin_model import Json, Refused, invalid

PROJECT = "hotel-project"
TOKEN = "ya29.s3cr3t-token"
TIERS = {
    "db-n1-standard-4": ["us-central1", "europe-west1"],
    "db-custom-1-3840": ["us-central1", "europe-west1"],
    "db-perf-optimized-N-2": ["us-central1"],
}
ZONES = ("us-central1-a", "us-central1-b", "us-central1-c", "europe-west1-b")
CUSTOM = re.compile(r"db-custom-\d+-\d+")
RUNNING = ("PENDING", "RUNNING")


class Project:
    """One project, and what was asked of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.port = 0
        self.empty()

    def empty(self) -> None:
        """As it was at first."""
        self.instances: dict[str, Json] = {}
        self.operations: dict[str, tuple[Json, Callable[[], None]]] = {}
        self.deleted: set[str] = set()
        self.methods: Counter[str] = Counter()
        self.bodies: list[tuple[str, str, Json]] = []
        self.faults: deque[tuple[str, int, str]] = deque()
        """Answers to give instead: method, status, reason. 0: the connection ends; -1: it does after the deed."""
        self.failures: deque[tuple[str, str]] = deque()
        """Errors that the next operations end with: code, message."""
        self.quota = 20
        self.looks = 0
        """More, that an operation takes."""
        self.refusals = 0
        """How often somebody came while an operation was under way."""
        self.waits_for_refusal = False
        """No operation goes on before that has happened."""
        self.tokens = {TOKEN}
        """Of callers who are let in."""
        self.is_revoked = False
        """Whether no more tokens are issued."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def primary(self, name: str = "hotel", **more: Any) -> None:
        """A primary that may have replicas."""
        settings: Json = {
            "tier": "db-custom-4-15360",
            "edition": "ENTERPRISE",
            "availabilityType": "REGIONAL",
            "activationPolicy": "ALWAYS",
            "settingsVersion": "1",
            "ipConfiguration": {"ipv4Enabled": True, "sslMode": "ENCRYPTED_ONLY"},
            "backupConfiguration": {"enabled": True, "pointInTimeRecoveryEnabled": True},
        }
        self.instances[name] = {
            "kind": "sql#instance",
            "name": name,
            "project": PROJECT,
            "databaseVersion": "POSTGRES_16",
            "instanceType": "CLOUD_SQL_INSTANCE",
            "region": "us-central1",
            "gceZone": "us-central1-a",
            "state": "RUNNABLE",
            "settings": settings | more.pop("settings", {}),
            "ipAddresses": [{"type": "PRIMARY", "ipAddress": "34.0.0.1"}],
            "replicaNames": [],
        } | more

    def replica(self, name: str, source: str = "hotel", tags: dict[str, str] | None = None) -> None:
        """A replica that somebody has made, and that serves."""
        made = self.instances[source]
        self.primary(name, masterInstanceName=source, instanceType="READ_REPLICA_INSTANCE")
        self.instances[name]["settings"] |= {"userLabels": tags or {}}
        made["replicaNames"] = [*made["replicaNames"], name]

    def writes(self) -> list[tuple[str, str]]:
        """Methods and names, in order."""
        return [(method, name) for method, name, _ in self.bodies]

    def busy(self, name: str) -> bool:
        """Whether an operation is under way at an instance."""
        return any(
            name in (operation["targetId"], operation.get("_also")) and operation["status"] in RUNNING
            for operation, _ in self.operations.values()
        )

    def look(self, name: str) -> None:
        """Somebody looks at an instance or its operation, which therefore goes on."""
        for operation, ends in self.operations.values():
            if operation["targetId"] == name and operation["status"] in RUNNING:
                self.advance(operation, ends)
                return

    def advance(self, operation: Json, ends: Callable[[], None]) -> None:
        """A step of an operation."""
        if self.waits_for_refusal and not self.refusals:
            return
        if operation["status"] == "PENDING":
            operation["status"] = "RUNNING"
        elif operation["_left"]:
            operation["_left"] -= 1
        else:
            operation["status"] = "DONE"
            if "error" not in operation:
                ends()


class Methods:
    """What the methods of the API do."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def instances_list(self, query: Json, **_: str) -> Json:
        for name in [*self._project.instances]:
            self._project.look(name)
        names = sorted(self._project.instances)
        first = int(query.get("pageToken", 0))
        page: Json = {
            "kind": "sql#instancesList",
            "items": [self._shown(name) for name in names[first : first + 2]],
        }
        return page | ({"nextPageToken": str(first + 2)} if first + 2 < len(names) else {})

    def instances_get(self, instance: str, **_: Any) -> Json:
        self._there(instance)
        self._project.look(instance)
        return self._shown(instance)

    def instances_insert(self, body: Json, **_: Any) -> Json:
        project, name = self._project, body["name"]
        if name in project.instances or name in project.deleted:
            raise Refused(409, "instanceAlreadyExists", "The Cloud SQL instance already exists.")
        source = self._there(body["masterInstanceName"])
        self._rest(source["name"])
        self._fits(body, source)
        if len(project.instances) >= project.quota:
            raise Refused(
                403, "quotaExceeded", "The maximum number of instances per project has been exceeded."
            )
        made = body | {
            "kind": "sql#instance",
            "project": PROJECT,
            "state": "PENDING_CREATE",
            "gceZone": (body["settings"].get("locationPreference") or {}).get("zone")
            or f"{body['region']}-b",
            "ipAddresses": [],
            "replicaNames": [],
        }
        made["settings"] = {"settingsVersion": "1", "activationPolicy": "ALWAYS", **body["settings"]}
        project.instances[name] = made
        source["replicaNames"] = [*source["replicaNames"], name]
        return self._operation("CREATE_REPLICA", name, lambda: self._made(name), source["name"])

    def instances_patch(self, instance: str, body: Json, **_: Any) -> Json:
        there = self._there(instance)
        self._rest(instance)
        settings = body["settings"]
        if (
            settings.get("settingsVersion", there["settings"]["settingsVersion"])
            != there["settings"]["settingsVersion"]
        ):
            raise Refused(412, "staleData", "The settings have changed.")
        self._has_tier(settings.get("tier", there["settings"]["tier"]), there["region"])

        def ends() -> None:
            now = there["settings"]
            labels = now.get("userLabels", {}) | settings.get("userLabels", {})
            network = now.get("ipConfiguration", {}) | settings.get("ipConfiguration", {})
            there["settings"] = now | settings | {"userLabels": labels, "ipConfiguration": network}
            there["settings"]["settingsVersion"] = str(int(now["settingsVersion"]) + 1)

        return self._operation("UPDATE", instance, ends)

    def instances_delete(self, instance: str, **_: Any) -> Json:
        there = self._there(instance)
        assert there.get("masterInstanceName"), "nobody asks to delete a primary"
        self._rest(instance)
        there["state"] = "PENDING_DELETE"

        def ends() -> None:
            self._unlink(there)
            del self._project.instances[instance]
            self._project.deleted.add(instance)

        return self._operation("DELETE", instance, ends)

    def instances_promoteReplica(self, instance: str, **_: Any) -> Json:  # noqa: N802
        there = self._there(instance)
        self._rest(instance)
        if not there.get("masterInstanceName"):
            raise Refused(400, "invalid", "The instance is not a read replica.")

        def ends() -> None:
            self._unlink(there)
            del there["masterInstanceName"]
            there["instanceType"] = "CLOUD_SQL_INSTANCE"

        return self._operation("PROMOTE_REPLICA", instance, ends)

    def operations_get(self, operation: str, **_: Any) -> Json:
        if operation not in self._project.operations:
            raise Refused(404, "operationDoesNotExist", "The operation does not exist.")
        told, ends = self._project.operations[operation]
        if told["status"] in RUNNING:
            self._project.advance(told, ends)
        return _public(told)

    def tiers_list(self, **_: Any) -> Json:
        items = [{"kind": "sql#tier", "tier": tier, "region": regions} for tier, regions in TIERS.items()]
        return {"kind": "sql#tiersList", "items": items}

    def _there(self, name: str) -> Json:
        name = name.removeprefix(f"{PROJECT}:")
        if name not in self._project.instances:
            raise Refused(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
        return self._project.instances[name]

    def _rest(self, name: str) -> None:
        if self._project.busy(name):
            self._project.refusals += 1
            self._project.look(name)
            raise Refused(
                409,
                "operationInProgress",
                "Operation failed because another operation was already in progress.",
            )

    def _fits(self, body: Json, source: Json) -> None:
        if source.get("masterInstanceName"):
            raise invalid("A replica of a replica is not made so.")
        if body.get("databaseVersion") != source["databaseVersion"]:
            raise invalid("The replica's version is not the primary's.")
        if body["settings"].get("edition") != source["settings"].get("edition"):
            raise invalid("The edition is not the primary's.")
        self._has_tier(body["settings"].get("tier"), body["region"])
        zone = (body["settings"].get("locationPreference") or {}).get("zone", f"{body['region']}-b")
        if zone not in ZONES or not zone.startswith(body["region"]):
            raise invalid("Invalid zone.")

    def _has_tier(self, tier: Any, region: str) -> None:
        if tier is None or (region not in TIERS.get(tier, ()) and not CUSTOM.fullmatch(tier)):
            raise invalid("Invalid tier for this region.")

    def _operation(self, kind: str, name: str, ends: Callable[[], None], also: str = "") -> Json:
        told: Json = {
            "kind": "sql#operation",
            "name": f"op-{len(self._project.operations)}",
            "operationType": kind,
            "status": "PENDING",
            "targetId": name,
            "targetProject": PROJECT,
            "user": "fleet@example.com",
            "_also": also,
            "_left": self._project.looks,
        }
        if self._project.failures:
            code, message = self._project.failures.popleft()
            error = {"kind": "sql#operationError", "code": code, "message": message}
            told["error"] = {"kind": "sql#operationErrors", "errors": [error]}
            if kind == "CREATE_REPLICA":
                self._project.instances[name]["state"] = "FAILED"
        self._project.operations[told["name"]] = told, ends
        return _public(told)

    def _made(self, name: str) -> None:
        made = self._project.instances[name]
        made["state"] = "RUNNABLE"
        address = f"34.0.0.{len(self._project.instances)}"
        made["ipAddresses"] = [{"type": "PRIMARY", "ipAddress": address}]

    def _unlink(self, there: Json) -> None:
        source = self._there(there["masterInstanceName"])
        source["replicaNames"] = [name for name in source["replicaNames"] if name != there["name"]]

    def _shown(self, name: str) -> Json:
        there = self._project.instances[name]
        master = there.get("masterInstanceName")
        return there | ({"masterInstanceName": f"{PROJECT}:{master}"} if master else {})


def _public(operation: Json) -> Json:
    return {key: value for key, value in operation.items() if not key.startswith("_")}
