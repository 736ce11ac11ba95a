"""A second process with a router of its own, which reads what a token of the first one covers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from pgfleet.drill.consistency.keys import is_list
from pgfleet.drill.consistency.tables import statements
from pgfleet.drill.hand import other_process
from pgfleet.router import ReplicaRouter


class Elsewhere:
    """Reads in the other process, one at a time."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    @staticmethod
    def sql_of(key: int) -> str:
        """The read of this key, as the driver of that process has it."""
        sql = statements("psycopg")
        return sql.read_list if is_list(key) else sql.read_register

    def read(self, sql: str, key: int, token: str) -> Future[Any]:
        """The first row of a read after this token. The statement is psycopg's."""
        return self._executor.submit(_read, sql, key, token)


@contextmanager
def elsewhere(environ: Mapping[str, str]) -> Iterator[Elsewhere]:
    """The process, its router open."""
    with other_process(_open, dict(environ)) as executor:
        try:
            yield Elsewhere(executor)
        finally:
            executor.submit(_close).result()


# what is done in the second process

_routers: list[Any] = []


def _open(environ: dict[str, str]) -> None:
    router: Any = ReplicaRouter.from_env(environ)
    _routers.append(router.open())


def _read(sql: str, key: int, token: str) -> Any:
    return _routers[0].fetch(sql, key, after=token)[0]


def _close() -> None:
    while _routers:
        _routers.pop().close()
