"""Tasks and threads: the two ways to run the same coroutines."""

from pgfleet.runtimes.tasks import TaskRuntime
from pgfleet.runtimes.threads import ThreadRuntime, ThreadSignal, drive
from pgfleet.runtimes.watchdog import Watchdog

__all__ = ["TaskRuntime", "ThreadRuntime", "ThreadSignal", "Watchdog", "drive"]
