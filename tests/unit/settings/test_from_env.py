from __future__ import annotations

from pathlib import Path

import pytest

from pgfleet.errors import ConfigurationError
from pgfleet.settings import Dsn, NodeSettings, Secret, Settings

URL = "postgresql://app:pw@primary:5432/hotel"
NEW, OLD = "4f2d9c1ab0e87766" * 2, "c0ffee11deadbe0f" * 4
REPLICA = "postgresql://app:pw@replica-{}:5432/hotel"


def from_env(**variables: str) -> Settings:
    return Settings.from_env({"DATABASE_URL": URL, **variables})


def problems(**variables: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        from_env(**variables)
    return caught.value.problems


def problem(**variables: str) -> str:
    (line,) = problems(**variables)
    return line


def replicas(*numbers: int) -> dict[str, str]:
    return {f"READ_REPLICA_{n}_CONNECTION_STRING": REPLICA.format(n) for n in numbers}


def test_the_primary_alone_is_enough() -> None:
    primary = NodeSettings(
        "primary", Dsn.parse(URL), max_connections=100, min_connections=10, variable="DATABASE_URL"
    )
    assert from_env() == Settings(primary)


def test_reads_this_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("DB_MAX_IDLE_TIME", "90s")
    assert Settings.from_env().max_idle_s == 90


def test_the_seed_works_as_it_stands() -> None:
    settings = from_env(
        USE_READ_REPLICAS="true",
        REPLICA_HEALTH_CHECK_INTERVAL="30000",
        DB_MAX_CONNECTIONS="100",
        DB_MIN_CONNECTIONS="10",
        DB_MAX_IDLE_TIME="10m",
        DB_MAX_LIFETIME="1h",
        DB_CONNECTION_TIMEOUT="30s",
        DB_QUERY_TIMEOUT="60s",
        **replicas(1, 2, 3),
    )
    assert settings.use_replicas
    assert [replica.name for replica in settings.replicas] == ["replica-1", "replica-2", "replica-3"]
    assert {(replica.max_connections, replica.min_connections) for replica in settings.replicas} == {(50, 5)}
    assert (settings.primary.max_connections, settings.primary.min_connections) == (100, 10)
    assert settings.health_check_interval_s == 30
    assert (settings.max_idle_s, settings.max_lifetime_s) == (600, 3600)
    assert (settings.connection_timeout_s, settings.query_timeout_s) == (30, 60)


def test_reads_everything_else() -> None:
    settings = from_env(
        DATABASE_READ_URL="host=primary user=reader dbname=hotel",
        PGFLEET_MAX_LAG_S="0.5",
        PGFLEET_FALLBACK_SHARE="1",
        PGFLEET_FALLBACK_RATE="200",
        PGFLEET_OVERLOAD="shed",
        PGFLEET_HEDGE="on",
        PGFLEET_RETRY_BUDGET="0",
        PGFLEET_POLICY="least_in_flight",
        PGFLEET_TOKEN_SECRET=NEW,
        PGFLEET_TOKEN_ERRORS="raise",
        PGFLEET_CATCHUP_WAIT_MS="2.5",
        PGFLEET_UNKNOWN="open",
        PGFLEET_UNQUALIFIED="wait",
        PGFLEET_LOST_WRITES="serve",
        PGFLEET_API_TOKEN="Γ".encode().hex(),
    )
    assert settings.fallback_dsn == Dsn.parse("host=primary user=reader dbname=hotel")
    assert (settings.max_lag_s, settings.fallback_share) == (0.5, 1)
    assert (settings.fallback_rate, settings.overload, settings.retry_budget) == (200, "shed", 0)
    assert settings.hedge
    assert settings.policy == "least_in_flight"
    assert settings.token_secrets == (Secret(NEW),)
    assert (settings.token_errors, settings.catchup_wait_ms) == ("raise", 2.5)
    assert (settings.unknown, settings.unqualified, settings.lost_writes) == ("open", "wait", "serve")
    assert settings.api_token == Secret("ce93")


def test_what_a_read_may_see_unless_it_is_said() -> None:
    settings = from_env()
    assert (settings.token_secrets, settings.token_errors, settings.catchup_wait_ms) == ((), "ignore", 10)
    assert (settings.unknown, settings.unqualified, settings.lost_writes) == ("closed", "primary", "error")


@pytest.mark.parametrize("text", [f"{NEW},{OLD}", f" {NEW} , {OLD} \n"])
def test_secrets_that_rotate_stand_in_their_order(text: str) -> None:
    assert from_env(PGFLEET_TOKEN_SECRET=text).token_secrets == (Secret(NEW), Secret(OLD))


@pytest.mark.parametrize(
    "text",
    ["short", OLD[:31], ",", f"{NEW},", f",{NEW}", f"{NEW},short", f"{NEW},,{OLD}", ",".join([NEW] * 9)],
)
def test_a_wrong_secret_is_told_by_its_variable_alone(text: str) -> None:
    line = problem(PGFLEET_TOKEN_SECRET=text)
    assert line.startswith(
        "PGFLEET_TOKEN_SECRET: the value is not a list of secrets of at least 32 bytes each; "
    )
    assert not any(part in line for part in text.split(",") if part)


@pytest.mark.parametrize("text", ["0", "10", "0.5", "60000", "60000.0"])
def test_the_wait_for_a_replica_is_in_milliseconds(text: str) -> None:
    assert from_env(PGFLEET_CATCHUP_WAIT_MS=text).catchup_wait_ms == float(text)


def test_replicas_come_in_the_order_of_their_numbers() -> None:
    settings = from_env(**replicas(10, 2, 7))
    assert [replica.name for replica in settings.replicas] == ["replica-2", "replica-7", "replica-10"]
    assert not settings.use_replicas


def test_a_replica_has_settings_of_its_own() -> None:
    (replica,) = from_env(
        **replicas(2),
        READ_REPLICA_2_NAME="reports",
        READ_REPLICA_2_WEIGHT="3",
        READ_REPLICA_2_ZONE="eu-west-1a",
        READ_REPLICA_2_MAX_CONNECTIONS="20",
        READ_REPLICA_2_MIN_CONNECTIONS="0",
    ).replicas
    variable = "READ_REPLICA_2_CONNECTION_STRING"
    dsn = Dsn.parse(REPLICA.format(2))
    assert replica == NodeSettings("reports", dsn, 3, "eu-west-1a", 20, 0, variable)


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "On", " true "])
def test_true(text: str) -> None:
    assert from_env(USE_READ_REPLICAS=text).use_replicas is True


@pytest.mark.parametrize("text", ["false", "0", "No", "off", "", " "])
def test_false(text: str) -> None:
    assert from_env(USE_READ_REPLICAS=text).use_replicas is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1ms", 0.001), ("1500ms", 1.5), ("2s", 2), ("3m", 180), ("4h", 14400), ("5d", 432000)],
)
def test_durations(text: str, seconds: float) -> None:
    assert from_env(DB_QUERY_TIMEOUT=text).query_timeout_s == seconds


@pytest.mark.parametrize(("text", "seconds"), [("250", 0.25), ("250ms", 0.25), ("30s", 30), ("1m", 60)])
def test_the_health_interval_is_in_milliseconds_unless_it_says_otherwise(text: str, seconds: float) -> None:
    assert from_env(REPLICA_HEALTH_CHECK_INTERVAL=text).health_check_interval_s == seconds


def test_a_minimum_that_nobody_chose_gives_way() -> None:
    settings = from_env(DB_MAX_CONNECTIONS="4", READ_REPLICA_1_MAX_CONNECTIONS="2", **replicas(1))
    assert settings.primary.min_connections == 4
    assert settings.replicas[0].min_connections == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("USE_READ_REPLICAS", "maybe"),
        ("REPLICA_HEALTH_CHECK_INTERVAL", "0"),
        ("REPLICA_HEALTH_CHECK_INTERVAL", "9ms"),
        ("REPLICA_HEALTH_CHECK_INTERVAL", "1.5"),
        ("DB_MAX_CONNECTIONS", "0"),
        ("DB_MAX_CONNECTIONS", "many"),
        ("DB_MAX_CONNECTIONS", "262144"),
        ("DB_MIN_CONNECTIONS", "-1"),
        ("DB_MAX_IDLE_TIME", "soon"),
        ("DB_MAX_IDLE_TIME", "-5m"),
        ("DB_MAX_IDLE_TIME", "10M"),
        ("DB_MAX_IDLE_TIME", "1h30m"),
        ("DB_MAX_LIFETIME", "1.5h"),
        ("DB_MAX_LIFETIME", "366d"),
        ("DB_CONNECTION_TIMEOUT", "0s"),
        ("DB_CONNECTION_TIMEOUT", "30"),
        ("DB_QUERY_TIMEOUT", "\u0666\u0660s"),
        ("PGFLEET_MAX_LAG_S", "0"),
        ("PGFLEET_MAX_LAG_S", "nan"),
        ("PGFLEET_MAX_LAG_S", "10s"),
        ("PGFLEET_FALLBACK_SHARE", "0"),
        ("PGFLEET_FALLBACK_SHARE", "1.01"),
        ("PGFLEET_FALLBACK_SHARE", "25%"),
        ("PGFLEET_FALLBACK_RATE", "0"),
        ("PGFLEET_FALLBACK_RATE", "1000001"),
        ("PGFLEET_OVERLOAD", "drop"),
        ("PGFLEET_RETRY_BUDGET", "1.5"),
        ("PGFLEET_RETRY_BUDGET", "20%"),
        ("PGFLEET_POLICY", "random"),
        ("PGFLEET_TOKEN_ERRORS", "Raise"),
        ("PGFLEET_CATCHUP_WAIT_MS", "10ms"),
        ("PGFLEET_CATCHUP_WAIT_MS", "-1"),
        ("PGFLEET_CATCHUP_WAIT_MS", "60001"),
        ("PGFLEET_UNKNOWN", "true"),
        ("PGFLEET_UNQUALIFIED", "stale"),
        ("PGFLEET_LOST_WRITES", "ignore"),
        ("PGFLEET_API_TOKEN", "two words"),
        ("PGFLEET_API_TOKEN", "schlüssel"),
        ("READ_REPLICA_1_WEIGHT", "0"),
        ("READ_REPLICA_1_WEIGHT", "1.5"),
        ("READ_REPLICA_1_WEIGHT", "101"),
        ("READ_REPLICA_1_NAME", "a/b"),
        ("READ_REPLICA_1_NAME", ".."),
        ("READ_REPLICA_1_NAME", "n" * 64),
        ("READ_REPLICA_1_ZONE", "eu west"),
        ("READ_REPLICA_1_MAX_CONNECTIONS", "0"),
        ("READ_REPLICA_1_MIN_CONNECTIONS", "x"),
        ("READ_REPLICA_1_CONNECTION_STRING", "replica-1"),
        ("DATABASE_READ_URL", "http://primary/hotel"),
        ("DATABASE_URL", "primary:5432"),
    ],
)
def test_one_wrong_value_is_one_line(name: str, text: str) -> None:
    line = problem(**{**replicas(1), name: text})
    assert line.startswith(f"{name}: ")
    assert "; " in line


def test_everything_wrong_is_told_at_once() -> None:
    lines = problems(
        DATABASE_URL="mysql://x",
        DB_MAX_IDLE_TIME="soon",
        READ_REPLICA_1_WEIGHT="2",
        READ_REPLICA_x_NAME="x",
        READ_REPLICA_2_CONNECTION_STRING=REPLICA.format(3),
        **replicas(3),
    )
    assert [line.partition(":")[0] for line in lines] == [
        "DATABASE_URL",
        "READ_REPLICA_1_CONNECTION_STRING",
        "READ_REPLICA_x_NAME",
        "DB_MAX_IDLE_TIME",
        "READ_REPLICA_3_CONNECTION_STRING",
    ]


@pytest.mark.parametrize("environ", [{}, {"DATABASE_URL": ""}, {"DATABASE_URL": " \n"}])
def test_says_what_to_set_when_no_primary_is(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ)
    assert caught.value.problems[0].startswith("DATABASE_URL: is not set; write the primary's address")
    assert "environment.md" in caught.value.hint


def test_a_minimum_above_the_maximum() -> None:
    line = problem(DB_MIN_CONNECTIONS="200")
    assert line.startswith("DB_MIN_CONNECTIONS: 200 is above the maximum of 100; ")
    line = problem(READ_REPLICA_1_MAX_CONNECTIONS="3", READ_REPLICA_1_MIN_CONNECTIONS="4", **replicas(1))
    assert line.startswith("READ_REPLICA_1_MIN_CONNECTIONS: 4 is above the maximum of 3; ")
    assert line.endswith("raise READ_REPLICA_1_MAX_CONNECTIONS")


class TestNodesTogether:
    def test_the_same_server_twice(self) -> None:
        same = {"READ_REPLICA_4_CONNECTION_STRING": "host=REPLICA-1 user=other dbname=hotel"}
        line = problem(**replicas(1), **same)
        assert line.startswith(
            "READ_REPLICA_4_CONNECTION_STRING: is the same server and database as READ_REPLICA_1_"
        )

    def test_a_replica_that_is_the_primary(self) -> None:
        line = problem(READ_REPLICA_1_CONNECTION_STRING=URL + "?sslmode=require")
        assert line.startswith(
            "READ_REPLICA_1_CONNECTION_STRING: is the same server and database as DATABASE_URL; "
        )

    def test_another_database_of_the_same_server_is_another_node(self) -> None:
        assert from_env(READ_REPLICA_1_CONNECTION_STRING=URL + "2").replicas

    def test_the_read_url_leads_to_the_primary(self) -> None:
        assert from_env(DATABASE_READ_URL=URL).fallback_dsn

    def test_two_equal_names(self) -> None:
        line = problem(READ_REPLICA_1_NAME="replica-2", **replicas(1, 2))
        assert line.startswith("READ_REPLICA_2_NAME: 'replica-2' is already the name of READ_REPLICA_1_")

    def test_a_replica_called_primary(self) -> None:
        assert problem(READ_REPLICA_1_NAME="primary", **replicas(1)).startswith(
            "READ_REPLICA_1_NAME: 'primary' is "
        )

    def test_a_replica_called_primary_while_the_primary_cannot_be_read(self) -> None:
        lines = problems(DATABASE_URL="x", READ_REPLICA_1_NAME="primary", **replicas(1))
        assert lines[1].startswith("READ_REPLICA_1_NAME: 'primary' is the primary's name; ")

    def test_replicas_may_be_missing_though_they_are_used(self) -> None:
        assert from_env(USE_READ_REPLICAS="true").replicas == ()


class TestReplicaNames:
    @pytest.mark.parametrize(
        ("name", "likely"),
        [
            ("READ_REPLICA_1_CONECTION_STRING", "READ_REPLICA_1_CONNECTION_STRING"),
            ("READ_REPLICA_1_CONECTION_STRING_FILE", "READ_REPLICA_1_CONNECTION_STRING_FILE"),
            ("READ_REPLICA_12_WIEGHT", "READ_REPLICA_12_WEIGHT"),
            ("READ_REPLICA_1_MAX_CONNECTION", "READ_REPLICA_1_MAX_CONNECTIONS"),
            ("READ_REPLICA_01_NAME", "READ_REPLICA_1_NAME"),
            ("READ_REPLICAS_1_NAME", "READ_REPLICA_1_NAME"),
            ("READ_REPLICA_x_CONNECTION_STRING", "READ_REPLICA_<n>_CONNECTION_STRING, with <n> 1, 2, 3, ..."),
            ("READ_REPLICA_X_CONNECTION_STRING", "READ_REPLICA_<n>_CONNECTION_STRING, with <n> 1, 2, 3, ..."),
            ("READ_REPLICA_0_WEIGHT", "READ_REPLICA_<n>_WEIGHT, with <n> 1, 2, 3, ..."),
            ("READ_REPLICA_-1_WEIGHT", "READ_REPLICA_<n>_WEIGHT, with <n> 1, 2, 3, ..."),
            ("READ_REPLICA_CONNECTION_STRING", "READ_REPLICA_<n>_CONNECTION_STRING, with <n> 1, 2, 3, ..."),
            ("READ_REPLICA_1_", "READ_REPLICA_1_CONNECTION_STRING (or NAME, "),
            ("READ_REPLICA_", "READ_REPLICA_<n>_CONNECTION_STRING (or NAME, "),
            ("READ_REPLICA_" + "9" * 5000 + "_NAME", "READ_REPLICA_<n>_NAME"),
        ],
    )
    def test_a_wrong_one_is_told_with_the_likely_right_one(self, name: str, likely: str) -> None:
        assert problem(**{name: "x"}).startswith(f"{name}: is no variable of pgfleet; write {likely}")

    def test_a_blank_wrong_one_is_unset(self) -> None:
        assert from_env(READ_REPLICA_x_CONNECTION_STRING="")

    def test_what_kubernetes_sets_for_a_service_is_not_ours(self) -> None:
        links = {
            "READ_REPLICA_1_SERVICE_HOST": "10.0.0.1",
            "READ_REPLICA_1_SERVICE_PORT": "5432",
            "READ_REPLICA_1_SERVICE_PORT_POSTGRES": "5432",
            "READ_REPLICA_1_PORT": "tcp://10.0.0.1:5432",
            "READ_REPLICA_1_PORT_5432_TCP": "tcp://10.0.0.1:5432",
            "READ_REPLICA_1_PORT_5432_TCP_ADDR": "10.0.0.1",
            "READ_REPLICA_SERVICE_HOST": "10.0.0.1",
            "READ_REPLICA_PORT": "tcp://10.0.0.1:5432",
        }
        assert from_env(**links).replicas == ()

    def test_settings_of_a_replica_that_is_nowhere(self) -> None:
        line = problem(READ_REPLICA_2_WEIGHT="2", READ_REPLICA_2_ZONE="b")
        assert line.startswith("READ_REPLICA_2_CONNECTION_STRING: is not set, but READ_REPLICA_2_WEIGHT is; ")

    def test_a_blank_connection_string_switches_its_replica_off(self) -> None:
        blank = {"READ_REPLICA_1_CONNECTION_STRING": "", "READ_REPLICA_1_WEIGHT": "2"}
        assert [replica.name for replica in from_env(**blank, **replicas(2)).replicas] == ["replica-2"]


class TestFiles:
    def test_every_name_may_come_from_a_file(self, tmp_path: Path) -> None:
        files = {
            "DATABASE_URL": URL,
            "READ_REPLICA_1_CONNECTION_STRING": REPLICA.format(1),
            "DB_MAX_IDLE_TIME": "5m",
        }
        for name, text in files.items():
            (tmp_path / name).write_text(text + "\n")
        settings = Settings.from_env({f"{name}_FILE": str(tmp_path / name) for name in files})
        assert settings.primary.dsn == Dsn.parse(URL)
        assert settings.replicas[0].variable == "READ_REPLICA_1_CONNECTION_STRING"
        assert settings.max_idle_s == 300

    def test_so_may_secrets(self, tmp_path: Path) -> None:
        (tmp_path / "secrets").write_text(f"{NEW},{OLD}\n")
        settings = from_env(PGFLEET_TOKEN_SECRET_FILE=str(tmp_path / "secrets"))
        assert settings.token_secrets == (Secret(NEW), Secret(OLD))

    def test_what_a_file_holds_in_the_place_of_a_secret_is_not_told(self, tmp_path: Path) -> None:
        (tmp_path / "secrets").write_text("tooshort")
        line = problem(PGFLEET_TOKEN_SECRET_FILE=str(tmp_path / "secrets"))
        assert line.startswith("PGFLEET_TOKEN_SECRET: ")
        assert "tooshort" not in line

    def test_only_one_newline_is_taken_off(self, tmp_path: Path) -> None:
        path = tmp_path / "dsn"
        path.write_bytes(b"host=h password='x\n'\r\n")
        assert (
            from_env(DATABASE_URL="", DATABASE_URL_FILE=str(path)).primary.dsn.reveal()
            == "host=h password='x\n'"
        )

    def test_both_is_an_error(self) -> None:
        line = problem(DB_MAX_IDLE_TIME="5m", DB_MAX_IDLE_TIME_FILE="anywhere")
        assert line == "DB_MAX_IDLE_TIME: is set, and DB_MAX_IDLE_TIME_FILE too; keep one of them"

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        line = problem(DATABASE_URL="", DATABASE_URL_FILE=str(tmp_path / "none"))
        assert line.startswith("DATABASE_URL_FILE: cannot be read (No such file or directory); ")

    def test_a_directory(self, tmp_path: Path) -> None:
        line = problem(PGFLEET_POLICY_FILE=str(tmp_path))
        assert line.startswith("PGFLEET_POLICY_FILE: cannot be read (Is a directory); ")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "an empty file"),
            (b"\n", "an empty file"),
            (b"\xff", "is not UTF-8"),
            (b"x" * 70_000, "too long"),
        ],
    )
    def test_one_that_cannot_be_a_setting(self, tmp_path: Path, content: bytes, said: str) -> None:
        path = tmp_path / "content"
        path.write_bytes(content)
        line = problem(PGFLEET_API_TOKEN_FILE=str(path))
        assert line.startswith("PGFLEET_API_TOKEN_FILE: ")
        assert said in line

    def test_a_path_with_a_nul(self) -> None:
        assert problem(PGFLEET_POLICY_FILE="a\0b").startswith("PGFLEET_POLICY_FILE: ")

    def test_the_text_of_a_connection_string_in_the_place_of_a_path_is_not_told(self) -> None:
        assert "pw" not in "".join(problems(DATABASE_URL="", DATABASE_URL_FILE=URL))
