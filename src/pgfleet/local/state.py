"""What a fleet remembers between its callers: one JSON file that only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pgfleet.errors import LocalFleetError
from pgfleet.local.account import Account

STATE_VERSION = 1

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node: whom it follows while it is a standby, and how far behind it keeps itself on purpose."""

    name: str
    port: int
    upstream: str
    apply_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetState:
    """The fleet as it was built, and as it was changed since."""

    pg_bin: str
    postgresql: str
    """Its version, as `18.6`."""
    uid: int
    gid: int
    password: str = field(repr=False)
    plain_password: str = field(repr=False)
    settings: Mapping[str, Setting]
    nodes: tuple[NodeState, ...]
    is_built: bool = False
    version: int = STATE_VERSION

    @property
    def account(self) -> Account:
        """The user who runs the servers."""
        return Account(self.uid, self.gid)

    def node(self, name: str) -> NodeState:
        """Raises LocalFleetError for a name that is not in the fleet."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise LocalFleetError(f"there is no node {name!r} in this fleet", f"it has {names}")

    def changed(
        self, name: str, *, upstream: str | None = None, apply_delay_s: float | None = None
    ) -> FleetState:
        """The state with one node changed."""
        old = self.node(name)
        new = replace(
            old,
            upstream=old.upstream if upstream is None else upstream,
            apply_delay_s=old.apply_delay_s if apply_delay_s is None else apply_delay_s,
        )
        return replace(self, nodes=tuple(new if node is old else node for node in self.nodes))

    def having(self, node: NodeState) -> FleetState:
        """The state with one node more."""
        return replace(self, nodes=(*self.nodes, node))

    def without(self, name: str) -> FleetState:
        """The state without a node."""
        return replace(self, nodes=tuple(node for node in self.nodes if node.name != name))

    def save(self, path: Path) -> None:
        """Write the file at once or not at all, for its owner's eyes only."""
        scratch = path.with_name(f"{path.name}.new")
        scratch.unlink(missing_ok=True)
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> FleetState:
        """Raises FileNotFoundError when there is none, LocalFleetError when it is not one of ours."""
        try:
            values = json.loads(path.read_text())
            nodes = tuple(NodeState(**node) for node in values.pop("nodes"))
            state = cls(nodes=nodes, **values)
        except PermissionError as denied:
            raise LocalFleetError(
                f"{path} belongs to another user", "call as that user, or name --directory"
            ) from denied
        except (ValueError, TypeError, KeyError, AttributeError) as wrong:
            raise _unreadable(path) from wrong
        if state.version != STATE_VERSION:
            raise _unreadable(path)
        return _owned(state, path)


def _owned(state: FleetState, path: Path) -> FleetState:
    """Root takes an ordinary user's word for nothing: what that user's file starts, runs as that user."""
    owner = path.stat()
    return state if owner.st_uid == 0 else replace(state, uid=owner.st_uid, gid=owner.st_gid)


def _unreadable(path: Path) -> LocalFleetError:
    return LocalFleetError(
        f"{path} is not a fleet's state that this version can read", "pgfleet local down, then up"
    )
