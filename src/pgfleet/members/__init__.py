"""Who belongs to a running router. Begin with `members.py`."""

from pgfleet.members.follow import Follower
from pgfleet.members.members import Members

__all__ = ["Follower", "Members"]
