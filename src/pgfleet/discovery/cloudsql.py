"""Google Cloud SQL: the read replicas of an instance, as the Admin API lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import parse_qsl

from pgfleet.clouds.cloudsql import POSTGRES_PORT, PRIVATE, PUBLIC, Instance
from pgfleet.clouds.google import SqlAdmin
from pgfleet.core.membership import Found
from pgfleet.discovery.api import ANSWER_S, Asker
from pgfleet.discovery.clouds import of_cloud_sql
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

PAUSES_S = (1.0, 2.0)
KINDS = {"private": PRIVATE, "public": PUBLIC}


class CloudSql:
    """`cloudsql:my-project/hotel-primary?ip=private`: the read replicas of this instance, and the instance.

    Without `ip` the private address of each is taken, else the public one. The API tells no ports: 5432, or `port`.
    """

    interval_s = 30.0

    def __init__(self, address: str, runtime: Runtime) -> None:
        place, _, query = address.partition("?")
        self._project, _, self._source = place.rpartition("/")
        chosen = dict(parse_qsl(query))
        self._kind = KINDS.get(chosen.get("ip", ""), "")
        self._port = int(chosen.get("port", POSTGRES_PORT))
        self._asker = Asker(runtime, "Cloud SQL", self._open)

    async def find(self) -> Sequence[Found]:
        """Those that are made. Raises DiscoveryError when Google does not tell, or knows none with an address."""
        empty = DiscoveryError(
            f"Cloud SQL has no instance {self._source} with such an address in {self._project}, nor replicas",
            f"Check instance and `ip` in PGFLEET_DISCOVERY: `gcloud sql instances list --project={self._project}`.",
        )
        return await self._asker.ask(self._servers, empty)

    def _open(self) -> SqlAdmin:
        return SqlAdmin(self._project, os.environ, pauses_s=PAUSES_S, answer_s=ANSWER_S)

    def _servers(self, api: SqlAdmin) -> tuple[Found, ...]:
        instances = [Instance(one, self._project) for one in api.listed("instances")]
        return of_cloud_sql(instances, self._source, self._kind, self._port)
