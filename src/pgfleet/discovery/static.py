"""Servers by their addresses, as the setting lists them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pgfleet.core.membership import Found
from pgfleet.ports import Runtime

DEFAULT_PORT = "5432"


class Static:
    """`static:db-2:5432,db-3`: each is called as its host, and by its port too if the host has several."""

    interval_s = inf

    def __init__(self, address: str, runtime: Runtime) -> None:
        self._places = [_place(item.strip()) for item in address.split(",")]

    async def find(self) -> Sequence[Found]:
        """The same at each call."""
        hosts = [host for host, _ in self._places]
        return [
            Found(host if hosts.count(host) == 1 else f"{host}-{port}", host, port)
            for host, port in self._places
        ]


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or DEFAULT_PORT)
