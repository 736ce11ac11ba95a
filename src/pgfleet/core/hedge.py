"""When a read is sent to a second replica because the first is late."""

from __future__ import annotations

from pgfleet.core.histogram import Histogram

LATE = 0.95
"""A read is late when it takes longer than this part of its kind."""
FLOOR_S = 0.002
"""No read is late before: what ends by itself within two milliseconds is not worth a second one."""
EXTRA_LOAD = 0.05
BURST = 100
"""Second reads that can be saved up: those that a server that freezes keeps waiting until it is out."""
FEWEST_TIMES = 20
"""Of a statement that was seen less often we do not know when it is late."""
MOST_CLASSES = 1000
RENEW_AFTER = 32
"""Times after which the delay of a class is worked out anew."""


class StatementClass:
    """What is known of the time that one statement takes."""

    __slots__ = ("_left", "_times", "delay_s")

    def __init__(self) -> None:
        self._times = Histogram()
        self._left = FEWEST_TIMES
        self.delay_s: float | None = None
        """How long to wait for the first answer; None: not known yet."""

    def add(self, spent_s: float) -> None:
        """One took so long."""
        self._times.add(spent_s)
        self._left -= 1
        if self._left <= 0:
            self.delay_s = max(self._times.quantile(LATE), FLOOR_S)
            self._left = RENEW_AFTER


class StatementClasses:
    """A class for each of the latest texts. Bounded, whatever texts come."""

    def __init__(self, most: int = MOST_CLASSES) -> None:
        self._most = most
        self._young: dict[str, StatementClass] = {}
        self._old: dict[str, StatementClass] = {}

    def of(self, sql: str) -> StatementClass:
        """The class of this statement."""
        return self._young.get(sql) or self._keep(sql)

    def _keep(self, sql: str) -> StatementClass:
        """Two generations: when the young are half of all, the old are forgotten, and the young are the old."""
        found = self._old.pop(sql, None) or StatementClass()
        if len(self._young) >= self._most // 2:
            self._young, self._old = {}, self._young
        self._young[sql] = found
        return found


def may_hedge(candidates: int, replicas: int) -> bool:
    """Whether the fleet can bear second reads: more than half of its replicas serve, and another one among them."""
    return candidates >= 2 and candidates * 2 > replicas
