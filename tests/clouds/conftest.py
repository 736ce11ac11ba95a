"""An account of Amazon RDS, and a project of Google Cloud SQL, with one primary in each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import rds_shim
from tests.clouds.rds_account import Account
from tests.clouds.sqladmin import Project
from tests.clouds.sqladmin_server import credentials, serving


@pytest.fixture
def account() -> Iterator[Account]:
    with rds_shim.account() as account:
        account.primary()
        yield account


@pytest.fixture(scope="module")
def server() -> Iterator[Project]:
    with serving() as project:
        yield project


@pytest.fixture
def project(server: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    server.empty()
    server.primary()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials(tmp_path / "key.json", server)))
    return server
