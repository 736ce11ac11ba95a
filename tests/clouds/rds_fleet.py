"""A fleet at Amazon RDS, as the tests declare it, plan it and have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgfleet.provision.apply import apply
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import plan_apply
from pgfleet.provision.rds import open_provider
from pgfleet.provision.rds.provider import RdsProvider
from tests.clouds.applying import AT_ONCE
from tests.clouds.rds_account import ENVIRON, FAR, REGION, Account, client

FLEET = """
[fleet]
name = "hospitality"
[provider]
kind = "rds"
region = "us-east-1"
[primary]
instance = "hotel"
"""
ONE = '[[replica]]\nname = "replica-1"\n'
TWO = f'{ONE}[[replica]]\nname = "replica-2"\n'
FULL = """
[[replica]]
name = "replica-1"
class = "db.r5.xlarge"
zone = "us-east-1b"
tags = { Role = "read replica", Environment = "production" }
monitoring_interval_s = 30
monitoring_role_arn = "arn:aws:iam::123456789012:role/monitoring"
performance_insights = true
"""
ABROAD = f'{ONE}region = "{FAR}"\n'


def provider(account: Account, replicas: str = "", fleet: str = FLEET, pace: Pace = AT_ONCE) -> RdsProvider:
    declaration = parse_declaration(fleet + (replicas or ONE), Path("/fleet.toml"))
    open_provider(declaration, ENVIRON)  # which tells what is wrong with the values
    return RdsProvider(declaration, ENVIRON, pace, account.open)


async def have(account: Account, replicas: str, fleet: str = FLEET) -> None:
    """Apply, and see that nothing is left to do."""
    made = provider(account, replicas, fleet)
    await apply(made, await plan_apply(made))
    again = await plan_apply(made)
    assert (again.problems, again.steps) == ((), ())


async def problems(account: Account, replicas: str = ONE, fleet: str = FLEET) -> str:
    """What a plan complains of, which has changed nothing."""
    before = account.writes()
    plan = await plan_apply(provider(account, replicas, fleet))
    assert account.writes() == before
    return "\n".join(plan.problems)


def facts(name: str, region: str = REGION) -> dict[str, Any]:
    found: dict[str, Any] = client(region).call("DescribeDBInstances", DBInstanceIdentifier=name)[
        "DBInstances"
    ][0]
    return found
