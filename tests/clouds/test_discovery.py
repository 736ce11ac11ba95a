"""Where discovery asks, when the setting does not say it."""

from __future__ import annotations

import pytest

from pgfleet.discovery.rds import Rds
from tests.clouds.rds_account import REGION, Account
from tests.fakes import HandClock


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
async def test_an_instance_of_rds_is_looked_for_in_the_region_of_the_environment(
    account: Account, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv(variable, REGION)
    found = await Rds("hotel", HandClock()).find()
    assert [(one.name, one.takes_reads) for one in found] == [("hotel", False)]
