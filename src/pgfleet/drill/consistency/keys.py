"""What is read and written: a register of each org, and lists that each org appends to, each known by one number."""

from __future__ import annotations

LISTS_OF_AN_ORG = 1_000_000
LIST_LENGTH = 50
"""Then a new list begins: a read returns all that is in one."""


def register_of(org: int) -> int:
    """The key of an org's register. Orgs count from 1."""
    return org


def list_of(org: int, serial: int) -> int:
    """The key of an org's list. Lists of an org count from 1."""
    return org * LISTS_OF_AN_ORG + serial


def is_list(key: int) -> bool:
    """Whether a read of this key returns elements; else it returns one version."""
    return key >= LISTS_OF_AN_ORG


def org_of(key: int) -> int:
    """Whose it is."""
    return key // LISTS_OF_AN_ORG if is_list(key) else key


def name_of(key: int) -> str:
    """As people read it."""
    if not is_list(key):
        return f"register of org {key}"
    return f"list {key % LISTS_OF_AN_ORG} of org {org_of(key)}"
