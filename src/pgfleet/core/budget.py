"""Limits on what is sent beyond what was asked for, and on what may fall on the primary. The time is given."""

from __future__ import annotations

RETRY_FLOOR_PER_S = 10.0
"""Retries that are always granted: a share of few reads is nothing."""
RETRY_BURST = 100
"""Retries that can be saved up, at least: a server that dies takes all of its statements with it at once."""
RATION_TURN_S = 0.1
"""How long the rate of writes is measured for at a time."""


class Budget:
    """A share of the requests, and a little each second, saved up to a burst. Begins full.

    Over any time it grants at most `share` of the requests that came, `floor_per_s` for each second, and one burst.
    """

    def __init__(self, share: float, burst: float, floor_per_s: float = 0.0) -> None:
        self._share = share
        self._burst = burst
        self._floor_per_s = floor_per_s
        self._saved = burst
        self._granted = 0
        self._requests = 0
        self._at_s: float | None = None

    def spend(self, sent: int, now_s: float) -> bool:
        """Whether one more may be sent. `sent`: all that was, with what this budget granted.

        Told under one lock with this call. It falls when a node leaves, and takes its count along.
        """
        requests = sent - self._granted
        passed_s = 0.0 if self._at_s is None else now_s - self._at_s
        earned = self._share * max(0, requests - self._requests) + self._floor_per_s * max(0.0, passed_s)
        self._requests, self._at_s = requests, now_s
        self._saved = min(self._burst, self._saved + earned)
        if self._saved < 1:
            return False
        self._saved -= 1
        self._granted += 1
        return True


def retry_budget(share: float, connections: int) -> Budget:
    """The budget of an application that reads on so many connections; a share of 0 grants nothing at all."""
    if share == 0:
        return Budget(0.0, burst=0.0)
    return Budget(share, max(RETRY_BURST, connections), RETRY_FLOOR_PER_S)


class Turns:
    """Turns at a steady rate; those of one idle second may be taken at once."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._ahead_s = max(0.0, 1.0 - self._interval_s)
        self._taken_until_s = 0.0

    def next_s(self, now_s: float) -> float:
        """The moment of the next turn that nobody has."""
        return max(now_s, self._taken_until_s - self._ahead_s)

    def take(self, now_s: float) -> float:
        """Take the next turn: the moment when it comes. Nobody else has it, and it cannot be given back."""
        turn_s = self.next_s(now_s)
        self._taken_until_s = max(now_s, self._taken_until_s) + self._interval_s
        return turn_s


class Ration:
    """Questions kept to a share of the writes, and a few each second, saved up to a burst. Begins full.

    What was asked is told, not granted: a question may serve many, and some are asked for other reasons.
    """

    def __init__(self, share: float, per_s: float, burst: float) -> None:
        self._share = share
        self._per_s = per_s
        self._burst = burst
        self._saved = burst
        self._seen: tuple[int, int, float] | None = None
        self._rate_per_s = per_s
        self._earned = 0.0
        self._since_s: float | None = None

    def wait_s(self, writes: int, asked: int, now_s: float) -> float:
        """How long until one more may be asked, after so many writes and questions in all; 0.0: now.

        An estimate, by the writes of late. The first call begins to count.
        """
        before = self._seen or (writes, asked, now_s)
        self._seen = (writes, asked, now_s)
        earned = self._share * max(0, writes - before[0]) + self._per_s * max(0.0, now_s - before[2])
        self._saved = min(self._burst, self._saved + earned - max(0, asked - before[1]))
        self._measure(earned, now_s)
        return max(0.0, 1 - self._saved) / self._rate_per_s

    def _measure(self, earned: float, now_s: float) -> None:
        """Learn how fast questions are earned, in turns of a while."""
        since_s = now_s if self._since_s is None else self._since_s
        self._since_s, self._earned = since_s, self._earned + earned
        if now_s - since_s >= RATION_TURN_S:
            self._rate_per_s = max(self._per_s, self._earned / (now_s - since_s))
            self._since_s, self._earned = now_s, 0.0
