"""What goes wrong in a history, chosen by chance among what can go wrong now."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pgfleet.testing.simulated.cluster import Cluster
from pgfleet.testing.simulated.server import Server


class Faults:
    """Breaks a cluster, and mends it."""

    def __init__(self, cluster: Cluster, client: str, rng: Random) -> None:
        self.cluster = cluster
        self.client = client
        self.rng = rng
        self._servers = list(cluster.servers.values())
        self._kinds: list[tuple[Callable[[], str], int]] = [
            (self.crash, 3),
            (self.restart, 3),
            (self.start, 4),
            (self.freeze, 2),
            (self.thaw, 3),
            (self.partition, 4),
            (self.reconnect, 4),
            (self.slow, 2),
            (self.reset, 2),
            (self.lag, 4),
            (self.catch_up, 3),
            (self.cut_upstream, 2),
            (self.fail_over, 3),
            (self.return_old, 3),
            (self.follow, 3),
            (self.switch_wal, 1),
            (self.fill_up, 1),
            (self.rival, 0 if rng.random() < 0.9 else 1),
        ]

    def strike(self) -> str:
        """Let something go wrong, or something be mended; what it was."""
        kinds, weights = zip(*self._kinds, strict=True)
        for _ in range(20):
            what: str = self.rng.choices(kinds, weights)[0]()
            if what:
                return what
        return "nothing"

    def _pick(self, which: Callable[[Server], bool]) -> Server | None:
        able = [server for server in self._servers if which(server)]
        return self.rng.choice(able) if able else None

    @property
    def leader(self) -> Server | None:
        """The newest primary, up or down."""
        primaries = [server for server in self._servers if not server.in_recovery]
        return max(primaries, key=lambda server: server.timeline, default=None)

    # lives

    def crash(self) -> str:
        server = self._pick(lambda s: s.up)
        if not server:
            return ""
        silently = self.rng.random() < 0.4
        self.cluster.crash(server.name, silently)
        return f"crash {server.name}{' without a word' if silently else ''}"

    def restart(self) -> str:
        server = self._pick(lambda s: s.up)
        if not server:
            return ""
        silently = self.rng.random() < 0.4
        self.cluster.restart(server.name, self.rng.choice((0.0, 0.0, 0.3)), silently)
        return f"restart {server.name}{' without a word' if silently else ''}"

    def start(self) -> str:
        server = self._pick(lambda s: not s.up)
        if not server:
            return ""
        server.start(self.cluster.now_s, self.rng.choice((0.0, 0.3)))
        return f"start {server.name}, {'standby' if server.in_recovery else 'primary'}"

    def freeze(self) -> str:
        server = self._pick(lambda s: s.up and not s.frozen)
        if not server:
            return ""
        self.cluster.freeze(server.name)
        return f"freeze {server.name}"

    def thaw(self) -> str:
        server = self._pick(lambda s: s.frozen)
        if not server:
            return ""
        self.cluster.thaw(server.name)
        return f"thaw {server.name}"

    # the network

    def partition(self) -> str:
        server = self._pick(lambda s: self.cluster.link(self.client, s.name).is_well)
        if not server:
            return ""
        link = self.cluster.link(self.client, server.name)
        how = self.rng.choice(("black hole", "no answers", "no requests", "refused"))
        link.requests.is_open = how in ("no answers", "refused")
        link.answers.is_open = how in ("no requests", "refused")
        link.refuses = how == "refused"
        return f"partition {server.name}: {how}"

    def reconnect(self) -> str:
        server = self._pick(lambda s: not self.cluster.link(self.client, s.name).is_well)
        if not server:
            return ""
        if drops := self.rng.random() < 0.5:
            self.cluster.reset_connections(self.client, server.name)
        self.cluster.link(self.client, server.name).heal()
        return f"reconnect {server.name}{' without its connections' if drops else ''}"

    def slow(self) -> str:
        server = self._pick(lambda s: s.up) if self.rng.random() < 0.5 else self.leader
        if not server:
            return ""
        delay_s = self.rng.choice((0.01, 0.05, 0.2))
        if self.rng.random() < 0.5:
            server.work_s = delay_s
        else:
            self.cluster.link(self.client, server.name).answers.delay_s = delay_s
        return f"slow {server.name} by {delay_s}"

    def reset(self) -> str:
        server = self._pick(lambda s: bool(s.sessions))
        if not server:
            return ""
        self.cluster.reset_connections(self.client, server.name)
        return f"reset connections of {server.name}"

    def fill_up(self) -> str:
        server = self._pick(lambda s: s.up)
        if not server:
            return ""
        server.max_connections = self.rng.choice((1, 2, 100))
        return f"{server.name} takes {server.max_connections} connections"

    # replication

    def lag(self) -> str:
        server = self._pick(lambda s: s.in_recovery and s.up)
        if not server:
            return ""
        server.replay_paused = self.rng.random() < 0.4
        server.replay_delay_s = self.rng.choice((0.1, 0.3, 1.0, 4.0))
        return f"lag {server.name}: {'paused' if server.replay_paused else server.replay_delay_s}"

    def catch_up(self) -> str:
        server = self._pick(lambda s: bool(s.replay_paused or s.replay_delay_s))
        if not server:
            return ""
        server.replay_paused, server.replay_delay_s = False, 0.0
        return f"catch up {server.name}"

    def cut_upstream(self) -> str:
        server = self._pick(lambda s: s.in_recovery)
        if not server:
            return ""
        server.upstream_cut = not server.upstream_cut
        return f"{'cut' if server.upstream_cut else 'rejoin'} {server.name} from its upstream"

    def switch_wal(self) -> str:
        leader = self.leader
        if not leader or not leader.writable:
            return ""
        leader.switch_wal(self.cluster.now_s)
        return "switch wal"

    # a new primary

    def fail_over(self) -> str:
        heir = self._pick(lambda s: s.in_recovery and s.up and not s.frozen)
        if not heir:
            return ""
        if self.leader and self.rng.random() < 0.6:
            self.cluster.crash(self.leader.name)
        self.cluster.promote(heir.name)
        for server in self._servers:
            if server.in_recovery and self.rng.random() < 0.7:
                self.cluster.follow(server.name, heir.name)
        return f"promote {heir.name} to timeline {heir.timeline}"

    def rival(self) -> str:
        heir = self._pick(lambda s: s.in_recovery and s.up and not s.frozen)
        if not heir or not self.leader:
            return ""
        self.cluster.promote(heir.name, max(self.leader.timeline, heir.tip.timeline + 1))
        return f"promote {heir.name} too, to timeline {heir.timeline}"

    def return_old(self) -> str:
        old = self._pick(lambda s: s is not self.leader and not s.in_recovery)
        if not old or not self.leader or not self.leader.up:
            return ""
        self.cluster.rejoin(old.name, self.leader.name, self.rng.choice((0.0, 0.3)))
        return f"rejoin {old.name} to {self.leader.name}"

    def follow(self) -> str:
        leader = self.leader
        server = self._pick(lambda s: s.in_recovery and s.upstream is not leader)
        if not leader or not server:
            return ""
        self.cluster.follow(server.name, leader.name)
        return f"{server.name} follows {leader.name}"

    def end(self) -> str:
        """Mend everything: one primary, whom all others follow."""
        for server in self._servers:
            server.max_connections = 100
        self.cluster.heal()
        leader = self.leader or self._servers[0]
        for server in self._servers:
            if server is not leader:
                self._bring_back(server, leader)
        return f"the faults end; {leader.name} is the primary"

    def _bring_back(self, server: Server, leader: Server) -> None:
        self.cluster.follow(server.name, leader.name) if server.in_recovery else None
        if not server.in_recovery or not server.tip.is_in(leader.flushed):
            self.cluster.rejoin(server.name, leader.name)
