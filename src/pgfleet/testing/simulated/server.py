"""One server of a simulated cluster: its log, its life, and what it answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from random import Random
from typing import TYPE_CHECKING, Any

from pgfleet.core.lsn import Lsn, format_lsn
from pgfleet.testing.simulated.wal import BLOCK_BYTES, SEGMENT_BYTES, Kind, Record, insert_position

if TYPE_CHECKING:
    from pgfleet.testing.simulated.session import Session

WAL_WRITER_DELAY_S = 0.2
FLUSH_S = 0.001
RESTART_POINT_EVERY_S = 2.0
WALRECEIVER_RETRY_S = 5.0
"""A standby that is turned away tries again this often, and is seen among the standbys for a moment each time."""


class Server:
    """A PostgreSQL, in so far as positions, timelines and visibility go. Only its cluster moves it."""

    def __init__(self, name: str, log: Record, rng: Random, upstream: Server | None = None) -> None:
        self.name = name
        self.rng = rng
        self.upstream = upstream
        """Whom this standby follows; None: a primary, or an orphan."""
        self.in_recovery = upstream is not None
        self.up = True
        self.frozen = False
        self.starts_until_s = 0.0
        """Until then it refuses connections with 57P03."""
        self.life = 1
        self.clock_skew_s = rng.uniform(-3600.0, 3600.0)
        self.clock_rate = rng.uniform(0.9, 1.1)
        self.timeline = log.timeline
        self.control_timeline = log.timeline
        """Of its control file: late, never early."""
        self.started = self.own_clock_s(log.written_s)
        self.tip = log
        """The end of its log: inserted, or received."""
        self.flushed = log
        self.replayed = log
        self.restart_point = log
        self.running: frozenset[int] = frozenset()
        """Of a primary: transactions that are not visible yet."""
        self.synchronous_share = rng.choice((0.0, 0.5, 1.0))
        self.rounds_late = rng.randrange(3)
        """The WAL writer flushes what was there this many rounds ago: up to the documented three in all."""
        self.replay_delay_s = 0.0
        self.replay_paused = False
        self.shows_receiver = rng.random() < 0.5
        """Whether our role may see the walreceiver (pg_monitor)."""
        self.upstream_cut = False
        self.work_s = 0.0
        """What a statement takes, beside the network."""
        self.max_connections = 100
        self.sessions: dict[int, Session] = {}
        self.stalled: list[Callable[[], None]] = []
        """What came while it was frozen."""
        self._ended: dict[int, Record] = {}
        self._rounds: deque[Record] = deque(maxlen=3)
        self._next_round_s = 0.0
        self._replays_from_s = 0.0
        self._next_restart_point_s = 0.0

    def own_clock_s(self, now_s: float) -> float:
        """What this server takes the time for."""
        return 1.7e9 + self.clock_skew_s + now_s * self.clock_rate

    @property
    def writable(self) -> bool:
        """Whether it takes writes."""
        return self.up and not self.in_recovery

    # as time passes

    def advance(self, now_s: float) -> None:
        """Do what the background processes do now and then."""
        if not self.up or self.frozen or now_s < self.starts_until_s:
            return
        if self.in_recovery:
            self._receive(now_s)
            self._replay(now_s)
        elif now_s > self._next_round_s - FLUSH_S:
            self._write_ahead(now_s)

    def _write_ahead(self, now_s: float) -> None:
        self._next_round_s = max(self._next_round_s, now_s - FLUSH_S) + WAL_WRITER_DELAY_S
        self._rounds.append(self.tip)
        self.flush(self._rounds[max(0, len(self._rounds) - 1 - self.rounds_late)], now_s)

    def flush(self, until: Record, now_s: float) -> None:
        """Everything up to here is on the disk, and goes to the standbys."""
        if until.depth > self.flushed.depth and self.flushed.is_in(until):
            self.flushed = until

    def is_fed(self) -> bool:
        """Whether its upstream sends it what it flushes."""
        up = self.upstream
        if up is None or self.upstream_cut or not up.up or up.frozen or up.timeline < self.timeline:
            return False
        return self.tip.is_in(up.flushed)

    def _receive(self, now_s: float) -> None:
        if self.is_fed() and self.upstream:
            self.tip = self.flushed = self.upstream.flushed
            self.timeline = self.tip.timeline

    def _replay(self, now_s: float) -> None:
        if not self.replay_paused and now_s >= self._replays_from_s:
            reached = self.tip
            while reached.depth > self.replayed.depth and reached.written_s > now_s - self.replay_delay_s:
                reached = reached.before or reached
            self.replayed = reached
        if now_s >= self._next_restart_point_s:
            self._next_restart_point_s = now_s + RESTART_POINT_EVERY_S
            self.restart_point, self.control_timeline = self.replayed, self.replayed.timeline

    # as statements ask

    def assign(self, now_s: float) -> int:
        """A transaction writes for the first time."""
        xid = self.tip.next_xid
        self.running |= {xid}
        self._insert(Kind.DATA, now_s, xid)
        return xid

    def commit(self, xid: int, key: Hashable, now_s: float) -> Record:
        """Insert the commit record. It is visible when `show` says so."""
        return self._insert(Kind.COMMIT, now_s, xid, key)

    def show(self, commit: Record, xid: int, now_s: float) -> None:
        """From now on snapshots have this commit."""
        commit.visible_s = min(commit.visible_s, now_s)
        self.running -= {xid}

    def abort(self, xid: int, now_s: float) -> None:
        """End a transaction that did nothing."""
        if xid in self.running and self.writable:
            self._insert(Kind.ABORT, now_s, xid)
            self.running -= {xid}

    def switch_wal(self, now_s: float) -> None:
        """What `archive_timeout` does."""
        self.flush(self._insert(Kind.SWITCH, now_s, 0), now_s)

    def _insert(self, kind: Kind, now_s: float, xid: int, key: Hashable = None) -> Record:
        self.tip = self.tip.append(kind, self.timeline, now_s, self.rng.randrange(40, 300), xid, key)
        return self.tip

    def visible(self) -> Record:
        """What a read sees: all commits up to here."""
        return self.replayed if self.in_recovery else self.tip

    def row(self, now_s: float, standbys: list[str]) -> tuple[Any, ...]:
        """The answer to OBSERVE_SQL."""
        standby, at = self.in_recovery, self.visible()
        receiver = self.tip.timeline if self.shows_receiver and self.is_fed() else 0
        return (
            standby,
            "7",
            self.started_text,
            180000,
            max(self.control_timeline, receiver) if standby else None,
            None if standby else f"{self.timeline:08X}",
            None if standby else format_lsn(insert_position(self.tip.end)),
            None if standby else format_lsn(self.flushed.end),
            format_lsn(self.replayed.end) if standby else None,
            format_lsn(self.tip.end) if standby else None,
            standby and self.replay_paused,
            WAL_WRITER_DELAY_S,
            BLOCK_BYTES,
            SEGMENT_BYTES,
            at.snapshot(None if standby else self.running),
            format_lsn(Lsn(at.checkpoint)),
            None if standby else standbys,
            False,
        )

    def shows_itself_to(self, primary: Server, now_s: float) -> bool:
        """Whether this standby stands in `pg_stat_replication` there; so does one that is just being turned away."""
        if not self.up or self.upstream is not primary:
            return False
        return self.tip.is_in(primary.flushed) or now_s % WALRECEIVER_RETRY_S < FLUSH_S

    @property
    def started_text(self) -> str:
        """`pg_postmaster_start_time()` by its own clock, in microseconds."""
        return str(int(self.started * 1e6))

    def log_on(self, timeline: int) -> Record:
        """The end of the log that it wrote, or writes, as the primary of this timeline."""
        return self._ended.get(timeline, self.tip)

    # lives and roles

    def crash(self) -> None:
        """Lose what is not on the disk. Sessions are the cluster's to end."""
        self.up = False
        self.stalled.clear()
        self.tip = self.flushed
        self.running = frozenset()

    def start(self, now_s: float, takes_s: float) -> None:
        """Begin another life: a standby behind what it had replayed, a primary with a checkpoint."""
        self.up, self.frozen, self.starts_until_s = True, False, now_s + takes_s
        self.life += 1
        self.started = self.own_clock_s(now_s)
        self.replayed = self.restart_point
        self._replays_from_s = self.starts_until_s + self.rng.choice((0.0, 0.3, 1.0))
        if not self.in_recovery:
            self._end_recovery(now_s)

    def promote(self, timeline: int, now_s: float) -> None:
        """Replay all that was received, and take writes on a new timeline, in the same life."""
        self.in_recovery, self.upstream = False, None
        self.replayed, self.replay_paused = self.tip, False
        self.timeline = timeline
        self._end_recovery(now_s)

    def _end_recovery(self, now_s: float) -> None:
        self._rounds.clear()
        self.running = frozenset()
        self.flush(self._insert(Kind.CHECKPOINT, now_s, 0), now_s)
        self.replayed = self.restart_point = self.tip

    def rejoin(self, primary: Server, now_s: float, takes_s: float) -> None:
        """Become a standby of `primary`, rewound or copied, in another life."""
        self.crash()
        if not self.in_recovery:
            self._ended[self.timeline] = self.tip
        self.in_recovery, self.upstream = True, primary
        self.tip = self.flushed = self.restart_point = primary.flushed
        self.timeline, self.control_timeline = self.tip.timeline, primary.control_timeline
        self.start(now_s, takes_s)
