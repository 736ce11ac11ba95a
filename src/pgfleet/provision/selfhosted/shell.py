"""How commands run on a host: the one thing that is asked of it. Here, or by SSH."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pgfleet.errors import ProvisionError

OnLine = Callable[[str], None]
COMMAND_TIMEOUT_S = 60.0


class Unreachable(ProvisionError):
    """Nobody answers at a host, or the connection to it was lost."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended. A signal's end is a code below 0."""

    code: int
    out: str = field(repr=False)  # a passfile's text may be in it
    err: str

    @property
    def last_words(self) -> str:
        """The end of what it said, errors first."""
        lines = [line for line in (self.err.strip() or self.out.strip()).splitlines() if line.strip()]
        return "\n".join(lines[-4:])


class Shell(Protocol):
    """Runs commands on one host, in `/`, several at a time."""

    async def run(self, argv: Sequence[str], stdin: str, on_line: OnLine | None) -> Result:
        """Run one to its end. `on_line` takes each line of its error output. Raises Unreachable."""

    @property
    def is_closed(self) -> bool:
        """Whether the way there is gone."""

    async def close(self) -> None:
        """Give up the way there."""


class HereShell:
    """This host."""

    is_closed = False

    async def run(self, argv: Sequence[str], stdin: str, on_line: OnLine | None) -> Result:
        """See Shell."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:  # not there, or no program
            return Result(127, "", str(error))
        try:
            out, err, _ = await asyncio.gather(
                _lines(process.stdout, None), _lines(process.stderr, on_line), _feed(process.stdin, stdin)
            )
            return Result(await process.wait(), out, err)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def close(self) -> None:
        """Nothing is held."""


def _environment() -> dict[str, str]:
    """The caller's without what steers libpq, and with messages that we can read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


async def _lines(stream: asyncio.StreamReader | None, on_line: OnLine | None) -> str:
    assert stream is not None
    if on_line is None:
        return (await stream.read()).decode(errors="replace")
    said = []
    async for line in stream:
        said.append(line.decode(errors="replace"))
        on_line(said[-1].rstrip())
    return "".join(said)


async def _feed(stream: asyncio.StreamWriter | None, text: str) -> None:
    assert stream is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended without reading
        stream.write(text.encode())
        await stream.drain()
    stream.close()


def command_line(argv: Sequence[str]) -> str:
    """The same for a shell, in `/`: PostgreSQL's programs complain of a directory that they cannot enter."""
    return f"cd / && exec env LC_ALL=C {shlex.join(argv)}"
