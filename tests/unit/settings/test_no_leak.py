"""Whatever is wrong with a connection string, no part of a password leaves it.

The passwords are of Cyrillic letters and of what breaks the grammar. No message of ours holds a Cyrillic letter, so one
of them anywhere is a leak, be it a piece of a password cut in two.
"""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgfleet.errors import ConfigurationError
from pgfleet.settings import VARIABLES, Dsn, Settings

T = TypeVar("T")

unhurried = settings(deadline=None)

passwords = st.text("Жщыэю" + "@/:?#&=%,;[]'\"\\ \t\n$", min_size=1, max_size=12).map("Ж".__add__)
breakage = st.text("@/:?#&=%,;[]'\"\\ ", max_size=3)
meant = st.sampled_from(
    [
        "postgresql://u:{}@h/db",
        "postgresql://{}@h/db",
        "postgresql://u:{}@h:x/db",
        "postgresql://u:x@{}@h/db",
        "postgresql://u:1/{}@h/db",
        "postgresql://u:1?{}@h/db",
        "postgresql://u:{}@/db",
        "postgresql://h/db?password={}&sslmode=sometimes",
        "postgresql://h/db?password={}",
        "mysql://u:{}@h/db",
        "host=h password={} dbname=db",
        "host=h password='{}' dbname=db",
        "host=u:{}@h dbname=db",
        "host=h dbname=postgresql://u:{}@h/db",
        "{}",
    ]
)
"""Strings in which a reader can tell the password from the address."""

torn = st.sampled_from(
    ["postgresql://u:{}", "postgresql://u:{}h/db", "postgresql:/u:{}@h/db", "host=u:{}", "h u {}"]
)


def leaks(text: str) -> bool:
    return bool(re.search("[Жщыэю]|%d[01]", text, re.IGNORECASE))


def outcome(read: Callable[[], T]) -> T | ValueError:
    try:
        return read()
    except ValueError as error:
        return error


def told(error: BaseException) -> str:
    return f"{error} {error!r} {error.args} {vars(error)} {''.join(traceback.format_exception(error))}"


@st.composite
def broken(draw: st.DrawFn) -> str:
    text = draw(meant | torn).format(draw(passwords))
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(breakage) + text[at:]


@unhurried
@given(st.builds(str.format, meant, passwords))
def test_a_connection_string_shows_nothing(text: str) -> None:
    dsn = outcome(lambda: Dsn.parse(text))
    if isinstance(dsn, ValueError):
        assert not leaks(told(dsn))
    else:
        assert dsn.password or dsn.user
        assert not leaks(f"{dsn} {dsn!r} {dsn.display} {dsn.password} {asdict(dsn)['password']}")


@unhurried
@given(broken())
def test_a_broken_one_tells_nothing(text: str) -> None:
    error = outcome(lambda: Dsn.parse(text))
    if isinstance(error, ValueError):
        assert error.__cause__ is error.__context__ is None
        assert not leaks(told(error))


NAMES = (
    [name.replace("<n>", "1") for name in VARIABLES]
    + [name.replace("<n>", "1") + "_FILE" for name in VARIABLES]
    + ["READ_REPLICA_x_CONNECTION_STRING", "READ_REPLICA_2_CONNECTION_STRING"]
)


@unhurried
@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.builds(str.format, meant.filter("{}".__ne__), passwords), min_size=1
    )
)
def test_in_whatever_variable_it_stands(environ: dict[str, str]) -> None:
    made = outcome(lambda: Settings.from_env(environ))
    if isinstance(made, ValueError):
        assert isinstance(made, ConfigurationError)
        assert not leaks(told(made) + told(pickle.loads(pickle.dumps(made))))
        assert not any(text in str(made) for text in environ.values())
    else:
        assert not leaks(repr(made))


def test_not_even_with_the_variables_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "postgresql://u:Жщ/ыэю@h/db")
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert not leaks("".join(frames.format()))
