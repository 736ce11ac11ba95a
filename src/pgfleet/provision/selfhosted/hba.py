"""The block of lines in `pg_hba.conf` that lets a fleet's replicas in, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgfleet.provision.selfhosted.places import Place, identifier


@dataclass(frozen=True, slots=True)
class Block:
    """Our lines as they stand in a file."""

    rules: tuple[str, ...]
    is_first: bool
    """Whether no other rule comes before them: PostgreSQL takes the first that matches."""


def rules(fleet: str, replicas: Sequence[Place]) -> tuple[str, ...]:
    """One line for each replica: its role, from its address, by its password."""
    return tuple(
        f"{'hostssl' if place.is_encrypted else 'host'} replication {identifier(fleet, place.name)}"
        f" {place.client} scram-sha-256"
        for place in replicas
    )


def block_lines(fleet: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The rules with the lines around them, by which the block is found again."""
    return (_begin(fleet), *wanted, _end(fleet))


def _begin(fleet: str) -> str:
    return f"# pgfleet {fleet}: begin (pgfleet provision writes these lines)"


def _end(fleet: str) -> str:
    return f"# pgfleet {fleet}: end"


def block_of(text: str, fleet: str) -> Block | None:
    """Our block in a file; None: there is none, or it has no end."""
    lines = text.splitlines()
    try:
        begin = lines.index(_begin(fleet))
        end = lines.index(_end(fleet), begin)
    except ValueError:
        return None
    return Block(tuple(lines[begin + 1 : end]), not any(_is_foreign_rule(lines[:begin])))


def _is_foreign_rule(lines: Sequence[str]) -> list[bool]:
    """The lines outside of any fleet's block: these do not stand in one another's way."""
    found, inside = [], False
    for line in lines:
        if line.startswith("# pgfleet "):
            inside = ": begin" in line
        found.append(bool(line.strip()) and not line.lstrip().startswith("#") and not inside)
    return found


def with_block(text: str, fleet: str, wanted: Sequence[str]) -> str:
    """A file whose first lines are these, in place of the block that it had. No lines: without one."""
    rest = _without(text, fleet)
    if not wanted:
        return rest
    return "\n".join(block_lines(fleet, wanted)) + "\n" + rest


def _without(text: str, fleet: str) -> str:
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip("\r\n") for line in lines]
    while _begin(fleet) in bare:
        begin = bare.index(_begin(fleet))
        end = bare.index(_end(fleet), begin) if _end(fleet) in bare[begin:] else begin
        del lines[begin : end + 1], bare[begin : end + 1]
    return "".join(lines)
