"""A cluster as simple as can be: one log, servers that have a beginning of it, and promotions that cut it short."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from hypothesis import strategies as st

from pgfleet.drill.consistency.history import (
    EMPTY,
    NO_SESSION,
    History,
    Outcome,
    Promise,
    Read,
    State,
    Write,
    state_of,
)
from pgfleet.drill.consistency.keys import is_list, list_of, register_of
from pgfleet.drill.consistency.reigns import Promotion

NODES = ("primary", "replica-1", "replica-2")
BOUND_S = 5.0
REIGN_S = 20.0


class Step(NamedTuple):
    """One thing that happens; what its numbers mean depends on what it is."""

    what: str
    org: int
    listed: bool
    outcome: Outcome
    promise: Promise
    more: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["write"] * 5 + ["read"] * 8 + ["promote"]),
        st.integers(1, 2),
        st.booleans(),
        st.sampled_from([Outcome.DONE] * 4 + [Outcome.REFUSED, Outcome.UNKNOWN]),
        st.sampled_from(Promise),
        st.integers(0, 4),
    ),
    max_size=60,
)


@dataclass
class Model:
    """Lives the steps, and keeps every promise."""

    history: History = field(default_factory=History)
    promotions: list[Promotion] = field(default_factory=list)
    now_s: float = 100.0
    log: list[Write] = field(default_factory=list)
    numbers: Counter[int] = field(default_factory=Counter)
    free_s: dict[int, float] = field(default_factory=dict)
    """When the writer of an org has been told of its last write."""
    session_at: int = 0
    """How much of the log the only session has seen."""
    behind: int = 0
    """By how many of the writes that it should have each read is too early: the bug."""

    @property
    def primary(self) -> str:
        return self.promotions[-1].node if self.promotions else NODES[0]

    def live(self, steps: list[Step]) -> Model:
        for step in steps:
            getattr(self, step.what)(step)
        return self

    def write(self, step: Step) -> None:
        key = list_of(step.org, 1) if step.listed else register_of(step.org)
        self.now_s = max(self.now_s, self.free_s.get(step.org, 0.0)) + 1
        self.numbers[key] += 1
        session = 1 if step.more > 2 else NO_SESSION
        made = Write(
            key,
            self.numbers[key],
            step.org,
            self.now_s,
            self.now_s + 1 + step.more,
            step.outcome,
            self.primary,
            session,
        )
        self.free_s[step.org] = made.ended_s
        self.history.add(made)
        if step.outcome is Outcome.DONE or (step.outcome is Outcome.UNKNOWN and step.more > 1):
            self.log.append(made)
        if session and step.outcome is Outcome.DONE:
            self.session_at = len(self.log)
            self.now_s = made.ended_s

    def read(self, step: Step) -> None:
        key = list_of(step.org, 1) if step.listed else register_of(step.org)
        self.now_s += 1.5
        covers_s = self.covers_s(step)
        must = max((at for at, w in enumerate(self.log, 1) if self.owes(w, covers_s)), default=0)
        session = 1 if step.promise is Promise.SESSION else NO_SESSION
        if session:
            must = max(must, self.session_at)
        position = max(0, min(must + step.more, len(self.log)) - (self.behind and step.more + self.behind))
        if session:
            self.session_at = max(self.session_at, position)
        self.history.add(
            Read(
                key,
                self.state(key, position),
                0,
                self.now_s,
                self.now_s + 0.5,
                "replica-3",
                step.promise,
                covers_s,
                session,
            )
        )

    def covers_s(self, step: Step) -> float:
        moments = {Promise.NOTHING: -inf, Promise.SESSION: -inf, Promise.BOUND: self.now_s - BOUND_S}
        return moments.get(step.promise, self.now_s)

    @staticmethod
    def owes(write: Write, covers_s: float) -> bool:
        return write.outcome is Outcome.DONE and write.ended_s < covers_s

    def state(self, key: int, position: int) -> State:
        numbers = [write.number for write in self.log[:position] if write.key == key]
        if not numbers:
            return EMPTY
        return state_of(numbers) if is_list(key) else State(numbers[-1])

    def promote(self, step: Step) -> None:
        """The new primary has all but the last few."""
        kept = self.log[: max(0, len(self.log) - step.more)]
        self.now_s += REIGN_S
        keys = {write.key for write in self.log}
        new = NODES[(NODES.index(self.primary) + 1 + step.more % 2) % len(NODES)]
        states = {key: self.state(key, len(kept)) for key in keys}
        self.promotions.append(Promotion(self.now_s, new, states))
        self.log, self.session_at = kept, min(self.session_at, len(kept))

    def at_the_end(self) -> dict[int, State]:
        return {key: self.state(key, len(self.log)) for key in self.numbers}
