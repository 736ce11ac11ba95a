"""What a setting may be: how its text is read, which values stand, and the words for a value that does not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgfleet.settings.secret import Secret

YEAR_S = 31_536_000
MOST_CONNECTIONS = 262_143
"""The most that PostgreSQL takes as its own `max_connections`."""
POLICIES = ("round_robin", "least_in_flight")
OVERLOADS = ("wait", "shed", "stale")
MOST_READS_PER_S = 1_000_000
POOLERS = ("none", "transaction")
TOKEN_ERRORS = ("ignore", "raise")
UNKNOWN_STALENESS = ("closed", "open")
UNQUALIFIED = ("primary", "wait", "error")
LOST_WRITES = ("error", "serve")
LONGEST_CATCHUP_WAIT_MS = 60_000
SHORTEST_SECRET_BYTES = 32
MOST_SECRETS = 8
"""Each costs a signature for every token that is read; to rotate takes two."""

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_HARMLESS = re.compile(r"[\w.+ '\"#-]{1,16}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of setting, for the environment and for code alike."""

    read: Callable[[str], Any]
    """The value that a text means; None: the text means none."""
    allows: Callable[[Any], bool]
    noun: str
    """What every value of it is; completes "is not ..."."""
    write: str
    """What to write into the environment instead: "write ..."."""
    example: str
    """What to write in code instead."""
    secret: bool = False
    """Whether no message quotes what was given, right or wrong."""

    def parse(self, text: str) -> Any:
        """The value that a text of the environment means. Raises ValueError with the complaint."""
        value = self.read(text.strip())
        if value is None or not self.allows(value):
            raise ValueError(f"{self._quoted(text)} is not {self.noun}; {self.write}")
        return value

    def complaint(self, value: object) -> str | None:
        """What is wrong with a value given in code; None: nothing is."""
        if self.allows(value):
            return None
        return f"{self._quoted(value)} is not {self.noun}; write for example {self.example}"

    def _quoted(self, wrong: object) -> str:
        return "the value" if self.secret else shown(wrong)


def _one_of(words: tuple[str, ...], noun: str, example: str | None = None) -> Kind:
    write = f"write {', '.join(words[:-1])} or {words[-1]}"
    return Kind(str, words.__contains__, noun, write, repr(example or words[0]))


def shown(value: object) -> str:
    """A wrong value as a message quotes it: not at all, if it could be a connection string."""
    harmless = _HARMLESS.fullmatch(str(value))
    return f"'{value}'" if harmless else "the value"


def _boolean(text: str) -> bool | None:
    word = text.lower()
    return word in _TRUE if word in _TRUE + _FALSE else None


def _duration_s(text: str) -> float | None:
    match = re.fullmatch("([0-9]{1,12})(ms|s|m|h|d)", text)
    return int(match[1]) * _UNITS_MS[match[2]] / 1000 if match else None


def _interval_s(text: str) -> float | None:
    return _duration_s(f"{text}ms") or _duration_s(text)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,12}", text) else None


def _decimal(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text) else None


def _number(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _count(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", value))


def _is_zone(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(re.fullmatch("[!-~]{1,63}", value)))


def _is_path(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value.strip()))


_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
_PLACE = rf"{_HOST}(:[0-9]{{1,5}})?"
_WHO = r"//[^\s/@,]+@"
_WEB = rf"https?:(//|{_WHO}){_PLACE}(/[\w.~-]+)*/?"
_NAMED = r"[a-z][a-z0-9-]{0,96}"
_RDS = rf"rds:(arn:aws[a-z-]*:rds:[a-z0-9-]+:[0-9]{{12}}:db:)?{_NAMED}(\?region=[a-z0-9-]+)?"
_CHOSEN = r"(ip=(private|public)|port=[0-9]{1,5})"
_CLOUD_SQL = rf"cloudsql:([a-z0-9.-]+:)?{_NAMED}/{_NAMED}(\?{_CHOSEN}(&{_CHOSEN})?)?"
_DISCOVERIES = re.compile(
    rf"dns:{_PLACE}|srv:{_HOST}|patroni:{_WEB}(,{_WEB})*|static:{_PLACE}(,{_PLACE})*|{_RDS}|{_CLOUD_SQL}"
)
_ACCOUNT = r":[0-9]{12}:"


def _is_discovery(value: object) -> bool:
    if value is None:
        return True
    found = isinstance(value, str) and _DISCOVERIES.fullmatch(value)
    ports = re.findall("(?::|port=)([0-9]+)", re.sub(f"{_WHO}|{_ACCOUNT}", "//", str(value)))
    return bool(found) and all(0 < int(port) < 65536 for port in ports)


def _is_token(value: object) -> bool:
    return value is None or (isinstance(value, Secret) and bool(re.fullmatch("[!-~]+", value.reveal())))


def _are_token_secrets(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MOST_SECRETS and all(map(_is_token_secret, value))


def _is_token_secret(value: object) -> bool:
    return isinstance(value, Secret) and len(value.reveal_bytes()) >= SHORTEST_SECRET_BYTES


BOOLEAN = Kind(_boolean, lambda value: type(value) is bool, "true or false", "write true or false", "True")
DURATION = Kind(
    _duration_s,
    _number(0.001, YEAR_S),
    "a duration from 1ms to 365d",
    "write a whole number with its unit (ms, s, m, h or d), such as 30s",
    "30.0",
)
INTERVAL = Kind(
    _interval_s,
    _number(0.01, YEAR_S),
    "a duration from 10ms to 365d",
    "write milliseconds, such as 1000, or a whole number with its unit (ms, s, m, h or d), such as 30s",
    "1.0",
)
SECONDS = Kind(
    _decimal,
    _number(0.001, YEAR_S),
    "a number of seconds from 0.001 to 365 days",
    "write a decimal number of seconds, such as 0.5",
    "10.0",
)
SHARE = Kind(
    _decimal,
    _number(math.ulp(0.0), 1),
    "a share above 0 and at most 1",
    "write a decimal number, such as 0.25",
    "0.25",
)
BUDGET = Kind(
    _decimal,
    _number(0, 1),
    "a share from 0 to 1",
    "write a decimal number, such as 0.2",
    "0.2",
)
RATE = Kind(
    _decimal,
    _number(1, MOST_READS_PER_S),
    f"a number of reads per second from 1 to {MOST_READS_PER_S}",
    "write how many at most, such as 1000",
    "1000.0",
)
MAX_CONNECTIONS = Kind(
    _whole,
    _count(1, MOST_CONNECTIONS),
    f"a whole number from 1 to {MOST_CONNECTIONS}",
    "write how many connections at most, such as 50",
    "50",
)
MIN_CONNECTIONS = Kind(
    _whole,
    _count(0, MOST_CONNECTIONS),
    f"a whole number from 0 to {MOST_CONNECTIONS}",
    "write how many connections to keep open, such as 5",
    "5",
)
WEIGHT = Kind(
    _whole, _count(1, 100), "a whole number from 1 to 100", "write a replica's part, such as 2", "1"
)
NAME = Kind(
    str,
    _is_name,
    "a name that fits into a URL",
    "write at most 63 letters, digits, dots, - and _, the first a letter or a digit, such as reports-1",
    "'reports-1'",
)
ZONE = Kind(
    str,
    _is_zone,
    "a zone's name",
    "write at most 63 ASCII characters without blanks, such as eu-west-1a",
    "'eu-west-1a'",
)
POLICY = _one_of(POLICIES, "a policy")
OVERLOAD = _one_of(OVERLOADS, "a policy")
POOLER = _one_of(POOLERS, "a kind of pooler", "transaction")
TOKEN_ERROR = _one_of(TOKEN_ERRORS, "a policy")
UNKNOWN = _one_of(UNKNOWN_STALENESS, "a policy")
NOBODY_QUALIFIES = _one_of(UNQUALIFIED, "a policy")
LOST_WRITE = _one_of(LOST_WRITES, "a policy")
CATCHUP_WAIT = Kind(
    _decimal,
    _number(0, LONGEST_CATCHUP_WAIT_MS),
    f"a number of milliseconds from 0 to {LONGEST_CATCHUP_WAIT_MS}",
    "write a number without a unit, such as 10",
    "10.0",
)
PATH = Kind(str, _is_path, "a path", "write the path of a file", "'/etc/pgfleet/replicas.toml'")
DISCOVERED = Kind(
    lambda text: "".join(text.split()),
    _is_discovery,
    "a way to discover replicas",
    "write dns:host:port, srv:name, patroni:http://host:8008,http://host:8008, static:host:port,host:port,"
    " rds:instance?region=name or cloudsql:project/instance",
    "'dns:replicas.example.com:5432'",
)
TOKEN = Kind(
    Secret,
    _is_token,
    "a token that fits into a header",
    "write ASCII characters without blanks, such as `openssl rand -hex 32` prints",
    "Secret(os.environ['API_TOKEN'])",
    secret=True,
)
TOKEN_SECRETS = Kind(
    lambda text: tuple(Secret(part.strip()) for part in text.split(",")),
    _are_token_secrets,
    f"a list of secrets of at least {SHORTEST_SECRET_BYTES} bytes each",
    f"write what `openssl rand -hex 32` prints, or up to {MOST_SECRETS} of them, separated by commas, to rotate",
    "(Secret(os.environ['TOKEN_SECRET']),)",
    secret=True,
)
