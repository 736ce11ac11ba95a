from __future__ import annotations

import hmac
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core import token as tokens
from pgfleet.core.lsn import Lsn
from pgfleet.core.position import Watermark
from pgfleet.core.token import TOKEN_CHARS, VERSION, Token, decode, encode, system_hash

SECRET, OTHER, THIRD = b"first" * 8, b"other" * 8, b"third" * 8
SYSTEM_ID = 7_412_345_678_901_234_567
ISSUED_S = 1_764_000_000
ALPHABET = string.ascii_letters + string.digits + "-_"

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
watermarks = st.builds(Watermark, u64, u32, u64.map(Lsn))
secrets = st.binary(min_size=32, max_size=80)


def token(*, timeline: int = 3, lsn: int = 0x16_B374D848, secret: bytes = SECRET) -> str:
    return encode(Watermark(SYSTEM_ID, timeline, Lsn(lsn)), ISSUED_S, (secret,))


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=")


def text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(body: bytes) -> str:
    """A token of ours whatever its body: of another version, or of another length."""
    return text(body + tokens._mac(body, SECRET))


@given(watermarks, u32, secrets)
def test_what_was_written_is_read(watermark: Watermark, issued_s: int, secret: bytes) -> None:
    said = decode(encode(watermark, issued_s, (secret,)), (secret,))
    assert said == Token(system_hash(watermark.system_id), watermark.timeline, watermark.lsn, issued_s)


@given(watermarks, u32, secrets)
def test_it_is_short_and_safe_in_a_url_a_header_and_a_cookie(
    watermark: Watermark, issued_s: int, secret: bytes
) -> None:
    written = encode(watermark, issued_s, (secret,))
    assert len(written) == TOKEN_CHARS <= 64
    assert set(written) <= set(ALPHABET)


def test_it_is_the_same_in_every_release() -> None:
    """A process that was just upgraded understands one that was not."""
    assert token() == "ATC3fRjMpFp_AAAAAwAAABazdNhIaSSBAFkMkcI-fCAYES9usk2PEM0"


def test_it_does_not_tell_the_system_identifier() -> None:
    assert SYSTEM_ID.to_bytes(8, "big") not in raw(token())
    assert system_hash(SYSTEM_ID) != system_hash(SYSTEM_ID + 1)
    assert 0 <= system_hash(SYSTEM_ID) < 2**64


@pytest.mark.parametrize("bit", range(41 * 8))
def test_one_flipped_bit_is_refused(bit: int) -> None:
    number = int.from_bytes(raw(token()), "big") ^ 1 << bit
    assert decode(text(number.to_bytes(41, "big")), (SECRET,)) is None


@given(st.integers(0, TOKEN_CHARS - 1), st.characters())
def test_one_other_character_is_refused(at: int, character: str) -> None:
    good = token()
    changed = good[:at] + character + good[at + 1 :]
    assert (decode(changed, (SECRET,)) is not None) == (changed == good)


@pytest.mark.parametrize("last", ALPHABET)
def test_no_other_spelling_of_the_same_bytes_is_taken(last: str) -> None:
    good = token()
    assert (decode(good[:-1] + last, (SECRET,)) is not None) == (last == good[-1])


@given(st.integers(0, TOKEN_CHARS - 1))
def test_a_part_of_it_is_refused(chars: int) -> None:
    good = token()
    assert decode(good[:chars], (SECRET,)) is decode(good[-chars:] if chars else "", (SECRET,)) is None


@pytest.mark.parametrize("wrong", ["{}=", "{} ", " {}", "{}\n", "{}\0", "{0}{0}", "{}A", '"{}"', "", "="])
def test_more_than_it_is_refused(wrong: str) -> None:
    assert decode(wrong.format(token()), (SECRET,)) is None


@given(st.text() | st.text(ALPHABET, min_size=TOKEN_CHARS, max_size=TOKEN_CHARS))
def test_no_text_makes_it_raise(anything: str) -> None:
    assert decode(anything, (SECRET, OTHER)) is None


@pytest.mark.parametrize(
    "wrong", ["\ud800" * TOKEN_CHARS, "\uff41" * TOKEN_CHARS, "Ж" * TOKEN_CHARS, "\0" * TOKEN_CHARS]
)
def test_characters_that_only_look_right_are_refused(wrong: str) -> None:
    assert decode(wrong, (SECRET,)) is None


def test_a_huge_text_is_refused_by_its_length_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_SPELLING", None)  # whoever matches, fails
    monkeypatch.setattr(tokens, "_mac", None)
    assert decode("A" * 10_000_000, (SECRET,)) is None


@pytest.mark.parametrize("version", [0, VERSION + 1, 255])
def test_another_version_is_refused_though_it_is_signed(version: int) -> None:
    body = raw(token())[:-16]
    assert signed(body) == token()
    assert decode(signed(bytes([version]) + body[1:]), (SECRET,)) is None


@pytest.mark.parametrize("length", [0, 1, 24, 26, 40])
def test_another_length_is_refused_though_it_is_signed(length: int) -> None:
    assert decode(signed(bytes([VERSION]) * length), (SECRET,)) is None


class TestSecrets:
    def test_a_wrong_one_is_refused(self) -> None:
        assert decode(token(), (OTHER,)) is None

    def test_none_accepts_nothing_and_signs_nothing(self) -> None:
        assert decode(token(), ()) is None
        with pytest.raises(ValueError, match="without a secret"):
            encode(Watermark(SYSTEM_ID, 1, Lsn(1)), ISSUED_S, ())

    def test_the_first_signs(self) -> None:
        written = encode(Watermark(SYSTEM_ID, 3, Lsn(0x16_B374D848)), ISSUED_S, (SECRET, OTHER))
        assert written == token(secret=SECRET)

    @pytest.mark.parametrize(
        "known", [(SECRET, OTHER, THIRD), (OTHER, SECRET, THIRD), (OTHER, THIRD, SECRET)]
    )
    def test_any_of_them_accepts(self, known: tuple[bytes, ...]) -> None:
        assert decode(token(), known) is not None

    def test_they_rotate_while_processes_are_restarted_one_by_one(self) -> None:
        stages = [(SECRET,), (SECRET, OTHER), (OTHER, SECRET), (OTHER,)]
        for before, after in pairwise(stages):
            for issuer, reader in [(before, after), (after, before)]:
                written = encode(Watermark(SYSTEM_ID, 1, Lsn(1)), ISSUED_S, issuer)
                assert decode(written, reader) is not None

    def test_every_one_is_compared_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[Any, Any]] = []
        compare = hmac.compare_digest

        def watched(a: bytes, b: bytes) -> bool:
            compared.append((a, b))
            return compare(a, b)

        monkeypatch.setattr(tokens, "compare_digest", watched)
        assert decode(token(), (SECRET, OTHER, THIRD)) is not None
        assert len(compared) == 3
        assert all(len(a) == len(b) == 16 for a, b in compared)
