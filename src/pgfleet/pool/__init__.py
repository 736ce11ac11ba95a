"""The connections of one node for one purpose, for every driver. Begin with `pool.py`."""

from pgfleet.pool.bound import Bound
from pgfleet.pool.pool import MAX_OPENING, Pool, PoolClosed, Pooled, PoolLimits, PoolTimeout

__all__ = ["MAX_OPENING", "Bound", "Pool", "PoolClosed", "PoolLimits", "PoolTimeout", "Pooled"]
