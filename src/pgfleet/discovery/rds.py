"""Amazon RDS: the replicas of an instance, as DescribeDBInstances lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import parse_qsl

from pgfleet.clouds.aws import Rds as Api
from pgfleet.clouds.rds import Instance
from pgfleet.core.membership import Found
from pgfleet.discovery.api import ANSWER_S, ask
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
        self._runtime = runtime
        self._source, _, query = address.partition("?")
        self._region = dict(parse_qsl(query)).get("region", "")
        self._api: Api | None = None

    async def find(self) -> Sequence[Found]:
        """Those that are made. Raises DiscoveryError when AWS does not tell, or knows none."""
        empty = DiscoveryError(
            f"Amazon RDS has no instance {self._source} and no replica of it in {self._region or 'its region'}",
            "Check the identifier and the region in PGFLEET_DISCOVERY: `aws rds describe-db-instances`.",
        )
        return await ask(self._runtime, self._servers, "Amazon RDS", empty)

    def _servers(self) -> tuple[Found, ...]:
        api = self._api = self._api or Api(self._region, os.environ, attempts=ATTEMPTS, answer_s=ANSWER_S)
        facts = api.listed("DescribeDBInstances", "DBInstances")
        return of_rds([Instance(one, api.region) for one in facts], self._source)
