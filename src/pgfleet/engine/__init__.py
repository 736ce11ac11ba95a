"""The I/O of the two faces, written once as `async def`, for tasks and for threads. Begin with `engine.py`."""

from pgfleet.engine.engine import Engine

__all__ = ["Engine"]
