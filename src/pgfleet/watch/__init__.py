"""Looks at the nodes, and tells the board. Begin with `monitor.py`."""

from pgfleet.watch.monitor import Monitor
from pgfleet.watch.watch import observe

__all__ = ["Monitor", "observe"]
