"""Why a pool lends nothing."""


class PoolTimeout(TimeoutError):
    """No connection became free in time. Nothing is wrong with the node."""


class PoolClosed(ConnectionError):
    """The pool is closed and lends nothing any more."""
