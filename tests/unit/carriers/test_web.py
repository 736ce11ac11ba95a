from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.carriers.seldom import INTERVAL_S, Seldom
from pgfleet.carriers.web import Names

TOKEN = "ATC3fRjMpFp_AAAAAwAAABazdNhIaSSBAFkMkcI-fCAYES9usk2PEM0"


def names(cookie: str = "pgfleet", header: str = "X-Pgfleet-Token", *, secure: bool = True) -> Names:
    return Names(cookie, header, secure=secure, max_age_s=600)


@pytest.mark.parametrize(
    ("headers", "cookies", "token"),
    [
        ([], [], None),
        ([TOKEN], [], TOKEN),
        ([], [f"pgfleet={TOKEN}"], TOKEN),
        (["header"], ["pgfleet=cookie"], "header"),
        (["not a token", "header"], ["pgfleet=cookie"], "header"),
        (["not a token"], ["pgfleet=cookie"], "cookie"),
        ([""], ["pgfleet="], None),
        ([], ["a=1; pgfleet=cookie; b=2"], "cookie"),
        ([], ["a=1;pgfleet=cookie;b=2"], "cookie"),
        ([], ["a=1", "pgfleet=cookie"], "cookie"),
        ([], ["pgfleet=first; pgfleet=second"], "first"),
        ([], ["pgfleet=no token; pgfleet=second"], "second"),
        ([], ["pgfleet=no%20token; pgfleet=second", "pgfleet=third"], "second"),
        ([], ["pgfleet=first, pgfleet=second"], "first"),
        ([], ["my-pgfleet=cookie"], None),
        ([], ["pgfleet-2=cookie"], None),
        ([], ["a=pgfleet=cookie"], None),
        ([], ['pgfleet="cookie"'], None),
        ([], ["pgfleet=cookie=more"], None),
        ([], ["PGFLEET=cookie"], None),
        ([], ["pgfleet=" + "A" * 64], "A" * 64),
        (["A" * 65], ["pgfleet=" + "A" * 65], None),
        (["A" * 1_000_000], ["pgfleet=" + "A" * 1_000_000], None),
        ([], ["; " * 500_000 + "pgfleet=cookie"], "cookie"),
        ([], [";" + " " * 1_000_000 + "pgfleet=cookie"], "cookie"),
        ([], ["pgfleet=a" * 100_000], None),
        (["t\u00f6ken"], ["pgfleet=t\u00f6ken"], None),
        (["\uff41"], ["pgfleet=\udcff"], None),
        ([TOKEN + "\n"], [f"pgfleet={TOKEN}\n"], None),
    ],
)
def test_the_first_that_looks_like_a_token_is_taken_the_header_s_before_the_cookie_s(
    headers: list[str], cookies: list[str], token: str | None
) -> None:
    assert names().received(headers, cookies) == token


@given(st.lists(st.text()), st.lists(st.text() | st.text('pgfleet=; ,"A-_')))
def test_whatever_comes_is_no_exception(headers: list[str], cookies: list[str]) -> None:
    token = names().received(headers, cookies)
    assert token is None or (token.isascii() and len(token) <= 64)


def test_a_browser_is_told_to_keep_it_to_itself() -> None:
    (name, cookie), header = names().sent(TOKEN)
    assert (name, header) == ("set-cookie", ("x-pgfleet-token", TOKEN))
    assert cookie == f"pgfleet={TOKEN}; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure"
    morsel = SimpleCookie(cookie)["pgfleet"]
    assert (morsel.value, morsel["secure"], morsel["httponly"]) == (TOKEN, True, True)


def test_secure_is_left_out_where_it_is_said() -> None:
    (_, cookie), _ = names(secure=False).sent(TOKEN)
    assert "Secure" not in cookie


@pytest.mark.parametrize("cookie", ["__Host-pgfleet", "a.b", "a+b", "$x"])
def test_a_name_is_no_pattern(cookie: str) -> None:
    assert names(cookie).received([], [f"{cookie}={TOKEN}"]) == TOKEN
    assert names("a.b").received([], [f"axb={TOKEN}"]) is None


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "a\r\nset-cookie: x", "k\u00e4se", "a" * 65])
def test_a_name_that_fits_into_no_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        names(name)
    with pytest.raises(ValueError, match="cannot be the name"):
        names(header=name)


@pytest.mark.parametrize("max_age_s", [0, -1, 1.5, True, "600"])
def test_so_is_an_age_that_is_none(max_age_s: int) -> None:
    with pytest.raises(ValueError, match="max_age_s must be"):
        Names("pgfleet", "x-pgfleet-token", secure=True, max_age_s=max_age_s)


def test_it_warns_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    seldom = Seldom(lambda: now_s)
    for at_s in (0.0, 1.0, INTERVAL_S - 0.1, INTERVAL_S, INTERVAL_S + 1):
        now_s = at_s
        seldom.warn("at %s", at_s)
    assert [record.getMessage() for record in caplog.records] == ["at 0.0", f"at {INTERVAL_S}"]
