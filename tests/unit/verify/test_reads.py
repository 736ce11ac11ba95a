"""The items of where reads go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgfleet.verify.figures import FailoverFigures, FallbackFigures, Read, ReplicaFigures, WriteFigures
from pgfleet.verify.items import Item, Outcome
from pgfleet.verify.judgements.reads import (
    distribution_item,
    failover_item,
    fallback_item,
    own_writes_item,
)

REPLICAS = [ReplicaFigures("replica-1"), ReplicaFigures("replica-2")]


def reads(**counts: int) -> list[Read]:
    """So many reads of each node, a hundredth of a second apart; `error` for those that failed."""
    nodes = [name.replace("_", "-") for name, count in counts.items() for _ in range(count)]
    return [
        Read(at / 100, at / 100 + 0.002, None, error="OSError: gone")
        if node == "error"
        else Read(at / 100, at / 100 + 0.002, node, node.startswith("replica"))
        for at, node in enumerate(nodes)
    ]


def distribution(replicas: list[ReplicaFigures] = REPLICAS, **counts: int) -> Item:
    return distribution_item(reads(**counts), replicas, 1.5)


def test_reads_in_equal_parts() -> None:
    item = distribution(replica_1=101, replica_2=100)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == (
        "100% of 201 reads in 1.5 s on replicas: replica-1 50.2%, replica-2 49.8%",
        "p50 2.0 ms, p95 2.0 ms",
    )
    assert item.figures["by_replica"] == {"replica-1": 101, "replica-2": 100}


def test_the_target_is_a_share_of_80_percent() -> None:
    assert distribution(replica_1=40, replica_2=40, primary=20).outcome is Outcome.PASSED
    item = distribution(replica_1=40, replica_2=39, primary=21)
    assert (item.outcome, item.evidence[0]) == (
        Outcome.FAILED,
        "79% of the reads were answered by replicas, the target is 80%",
    )


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [((110, 90), Outcome.PASSED), ((112, 90), Outcome.FAILED), ((200, 0), Outcome.FAILED)],
)
def test_the_balance_is_within_a_tenth(counts: tuple[int, int], outcome: Outcome) -> None:
    item = distribution(replica_1=counts[0], replica_2=counts[1])
    assert item.outcome is outcome
    if outcome is Outcome.FAILED:
        assert "its weight says 50.0%" in item.evidence[0]


def test_weights_are_respected() -> None:
    weighted = [ReplicaFigures("replica-1", weight=3), ReplicaFigures("replica-2")]
    assert distribution(weighted, replica_1=150, replica_2=50).outcome is Outcome.PASSED
    assert distribution(weighted, replica_1=100, replica_2=100).outcome is Outcome.FAILED


def test_one_read_more_of_a_few_is_no_imbalance() -> None:
    assert distribution(replica_1=6, replica_2=4).outcome is Outcome.PASSED


def test_a_shared_endpoint_is_left_out_of_the_balance() -> None:
    shared = [*REPLICAS, ReplicaFigures("pool", is_shared=True)]
    assert distribution(shared, replica_1=50, replica_2=50).outcome is Outcome.PASSED


def test_an_error_fails_it() -> None:
    item = distribution(replica_1=50, replica_2=50, error=3)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, "3 reads failed: OSError: gone")
    assert distribution().outcome is Outcome.FAILED


def test_the_primary_answers_while_no_replica_can() -> None:
    item = fallback_item(FallbackFigures(tuple(reads(primary=40))))
    assert item.outcome is Outcome.PASSED
    assert item.evidence[0].endswith("none was touched")
    drilled = fallback_item(FallbackFigures(tuple(reads(primary=40)), ("replica-1",)))
    assert drilled.evidence == ("40 of 40 reads answered by the primary, with replica-1 really stopped",)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (FallbackFigures(tuple(reads(error=4))), "4 reads failed: OSError: gone"),
        (
            FallbackFigures(tuple(reads(primary=4, replica_1=1))),
            "1 reads were answered by a server that is in recovery",
        ),
        (FallbackFigures(()), "no read was made"),
        (FallbackFigures(tuple(reads(primary=4)), (), "it stays"), "it stays"),
    ],
)
def test_a_fallback_that_does_not_work(figures: FallbackFigures, told: str) -> None:
    item = fallback_item(figures)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, told)


WENT = FailoverFigures(
    tuple(reads(replica_1=10, replica_2=30)), 60.0, "replica-1", 0.02, 0.3, struck_s=0.1, mended_s=0.3
)


def test_a_replica_that_went_and_came_back() -> None:
    item = failover_item(WENT)
    assert item.outcome is Outcome.PASSED
    assert item.evidence == (
        "replica-1 was stopped, out of the rotation after 0.02 s, answered again 0.30 s after its start",
        "40 reads, 0 errors; 20 by others while it was away",
    )


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (replace(WENT, back_s=None), "replica-1 answered no read within 60 s of its start"),
        (replace(WENT, victim=None), "no replica stopped answering within 60 s"),
        (replace(WENT, reads=tuple(reads(replica_1=40))), "no other node answered while replica-1 was away"),
        (replace(WENT, reads=(*WENT.reads, *reads(error=1))), "1 reads failed: OSError: gone"),
        (replace(WENT, trouble="the command ended with 1"), "the command ended with 1"),
    ],
)
def test_a_failover_that_failed(figures: FailoverFigures, told: str) -> None:
    item = failover_item(figures)
    assert (item.outcome, item.evidence[0]) == (Outcome.FAILED, told)


def test_own_writes() -> None:
    item = own_writes_item(WriteFigures(20, 20, 18))
    assert item.outcome is Outcome.PASSED
    assert item.evidence == ("20 of 20 writes seen by the next read, 18 of these on replicas",)
    missed = own_writes_item(WriteFigures(20, 19, 18))
    assert (missed.outcome, missed.evidence[0]) == (
        Outcome.FAILED,
        "1 of 20 reads did not see the write before them",
    )
    failed = own_writes_item(WriteFigures(0, 0, 0, ("OSError: gone", "OSError: gone")))
    assert failed.evidence[:2] == ("a write failed: OSError: gone", "nothing could be written")
