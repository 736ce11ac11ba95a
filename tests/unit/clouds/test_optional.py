"""Without the clouds' packages the rooms are there, and say what to install when they are opened."""

from __future__ import annotations

import sys
from importlib import import_module, reload

import pytest

from pgfleet import discovery
from pgfleet.errors import DriverMissing
from pgfleet.provision.declaration import Declaration
from pgfleet.provision.registry import open_provider, platform
from pgfleet.runtimes import ThreadRuntime

ROOMS = {
    "rds": ("boto3", "aws", ("clouds.aws", "provision.rds.provider", "discovery.rds")),
    "cloudsql": (
        "google.auth",
        "gcp",
        ("clouds.google", "provision.cloudsql.provider", "discovery.cloudsql"),
    ),
}


@pytest.mark.parametrize("kind", ROOMS)
def test_what_is_not_installed_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra, modules = ROOMS[kind]
    monkeypatch.setitem(sys.modules, package, None)
    for module in modules:
        monkeypatch.delitem(sys.modules, f"pgfleet.{module}", raising=False)
    reload(import_module(f"pgfleet.provision.{kind}"))
    assert platform(kind).KEYS.primary
    with pytest.raises(DriverMissing) as caught:
        open_provider(Declaration("fleet", kind, ()), {})
    assert f"pip install 'pgfleet[{extra}]'" in caught.value.hint
    with pytest.raises(DriverMissing, match=f"discovery by {kind} cannot be imported"):
        discovery.load(f"{kind}:project/hotel", ThreadRuntime())
