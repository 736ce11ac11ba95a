"""What happens to an apply at Google Cloud SQL on its way: refusals, lost answers, and its end."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pgfleet.core.changes import Action
from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds.applying import Killed, Killer, unheard
from tests.clouds.cloudsql_fleet import ONE, have, problems, provider, refusal
from tests.clouds.sqladmin import Project


async def test_an_operation_that_fails_is_told(project: Project) -> None:
    project.failures.append(("INTERNAL_ERROR", "the disk of the replica is broken"))
    error = await refusal(project)
    assert "the disk of the replica is broken (INTERNAL_ERROR)" in error.message
    assert "is FAILED" in await problems(project)


async def test_quota_and_preconditions_are_told_with_the_next_step(project: Project) -> None:
    project.quota = 1
    error = await refusal(project)
    assert "the project's quota is used up" in error.message
    assert "Quotas" in error.hint
    project.faults.append(("instances.insert", 412, "failedPrecondition"))
    assert "is in no state for it" in (await refusal(project)).message


@pytest.mark.parametrize(("status", "reason"), [(429, "x"), (403, "rateLimitExceeded"), (503, "x"), (0, "")])
async def test_a_call_that_was_throttled_or_lost_is_made_again(
    project: Project, status: int, reason: str
) -> None:
    project.faults.extend([("instances.insert", status, reason)] * 2)
    await have(project, ONE)
    project.faults.extend([("instances.list", status, reason)] * 3)
    assert re.search("throttles|answers 503|does not answer", (await refusal(project)).message)


async def test_a_call_that_was_done_and_its_answer_lost_is_not_done_twice(project: Project) -> None:
    project.faults.append(("instances.insert", -1, ""))
    await have(project, ONE)
    assert project.methods["instances.insert"] == 2, "the second was refused: it is there already"
    project.faults.append(("instances.patch", -1, ""))
    await have(project, f'{ONE}class = "db-n1-standard-4"')
    made = provider(project)
    project.faults.append(("instances.delete", -1, ""))
    await apply(made, await plan_destroy(made))
    assert sorted(project.instances) == ["hotel"]
    project.replica("replica-2", tags={"pgfleet": "hospitality"})
    project.faults.append(("instances.promoteReplica", -1, ""))
    await made.promote("replica-2", unheard)
    await made.close()
    assert "masterInstanceName" not in project.instances["replica-2"]


async def test_a_wait_that_takes_too_long_says_how_far_it_is(project: Project) -> None:
    project.looks = 2
    made = provider(project, pace=Pace(poll_s=0.0, longest_s=0.0))
    with pytest.raises(ProvisionError, match="after 0 h it is still in its operation") as caught:
        await apply(made, await plan_apply(made))
    assert "Give the same command again" in caught.value.hint
    (step,) = (await plan_apply(made)).steps
    assert step.change.action is Action.FINISH
    await made.close()
    await have(project, ONE)


@pytest.mark.parametrize("is_done", [False, True])
async def test_an_apply_that_is_killed_at_any_call_is_completed_by_the_next(
    project: Project, is_done: bool
) -> None:
    """Before a call, and after it: done, but nobody was told."""
    calls = 0
    while await _change_everything(project, calls, is_done):
        calls += 1
    assert calls > 15


async def _change_everything(project: Project, calls: int, is_done: bool) -> bool:
    """One is to be made, one to be changed and one to go: killed after so many calls, and then once more in peace."""
    project.empty()
    project.primary()
    for name in ("replica-1", "replica-9"):
        project.replica(name, tags={"pgfleet": "hospitality"})
    wanted = f'{ONE}class = "db-n1-standard-4"\n[[replica]]\nname = "replica-2"\n'
    is_killed = await _killed(project, wanted, calls, is_done)
    await have(project, wanted)
    assert sorted(project.instances) == ["hotel", "replica-1", "replica-2"]
    assert sorted(project.instances["hotel"]["replicaNames"]) == ["replica-1", "replica-2"]
    return is_killed


async def _killed(project: Project, wanted: str, calls: int, is_done: bool) -> bool:
    """Whether an apply was ended at the call after so many."""
    killer = Killer(calls)
    made = provider(project, wanted)
    opened: Any = made._api()
    once = opened._once

    def kill(*args: Any) -> Any:
        if not killer.strikes():
            return once(*args)
        if is_done:
            once(*args)
        raise Killed

    opened._once = kill
    try:
        return await killer.ended_apply(made)
    finally:
        await made.close()
