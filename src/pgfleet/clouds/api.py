"""What is alike in the clients of every cloud."""

from __future__ import annotations

from typing import Protocol, TypeVar


class Api(Protocol):
    """A client of one cloud."""

    def close(self) -> None:
        """End its connections."""


ApiT = TypeVar("ApiT", bound=Api)
