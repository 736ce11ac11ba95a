"""What happens to an apply at Amazon RDS on its way: refusals, lost answers, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgfleet.core.changes import Action
from pgfleet.errors import ProvisionError
from pgfleet.provision.apply import apply
from pgfleet.provision.pace import Pace
from pgfleet.provision.plan import plan_apply, plan_destroy
from tests.clouds import rds_shim
from tests.clouds.applying import Killed, Killer, unheard
from tests.clouds.rds_account import REGION, Account, client
from tests.clouds.rds_fleet import FULL, ONE, facts, have, problems, provider


async def test_somebody_may_ask_for_the_endpoints_while_steps_begin(account: Account) -> None:
    """As the registration of one replica does, while another is made."""
    made = provider(account)
    (step,) = (await plan_apply(made)).steps
    api = made._api(REGION)
    release = threading.Event()

    def wait(**_: Any) -> None:
        release.wait(20)

    api.client.meta.events.register("before-call.rds", wait)
    try:
        asking = asyncio.create_task(made.endpoints())
        await asyncio.sleep(0)
        making = asyncio.create_task(made.carry_out(step.change, unheard))
        await asyncio.sleep(0)
        assert not making.done()
        release.set()
        await asyncio.gather(asking, making)
    finally:
        release.set()
        api.client.meta.events.unregister("before-call.rds", wait)


async def test_a_replica_that_fails_is_told_with_the_way_out(account: Account) -> None:
    account.replication = ("error", "the WAL is gone")
    made = provider(account)
    with pytest.raises(
        ProvisionError, match=r"its replication is error .the WAL is gone.; remove it: aws rds delete"
    ):
        await apply(made, await plan_apply(made))
    assert "its replication is error" in await problems(account)
    account.instance("replica-1").status = "incompatible-network"
    assert "is incompatible-network; start or mend it, or remove it: aws rds" in await problems(account)
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel"]


async def test_quota_and_capacity_are_told_with_the_next_step(account: Account) -> None:
    account.quota = 1
    made = provider(account)
    with pytest.raises(ProvisionError, match=r"quota is used up.*InstanceQuotaExceeded") as caught:
        await apply(made, await plan_apply(made))
    assert "Service Quotas" in caught.value.hint


async def test_throttling_is_waited_out_and_told_when_it_stays(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    account.faults.extend([("CreateDBInstanceReadReplica", "Throttling", "Rate exceeded")] * 2)
    await have(account, ONE)
    assert len(pauses) == 2
    account.faults.extend([("DescribeDBInstances", "Throttling", "Rate exceeded")] * 4)
    with pytest.raises(ProvisionError, match=r"throttles the calls.*Rate exceeded"):
        await plan_apply(provider(account))


async def test_a_call_that_was_done_and_its_answer_lost_is_not_done_twice(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    lost = ("ServiceUnavailable", "nobody heard it")
    account.faults.append(("CreateDBInstanceReadReplica", *lost))
    await have(account, FULL)
    account.faults.append(("ModifyDBInstance", *lost))
    await have(account, FULL.replace("xlarge", "large"))
    made = provider(account)
    account.faults.append(("DeleteDBInstance", *lost))
    await apply(made, await plan_destroy(made))
    assert account.names() == ["hotel"]
    account.replica("replica-1", tags={"pgfleet": "hospitality"})
    account.faults.append(("PromoteReadReplica", *lost))
    await made.promote("replica-1", unheard)
    assert "ReadReplicaSourceDBInstanceIdentifier" not in facts("replica-1")


async def test_a_wait_that_takes_too_long_says_how_far_it_is(account: Account) -> None:
    made = provider(account, pace=Pace(poll_s=0.0, longest_s=0.0))
    with pytest.raises(ProvisionError, match="after 0 h it is creating") as caught:
        await apply(made, await plan_apply(made))
    assert "Give the same command again" in caught.value.hint
    (step,) = (await plan_apply(provider(account))).steps
    assert step.change.action is Action.FINISH
    assert step.commands[0].startswith("aws rds wait db-instance-available --region us-east-1")
    await have(account, ONE)


@pytest.mark.parametrize("moment", ["before-call", "after-call"])
async def test_an_apply_that_is_killed_at_any_call_is_completed_by_the_next(moment: str) -> None:
    """Before a call, and after it: done, but nobody was told."""
    calls = 0
    is_killed = True
    while is_killed:
        with rds_shim.account() as account:
            account.primary()
            is_killed = await _change_everything(account, moment, calls)
        calls += 1
    assert calls > 15


async def _change_everything(account: Account, moment: str, calls: int) -> bool:
    """One is to be made, one to be changed and one to go: killed after so many calls, and then once more in peace."""
    account.replica("replica-1", tags={"pgfleet": "hospitality"})
    account.replica("replica-9", tags={"pgfleet": "hospitality"})
    wanted = f'{ONE}class = "db.r5.xlarge"\n[[replica]]\nname = "replica-2"\n'
    made = provider(account, wanted)
    with _killing(moment, calls) as killer:
        is_killed = await killer.ended_apply(made)
    await have(account, wanted)
    assert account.names() == ["hotel", "replica-1", "replica-2"]
    assert sorted(facts("hotel")["ReadReplicaDBInstanceIdentifiers"]) == ["replica-1", "replica-2"]
    return is_killed


@contextmanager
def _killing(moment: str, calls: int) -> Iterator[Killer]:
    """What ends the process at the call after so many."""
    killer = Killer(calls)

    def kill(**_: Any) -> None:
        if killer.strikes():
            raise Killed

    events = client(REGION).client.meta.events
    events.register(f"{moment}.rds", kill)
    try:
        yield killer
    finally:
        events.unregister(f"{moment}.rds", kill)
