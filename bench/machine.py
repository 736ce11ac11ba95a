"""Where it was measured: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pgfleet.local.account import Account
from pgfleet.local.binaries import find_binaries
from pgfleet.local.layout import state_root

PACKAGES = ("pgfleet", "asyncpg", "psycopg", "psycopg-pool", "hasql")


def machine() -> dict[str, object]:
    """The processor, the system, every version that counts, and how busy it is right now."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    return {
        "cpu": _cpu(),
        "cores": cores,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "PostgreSQL": _postgresql(),
        **{package: version(package) for package in PACKAGES},
        "load": round(load, 2),
        "busy": load > cores / 2,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _postgresql() -> str:
    """The one that a local fleet runs on."""
    account = Account.choose()
    return find_binaries(None, account, state_root(account)).version


def _cpu() -> str:
    """The model as the kernel has it, where it has one to read."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
