"""Looks at the nodes, and tells the board. Begin with `monitor.py`."""

from pgfleet.watch.monitor import Monitor

__all__ = ["Monitor"]
