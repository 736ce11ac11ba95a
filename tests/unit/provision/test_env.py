"""The environment block: the guide's own lines, and values that are the same when they are read back."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.errors import ProvisionError
from pgfleet.provision.declaration import WantedReplica
from pgfleet.provision.env import (
    Format,
    as_files,
    environment,
    write_files,
    written,
    written_files,
)
from pgfleet.provision.provider import Endpoint
from pgfleet.settings import Dsn, Settings

DSN = Dsn.parse("postgresql://user:password@primary-host:5432/hospitality")
NAMES = ("replica-1", "replica-2", "replica-3")
PLACES = [
    Endpoint("primary", "primary-host", 5432),
    *(Endpoint(name, f"{name}-host", 5432) for name in NAMES),
]
GUIDE = """\
USE_READ_REPLICAS=true
READ_REPLICA_1_CONNECTION_STRING=postgresql://user:password@replica-1-host:5432/hospitality
READ_REPLICA_2_CONNECTION_STRING=postgresql://user:password@replica-2-host:5432/hospitality
READ_REPLICA_3_CONNECTION_STRING=postgresql://user:password@replica-3-host:5432/hospitality
REPLICA_HEALTH_CHECK_INTERVAL=30000
DB_MAX_CONNECTIONS=100
DB_MIN_CONNECTIONS=10
DB_MAX_IDLE_TIME=10m
DB_MAX_LIFETIME=1h
DB_CONNECTION_TIMEOUT=30s
DB_QUERY_TIMEOUT=60s
"""


def block(*replicas: WantedReplica, fleet_file: str = "") -> dict[str, str]:
    return environment(DSN, replicas or tuple(map(WantedReplica, NAMES)), PLACES, fleet_file)


def test_three_replicas_make_the_block_of_the_guide() -> None:
    assert written(block(), Format.DOTENV, "hotel") == f"{GUIDE}DATABASE_URL={DSN.reveal()}\n"


def test_encore_gets_the_lines_of_the_guide_first() -> None:
    lines = written(block(), Format.ENCORE, "hotel").splitlines()
    assert lines[0] == "encore secret set --prod USE_READ_REPLICAS true"
    assert lines[1] == (
        "encore secret set --prod READ_REPLICA_1_CONNECTION_STRING"
        ' "postgresql://user:password@replica-1-host:5432/hospitality"'
    )


def test_encore_s_own_command_line_takes_values_on_standard_input() -> None:
    assert written(block(), Format.ENCORE_STDIN, "hotel").splitlines()[1] == (
        'printf %s "postgresql://user:password@replica-1-host:5432/hospitality"'
        " | encore secret set --type prod READ_REPLICA_1_CONNECTION_STRING"
    )


def test_what_differs_from_the_usual_is_there_too_and_all_of_it_is_settings() -> None:
    made = block(
        WantedReplica("reports", zone="a", weight=3), WantedReplica("replica-1"), WantedReplica("replica-2")
    )
    settings = Settings.from_env({**made, "READ_REPLICA_3_CONNECTION_STRING": "postgresql://elsewhere/db"})
    assert "READ_REPLICA_3_NAME" not in made, "it is not there: nobody provisioned it"
    assert [node.name for node in settings.replicas] == ["replica-1", "replica-2", "replica-3"]
    places = [*PLACES, Endpoint("reports", "reports-host", 6000)]
    wanted = (WantedReplica("reports", zone="a", weight=3), WantedReplica("replica-1"))
    settings = Settings.from_env(environment(DSN, wanted, places))
    assert [(node.name, node.weight, node.zone) for node in settings.replicas] == [
        ("replica-1", 1, None),
        ("reports", 3, "a"),
    ]
    assert settings.replicas[1].dsn.hosts == (("reports-host", 6000),)


def test_a_replica_that_is_not_ready_keeps_its_number() -> None:
    made = environment(DSN, tuple(map(WantedReplica, NAMES)), [PLACES[0], PLACES[2]])
    assert [name for name in made if name.startswith("READ_")] == ["READ_REPLICA_2_CONNECTION_STRING"]


def test_with_a_fleet_file_the_replicas_are_left_to_it() -> None:
    made = block(fleet_file="/etc/replicas.toml")
    assert made["PGFLEET_FLEET_FILE"] == "/etc/replicas.toml"
    assert not [name for name in made if name.startswith("READ_")]


def test_secrets_go_into_files_that_the_settings_read(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "secrets"
    files, variables = as_files(block(), str(directory))
    write_files({"database_url": "an older one"}, directory)
    write_files(files, directory)
    assert (
        variables["READ_REPLICA_1_CONNECTION_STRING_FILE"] == f"{directory}/read_replica_1_connection_string"
    )
    assert "password" not in written(variables, Format.DOTENV, "hotel")
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (
        Settings.from_env(variables).replicas[2].dsn.reveal() == block()["READ_REPLICA_3_CONNECTION_STRING"]
    )


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProvisionError, match="cannot be written") as caught:
        write_files({"a": "b"}, tmp_path / "file")
    assert "--as-files" in caught.value.hint


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), max_size=20)


@given(texts)
def test_a_shell_reads_every_value_back(value: str) -> None:
    assert shlex.split(written({"NAME": value}, Format.DOTENV, "f")) == [f"NAME={value}"]


@given(texts.filter(bool))
def test_a_shell_hands_encore_every_value(value: str) -> None:
    """In double quotes, where the guide has them, nothing stands that means more than itself."""
    line = written({"NAME": value}, Format.ENCORE, "f")
    assert shlex.split(line) == ["encore", "secret", "set", "--prod", "NAME", value]
    if line.rstrip().endswith('"') and "'" not in line:
        assert not set("!$`\\") & set(value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_kubernetes_reads_every_value_back(value: str) -> None:
    manifest = yaml.safe_load(written({"NAME": value, "USE": "true"}, Format.K8S, "hotel"))
    assert manifest["stringData"] == {"NAME": value, "USE": "true"}


def test_the_manifest_is_a_secret() -> None:
    assert written({"A": "true"}, Format.K8S, "hotel") == (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: hotel-read-replicas\ntype: Opaque\nstringData:\n"
        '  A: "true"\n'
    )


def test_files_for_kubernetes_are_a_secret_to_mount_and_the_variables_that_name_it() -> None:
    files, variables = as_files(block(), "/run/secrets")
    secret, config = written_files(files, variables, "hotel").split("---\n")
    assert "kind: Secret" in secret
    assert '  database_url: "postgresql://user:password@' in secret
    assert "kind: ConfigMap\nmetadata:\n  name: hotel-read-replicas\ndata:\n" in config
    assert '  DATABASE_URL_FILE: "/run/secrets/database_url"' in config
    assert "password" not in config
