"""What the board says of a node, in the log."""

from __future__ import annotations

import logging

from pgfleet.core.ejection import Phase, Standing
from pgfleet.core.node import Reason

SEVERAL_SERVERS = (
    "%s answers with different servers: from now on each of its connections is checked when it is lent. Set its "
    "READ_REPLICA_<n>_SHARED_ENDPOINT=true (shared_endpoint = true in the fleet file), so that it is from the start, "
    "or give each server a connection string of its own"
)
AURORA = (
    "%s is Amazon Aurora, on which pgfleet has not been tested. Its readers' lag is what they say themselves, "
    "unproven; reads that must see a write (org_id, after, a session that wrote) go to the primary, and there are no "
    "tokens"
)
logger = logging.getLogger("pgfleet")


def tell_shared(name: str) -> None:
    """Say that several servers have answered behind one address that was not declared so."""
    logger.warning(SEVERAL_SERVERS, name)


def tell_aurora(name: str) -> None:
    """Say what cannot be had on Aurora, and what is done instead."""
    logger.warning(AURORA, name)


def tell_speed(name: str, before: Standing, after: Standing) -> None:
    """Say once an ejection, however often it is tried in vain, that it began and that it ended."""
    if after.phase is Phase.EJECTED and not before.is_out:
        logger.warning("%s is out: %s (%s)", name, Reason.EJECTED, after.detail)
    elif before.is_out and not after.is_out:
        logger.info("%s is back: as fast as the others", name)
