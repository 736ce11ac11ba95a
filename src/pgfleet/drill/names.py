"""The drills by name, each in one line: all that the command line must know before one is run."""

from __future__ import annotations

DRILLS = {
    "kill": "one replica dies, and comes back",
    "freeze": "one replica hangs: it takes connections and answers nobody",
    "blackhole": "the network to one replica swallows everything",
    "reset": "the network resets every connection to a replica",
    "lag": "one replica replays late",
    "pause": "one replica replays nothing any more",
    "all-down": "every replica dies",
    "restart-storm": "replicas die and come back, one after the other",
    "conflicts": "replay cancels about fifty reads a second",
    "slow-statement": "statements that take seconds, while one replica hangs",
    "primary-dead": "the primary dies, and nobody is promoted",
    "promote": "the primary dies, and a replica is promoted",
    "old-primary-returns": "the old primary comes back, and takes writes",
}

CONSISTENCY = "all reads and writes are checked while everything breaks"
