from __future__ import annotations

import pytest

from pgfleet.carriers.jobs import HEADER, token_headers, token_of

TOKEN = "ATC3fRjMpFp_AAAAAwAAABazdNhIaSSBAFkMkcI-fCAYES9usk2PEM0"


def test_what_is_sent_along_is_found() -> None:
    assert token_of(token_headers(TOKEN)) == TOKEN
    assert token_of({"other": 1, **token_headers(TOKEN)}) == TOKEN


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_no_header(token: str | None) -> None:
    assert token_headers(token) == {}


@pytest.mark.parametrize("value", [None, "", b"", 7, [TOKEN], {}])
def test_what_is_none_is_not_found(value: object) -> None:
    assert token_of({HEADER: value}) is token_of({}) is token_of(None) is None


@pytest.mark.parametrize("value", [TOKEN.encode(), b"\xff"])
def test_brokers_that_give_bytes(value: bytes) -> None:
    assert token_of({HEADER: value}) == value.decode("latin-1")
