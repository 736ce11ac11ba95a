"""Amazon RDS: the replicas of an instance, as DescribeDBInstances lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import parse_qsl

from pgfleet.clouds.aws import Rds as Api
from pgfleet.clouds.rds import Instance
from pgfleet.core.membership import Found
from pgfleet.discovery.api import ANSWER_S, Asker
from pgfleet.discovery.clouds import of_rds
from pgfleet.errors import DiscoveryError
from pgfleet.ports import Runtime

ATTEMPTS = 3


class Rds:
    """`rds:hotel-primary?region=eu-west-1`: the replicas of this instance in this region, and the instance.

    Without a region it is that of the environment. An ARN names an instance of another region.
    """

    interval_s = 30.0

    def __init__(self, address: str, runtime: Runtime) -> None:
        self._source, _, query = address.partition("?")
        self._region = dict(parse_qsl(query)).get("region", "")
        self._asker = Asker(runtime, "Amazon RDS", self._open)

    async def find(self) -> Sequence[Found]:
        """Those that are made. Raises DiscoveryError when AWS does not tell, or knows none."""
        empty = DiscoveryError(
            f"Amazon RDS has no instance {self._source} and no replica of it in {self._region or 'its region'}",
            "Check the identifier and the region in PGFLEET_DISCOVERY: `aws rds describe-db-instances`.",
        )
        return await self._asker.ask(self._servers, empty)

    def _open(self) -> Api:
        return Api(self._region, os.environ, attempts=ATTEMPTS, answer_s=ANSWER_S)

    def _servers(self, api: Api) -> tuple[Found, ...]:
        facts = api.listed("DescribeDBInstances", "DBInstances")
        return of_rds([Instance(one, api.region) for one in facts], self._source)
