from __future__ import annotations

import string
from typing import Literal

import psycopg.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgfleet.core.failure import _TABLE, CONSEQUENCES, Consequence, Fault, Phase, Verdict, classify

LOST = Fault(lost=True)
TIMED_OUT = Fault(timed_out=True)
REFUSED_LOGIN = Fault(refused_login=True)


def code(sqlstate: str, *, lost: bool = False) -> Fault:
    return Fault(sqlstate=sqlstate, lost=lost)


# Every condition of the appendix "PostgreSQL Error Codes", as a driver lists them; classes ("08000") included.
APPENDIX = sorted(name for name in psycopg.errors._sqlcodes if len(name) == 5)
sqlstates = st.sampled_from(APPENDIX) | st.text(
    string.digits + string.ascii_uppercase, min_size=5, max_size=5
)
faults = st.builds(
    Fault,
    sqlstate=st.none() | sqlstates,
    lost=st.booleans(),
    timed_out=st.booleans(),
    refused_login=st.booleans(),
    ours=st.booleans(),
)
phases = st.sampled_from(Phase)
leases: st.SearchStrategy[Literal["read", "write"]] = st.sampled_from(("read", "write"))


@pytest.mark.parametrize(
    ("fault", "phase", "verdict"),
    [
        # no room: never the node's fault
        (TIMED_OUT, Phase.ACQUIRE, Verdict.BUSY),
        (code("53300"), Phase.CONNECT, Verdict.BUSY),
        (code("53300", lost=True), Phase.CONNECT, Verdict.BUSY),
        (code("53300", lost=True), Phase.STATEMENT, Verdict.BUSY),  # a pooler in between hands it on
        (code("53300"), Phase.PROBE, Verdict.BUSY),
        (code("53400"), Phase.CONNECT, Verdict.BUSY),
        (code("53400"), Phase.STATEMENT, Verdict.QUERY),  # temp_file_limit
        # no answer
        (LOST, Phase.CONNECT, Verdict.UNREACHABLE),
        (TIMED_OUT, Phase.CONNECT, Verdict.UNREACHABLE),
        (LOST, Phase.STATEMENT, Verdict.UNREACHABLE),
        (Fault(lost=True, timed_out=True), Phase.STATEMENT, Verdict.UNREACHABLE),
        (LOST, Phase.RESET, Verdict.UNREACHABLE),
        (LOST, Phase.PROBE, Verdict.UNREACHABLE),
        (TIMED_OUT, Phase.PROBE, Verdict.UNREACHABLE),
        (code("08006", lost=True), Phase.STATEMENT, Verdict.UNREACHABLE),
        (code("08P01", lost=True), Phase.CONNECT, Verdict.UNREACHABLE),
        (code("57P02", lost=True), Phase.STATEMENT, Verdict.UNREACHABLE),
        (code("57P03"), Phase.CONNECT, Verdict.UNREACHABLE),
        (code("57P03"), Phase.PROBE, Verdict.UNREACHABLE),
        (code("57014"), Phase.CONNECT, Verdict.UNREACHABLE),  # authentication_timeout
        (code("57014"), Phase.PROBE, Verdict.UNREACHABLE),
        # one connection
        (code("57P01", lost=True), Phase.STATEMENT, Verdict.TERMINATED),
        (code("57P01", lost=True), Phase.PROBE, Verdict.TERMINATED),
        (code("57P01", lost=True), Phase.ACQUIRE, Verdict.CONNECTION_LOST),  # an old last word
        (code("57P05", lost=True), Phase.STATEMENT, Verdict.CONNECTION_LOST),
        (LOST, Phase.ACQUIRE, Verdict.CONNECTION_LOST),
        (TIMED_OUT, Phase.RESET, Verdict.CONNECTION_LOST),
        (code("42501"), Phase.RESET, Verdict.CONNECTION_LOST),
        (code("25P03", lost=True), Phase.STATEMENT, Verdict.EXPIRED),
        (code("25P04"), Phase.STATEMENT, Verdict.EXPIRED),
        # a postgres_fdw or dblink statement whose far server is away, on a connection that stands
        (code("08001"), Phase.STATEMENT, Verdict.QUERY),
        (code("57P01"), Phase.STATEMENT, Verdict.QUERY),
        (code("53300"), Phase.STATEMENT, Verdict.QUERY),
        (code("28P01"), Phase.STATEMENT, Verdict.QUERY),
        # what the configuration must mend
        (code("28P01"), Phase.CONNECT, Verdict.CONFIG),
        (code("28000", lost=True), Phase.CONNECT, Verdict.CONFIG),
        (code("28P01"), Phase.PROBE, Verdict.CONFIG),
        (code("3D000"), Phase.CONNECT, Verdict.CONFIG),
        (code("3D000", lost=True), Phase.STATEMENT, Verdict.CONFIG),
        (code("57P04", lost=True), Phase.STATEMENT, Verdict.CONFIG),
        (code("42501"), Phase.CONNECT, Verdict.CONFIG),
        (code("0A000"), Phase.CONNECT, Verdict.CONFIG),
        (code("42704"), Phase.CONNECT, Verdict.CONFIG),
        (code("42501"), Phase.PROBE, Verdict.CONFIG),
        # libpq does not tell a full server from a wrong password
        (REFUSED_LOGIN, Phase.CONNECT, Verdict.BUSY),
        (REFUSED_LOGIN, Phase.PROBE, Verdict.CONFIG),
        (Fault(lost=True, refused_login=True), Phase.PROBE, Verdict.CONFIG),
        # the server's own trouble
        (code("XX000"), Phase.STATEMENT, Verdict.QUERY),
        (code("XX001"), Phase.STATEMENT, Verdict.QUERY),
        (code("58P01"), Phase.STATEMENT, Verdict.QUERY),
        (code("53200"), Phase.STATEMENT, Verdict.QUERY),
        (code("XX000", lost=True), Phase.STATEMENT, Verdict.UNREACHABLE),
        (code("58030"), Phase.CONNECT, Verdict.UNREACHABLE),
        (code("XX000"), Phase.PROBE, Verdict.UNREACHABLE),
        # the caller's statement
        (code("42601"), Phase.STATEMENT, Verdict.QUERY),
        (code("23505"), Phase.STATEMENT, Verdict.QUERY),
        (code("22012", lost=True), Phase.STATEMENT, Verdict.QUERY),
        (code("57014"), Phase.STATEMENT, Verdict.QUERY),
        (code("3D000"), Phase.STATEMENT, Verdict.QUERY),
        (TIMED_OUT, Phase.STATEMENT, Verdict.QUERY),
        (Fault(), Phase.STATEMENT, Verdict.QUERY),
        # cut by us
        (Fault(sqlstate="57014", ours=True), Phase.STATEMENT, Verdict.CANCELLED),
        (Fault(lost=True, ours=True), Phase.STATEMENT, Verdict.CANCELLED),
        (Fault(sqlstate="08006", lost=True, ours=True), Phase.STATEMENT, Verdict.CANCELLED),
        (Fault(sqlstate="42601", ours=True), Phase.STATEMENT, Verdict.QUERY),  # it failed before the cut came
    ],
)
def test_the_table(fault: Fault, phase: Phase, verdict: Verdict) -> None:
    for in_recovery in (False, True):
        for lease in ("read", "write"):
            assert classify(fault, phase, lease=lease, in_recovery=in_recovery) is verdict


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_conflict_is_a_conflict_only_where_wal_is_replayed(sqlstate: str, lost: bool) -> None:
    fault = code(sqlstate, lost=lost)
    assert classify(fault, Phase.STATEMENT, lease="read", in_recovery=True) is Verdict.CONFLICT
    assert classify(fault, Phase.STATEMENT, lease="read", in_recovery=False) is Verdict.QUERY
    assert classify(fault, Phase.PROBE, lease="read", in_recovery=True) is Verdict.CONFLICT


@pytest.mark.parametrize("in_recovery", [False, True])
def test_a_write_that_a_read_only_node_refused(in_recovery: bool) -> None:
    fault = code("25006")
    assert classify(fault, Phase.STATEMENT, lease="write", in_recovery=in_recovery) is Verdict.NOT_PRIMARY
    assert classify(fault, Phase.STATEMENT, lease="read", in_recovery=in_recovery) is Verdict.READ_ONLY


@given(faults, phases, leases, st.booleans())
def test_every_fault_has_a_verdict_and_a_consequence(
    fault: Fault, phase: Phase, lease: Literal["read", "write"], in_recovery: bool
) -> None:
    assert classify(fault, phase, lease=lease, in_recovery=in_recovery) in CONSEQUENCES


@pytest.mark.parametrize("sqlstate", APPENDIX)
def test_a_statement_that_leaves_its_connection_standing_never_harms_its_node(sqlstate: str) -> None:
    for in_recovery in (False, True):
        verdict = classify(code(sqlstate), Phase.STATEMENT, lease="read", in_recovery=in_recovery)
        assert not CONSEQUENCES[verdict].suspect
        assert not CONSEQUENCES[verdict].strike


@given(faults, phases, leases, st.booleans())
def test_only_a_statement_is_the_callers_fault(
    fault: Fault, phase: Phase, lease: Literal["read", "write"], in_recovery: bool
) -> None:
    verdict = classify(fault, phase, lease=lease, in_recovery=in_recovery)
    if verdict in {Verdict.QUERY, Verdict.READ_ONLY, Verdict.NOT_PRIMARY, Verdict.EXPIRED}:
        assert phase is Phase.STATEMENT


@given(faults, leases, st.booleans())
def test_no_dead_idle_connection_and_no_full_pool_takes_a_node_out(
    fault: Fault, lease: Literal["read", "write"], in_recovery: bool
) -> None:
    logins = {"28", "3D"}
    verdict = classify(fault, Phase.ACQUIRE, lease=lease, in_recovery=in_recovery)
    if (fault.sqlstate or "")[:2] not in logins:
        assert not CONSEQUENCES[verdict].suspect


@given(faults, phases, leases, st.booleans())
def test_a_cut_of_ours_is_nobodys_fault(
    fault: Fault, phase: Phase, lease: Literal["read", "write"], in_recovery: bool
) -> None:
    verdict = classify(fault, phase, lease=lease, in_recovery=in_recovery)
    assert verdict is not Verdict.CANCELLED or fault.ours
    if fault.ours and fault.sqlstate in {None, "57014"}:
        assert verdict is Verdict.CANCELLED


@pytest.mark.parametrize("verdict", [Verdict.QUERY, Verdict.READ_ONLY, Verdict.EXPIRED])
def test_the_callers_sql_is_never_run_again_and_leaves_health_alone(verdict: Verdict) -> None:
    left_alone = Consequence(
        drop_connection=CONSEQUENCES[verdict].drop_connection,
        never_executed=CONSEQUENCES[verdict].never_executed,
    )
    assert CONSEQUENCES[verdict] == left_alone


def test_nodes_leave_the_rotation_for_two_reasons_only() -> None:
    suspects = {verdict for verdict, consequence in CONSEQUENCES.items() if consequence.suspect}
    assert suspects == {Verdict.UNREACHABLE, Verdict.CONFIG}


def test_a_write_is_sent_again_only_where_the_server_refused_to_begin() -> None:
    safe = {verdict for verdict, consequence in CONSEQUENCES.items() if consequence.never_executed}
    assert safe == {Verdict.BUSY, Verdict.CONFIG, Verdict.NOT_PRIMARY, Verdict.READ_ONLY}


def test_the_two_marks_of_a_shutdown_are_told_apart() -> None:
    assert CONSEQUENCES[Verdict.TERMINATED].strike
    assert not CONSEQUENCES[Verdict.TERMINATED].suspect
    assert not CONSEQUENCES[Verdict.CONNECTION_LOST].strike


def test_every_verdict_has_a_consequence_and_every_row_a_cell_for_each_column() -> None:
    assert set(CONSEQUENCES) == set(Verdict)
    assert {len(row) for row in _TABLE.values()} == {len(Phase) + 1}
    assert {verdict for row in _TABLE.values() for verdict in row} | {Verdict.CANCELLED} == set(Verdict)
