"""Processes found by name, from /proc and from ps alike."""

from __future__ import annotations

import os
import sys

from pgfleet.local.processes import _from_proc, _from_ps


def pids(argument: str, title: str) -> list[set[int]]:
    return [{process.pid for process in found(argument, title)} for found in (_from_proc, _from_ps)]


def test_both_ways_find_nothing_under_a_name_that_nobody_has() -> None:
    assert pids("config_file=/nowhere/postgresql.conf", "postgres: nobody@0: ") == [set(), set()]


def test_this_process_is_never_among_them() -> None:
    for found in pids(sys.argv[0], sys.executable):
        assert os.getpid() not in found
