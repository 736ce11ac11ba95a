from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgfleet.core.lsn import (
    LONG_PAGE_HEADER_BYTES,
    SHORT_PAGE_HEADER_BYTES,
    Lsn,
    format_lsn,
    parse_lsn,
    replayable,
)

BLOCK, SEGMENT = 8192, 16 * 1024 * 1024

lsns = st.integers(0, 2**64 - 1).map(Lsn)
blocks = st.sampled_from([2**power for power in range(10, 17)])
segments = st.sampled_from([2**power for power in range(20, 31)])


@given(lsns)
def test_what_is_written_is_read_again(lsn: Lsn) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize(
    ("text", "lsn"),
    [("0/0", 0), ("16/B374D848", 0x16B374D848), ("1/0", 1 << 32), ("FFFFFFFF/FFFFFFFF", 2**64 - 1)],
)
def test_it_is_written_as_postgresql_writes_it(text: str, lsn: int) -> None:
    assert format_lsn(Lsn(lsn)) == text
    assert parse_lsn(text) == parse_lsn(text.lower()) == lsn


@pytest.mark.parametrize(
    "text", ["", "/", "1", "1/", "/1", "1/2/3", "g/0", "0/g", "123456789/0", "0/123456789"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_lsn(text)


@pytest.mark.parametrize(
    "text", ["-1/0", "0/-1", " 1/0", "1/0 ", "+1/0", "1_0/0", "0x1/0", "\u0661/0", "1\n/0"]
)
def test_what_only_python_takes_for_a_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_lsn(text)


@pytest.mark.parametrize(
    ("insert_lsn", "position"),
    [
        (SEGMENT + 3 * BLOCK, SEGMENT + 3 * BLOCK),
        (SEGMENT + 3 * BLOCK + SHORT_PAGE_HEADER_BYTES, SEGMENT + 3 * BLOCK),
        (
            SEGMENT + 3 * BLOCK + SHORT_PAGE_HEADER_BYTES + 1,
            SEGMENT + 3 * BLOCK + SHORT_PAGE_HEADER_BYTES + 1,
        ),
        (SEGMENT + 3 * BLOCK + LONG_PAGE_HEADER_BYTES, SEGMENT + 3 * BLOCK + LONG_PAGE_HEADER_BYTES),
        (SEGMENT + LONG_PAGE_HEADER_BYTES, SEGMENT),
        (SEGMENT + LONG_PAGE_HEADER_BYTES + 1, SEGMENT + LONG_PAGE_HEADER_BYTES + 1),
        (SEGMENT - 1, SEGMENT - 1),
    ],
)
def test_within_a_page_header_the_pages_start_is_the_same_position(insert_lsn: int, position: int) -> None:
    assert replayable(Lsn(insert_lsn), BLOCK, SEGMENT) == position


@given(lsns, st.sampled_from([None, 0, BLOCK]), st.sampled_from([None, 0, SEGMENT]))
def test_sizes_that_are_not_known_collapse_nothing(
    lsn: Lsn, block_bytes: int | None, segment_bytes: int | None
) -> None:
    assume(not (block_bytes and segment_bytes))
    assert replayable(lsn, block_bytes, segment_bytes) == lsn


@given(lsns, blocks, segments, st.integers(0, 64))
def test_it_goes_back_to_the_start_of_its_page_or_stays(
    lsn: Lsn, block_bytes: int, segment_bytes: int, near_start: int
) -> None:
    page_start = lsn - lsn % block_bytes
    for insert_lsn in (lsn, Lsn(page_start + near_start)):
        position = replayable(insert_lsn, block_bytes, segment_bytes)
        assert position in {insert_lsn, insert_lsn - insert_lsn % block_bytes}
        assert insert_lsn - position <= LONG_PAGE_HEADER_BYTES
        assert replayable(position, block_bytes, segment_bytes) == position


@given(lsns, lsns)
def test_the_order_of_positions_is_kept(one: Lsn, other: Lsn) -> None:
    low, high = sorted([one, other])
    assert replayable(low, BLOCK, SEGMENT) <= replayable(high, BLOCK, SEGMENT)
