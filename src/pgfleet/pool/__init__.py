"""The connections of one node for one purpose, for every driver. Begin with `pool.py`."""

from pgfleet.pool.bound import Bound
from pgfleet.pool.places import MAX_OPENING, PoolLimits
from pgfleet.pool.pool import Pool
from pgfleet.pool.pooled import Pooled
from pgfleet.pool.refusals import PoolClosed, PoolTimeout

__all__ = ["MAX_OPENING", "Bound", "Pool", "PoolClosed", "PoolLimits", "PoolTimeout", "Pooled"]
