"""What is alike in the instances of every cloud's managed databases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self


class ManagedInstance(ABC):
    """An instance, as its cloud tells of it."""

    __slots__ = ()
    creating: ClassVar[str]
    ready: ClassVar[str]
    deleting: ClassVar[str]
    """The cloud's names for three states."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its identifier."""

    @property
    @abstractmethod
    def status(self) -> str:
        """Its state, as the cloud calls it."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Which instance it is a replica of. Empty: it is none."""

    @property
    @abstractmethod
    def tags(self) -> Mapping[str, str]:
        """Its tags or labels."""

    @property
    @abstractmethod
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port; None before it has one."""

    @property
    @abstractmethod
    def streams(self) -> bool:
        """Whether it is a replica at work."""

    @abstractmethod
    def copies(self, source: Self) -> bool:
        """Whether it is a replica of that instance."""

    @property
    def is_creating(self) -> bool:
        """Whether it is being made."""
        return self.status == self.creating

    @property
    def is_available(self) -> bool:
        """Whether it is whole and at rest, so that it can be changed."""
        return self.status == self.ready

    @property
    def is_deleting(self) -> bool:
        """Whether it is about to be gone."""
        return self.status == self.deleting
