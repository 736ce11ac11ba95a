"""A fleet at Google Cloud SQL, as the tests declare it, plan it and have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.clouds.google import SqlAdmin
from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.cloudsql import open_provider
from pgfleet.provision.cloudsql.provider import CloudSqlProvider
from pgfleet.provision.file import parse_declaration
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import plan_apply
from tests.clouds.applying import AT_ONCE
from tests.clouds.sqladmin import PROJECT, TOKEN, Project

FLEET = f"""
[fleet]
name = "hospitality"
[provider]
kind = "cloudsql"
project = "{PROJECT}"
[primary]
instance = "hotel"
"""
ONE = '[[replica]]\nname = "replica-1"\n'
TWO = f'{ONE}[[replica]]\nname = "replica-2"\n'
FULL = """
[[replica]]
name = "replica-1"
class = "db-n1-standard-4"
zone = "us-central1-b"
tags = { role = "read-replica", environment = "production" }
availability = "regional"
flags = { max_connections = 500, log_connections = true }
"""


def provider(
    project: Project, replicas: str = "", fleet: str = FLEET, pace: Pace = AT_ONCE
) -> CloudSqlProvider:
    declaration = parse_declaration(fleet + (replicas or ONE), Path("/fleet.toml"))
    open_provider(declaration, {})  # which tells what is wrong with the values
    return CloudSqlProvider(declaration, {}, pace, lambda: api(project))


def api(project: Project) -> SqlAdmin:
    return SqlAdmin(PROJECT, {}, endpoint=project.endpoint, pauses_s=(0.0, 0.0))


async def have(project: Project, replicas: str, fleet: str = FLEET) -> None:
    """Apply, and see that nothing is left to do."""
    made = provider(project, replicas, fleet)
    await apply(made, await plan_apply(made))
    again = await plan_apply(made)
    assert (again.problems, again.steps) == ((), ())
    await made.close()


async def problems(project: Project, replicas: str = ONE, fleet: str = FLEET) -> str:
    """What a plan complains of, which has changed nothing."""
    before = project.writes()
    made = provider(project, replicas, fleet)
    plan = await plan_apply(made)
    await made.close()
    assert project.writes() == before
    return "\n".join(plan.problems)


async def refusal(project: Project, replicas: str = ONE, fleet: str = FLEET) -> ProvisionError:
    """What a plan, or the apply of it, ends with."""
    made = provider(project, replicas, fleet)
    with pytest.raises(ProvisionError) as caught:
        await apply(made, await plan_apply(made))
    await made.close()
    assert TOKEN not in str(caught.value)
    return caught.value
