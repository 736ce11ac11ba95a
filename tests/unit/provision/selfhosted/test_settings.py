"""Settings and connection strings as PostgreSQL writes and reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgfleet.provision.selfhosted.settings import (
    conninfo,
    megabytes,
    shown_size,
    values_of,
    with_values,
    words_of,
)

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
WORDS = st.dictionaries(
    st.sampled_from(["host", "user", "passfile", "application_name"]), PRINTABLE, min_size=1
)


@given(WORDS)
def test_a_connection_string_means_the_same_to_libpq(words: dict[str, str]) -> None:
    assert conninfo_to_dict(conninfo(words)) == words
    assert words_of(conninfo(words)) == words


@given(
    st.dictionaries(st.sampled_from(["port", "primary_conninfo", "hot_standby"]), PRINTABLE), st.booleans()
)
def test_what_is_written_is_read_once_and_last(values: dict[str, str], twice: bool) -> None:
    before = "# Do not edit\nport = '1'\nport = 2 # two\nwork_mem = '8MB'\n"
    text = with_values(before, values)
    assert values_of(with_values(text, values) if twice else text) == {
        "port": "2",
        "work_mem": "8MB",
        **values,
    }
    assert all(text.count(f"\n{name} = ") == 1 for name in values)


@pytest.mark.parametrize(("text", "size_mb"), [("64MB", 64), ("2GB", 2048), ("1TB", 1 << 20)])
def test_sizes(text: str, size_mb: int) -> None:
    assert megabytes(text) == size_mb
    assert shown_size(size_mb) == text


@pytest.mark.parametrize("text", ["64", "0MB", "-1", "2 GB", "2gb", "GB"])
def test_what_is_no_size(text: str) -> None:
    assert megabytes(text) == -1


def test_no_limit_is_shown_as_it_is() -> None:
    assert shown_size(-1) == "-1"
