"""Commands by SSH. A host's key is known beforehand or it is refused; nobody is asked for a password."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh

from pgfleet.provision.selfhosted.places import SSH_PORT, Login
from pgfleet.provision.selfhosted.shell import OnLine, Result, Unreachable, command_line

CONNECT_TIMEOUT_S = 10.0
ALIVE_EVERY_S = 5.0
ALIVE_MISSES = 3
"""A host that is silent for so many of these counts as lost."""
MOST_SESSIONS = 8
"""At a time in one connection: sshd's own limit is 10."""


class SshShell:
    """One connection."""

    def __init__(self, login: Login, connection: asyncssh.SSHClientConnection) -> None:
        self._login = login
        self._connection = connection
        self._sessions = asyncio.Semaphore(MOST_SESSIONS)

    async def run(self, argv: Sequence[str], stdin: str, on_line: OnLine | None) -> Result:
        """See Shell."""
        async with self._sessions:
            try:
                return await self._run(command_line(argv), stdin, on_line)
            except (OSError, asyncssh.Error) as error:
                raise self._lost(str(error)) from error

    async def _run(self, command: str, stdin: str, on_line: OnLine | None) -> Result:
        async with self._connection.create_process(command, errors="replace") as process:
            with contextlib.suppress(BrokenPipeError):  # it ended without reading
                process.stdin.write(stdin)
                process.stdin.write_eof()
            out, err = await asyncio.gather(_read(process.stdout, None), _read(process.stderr, on_line))
            await process.wait_closed()
        if process.exit_status is not None and process.exit_status >= 0:
            return Result(process.exit_status, out, err)
        if process.exit_signal:
            return Result(-1, out, err or f"ended by SIG{process.exit_signal[0]}")
        raise self._lost("the connection closed")

    def _lost(self, why: str) -> Unreachable:
        return Unreachable(
            f"the connection to {self._login} was lost ({why})",
            "see to the network and to sshd, and apply again",
        )

    @property
    def is_closed(self) -> bool:
        """See Shell."""
        return self._connection.is_closed()

    async def close(self) -> None:
        """See Shell."""
        self._connection.close()
        await self._connection.wait_closed()


async def _read(stream: Any, on_line: OnLine | None) -> str:
    if on_line is None:
        return str(await stream.read())
    said = []
    async for line in stream:
        said.append(line)
        on_line(line.rstrip())
    return "".join(said)


async def open_ssh(login: Login) -> SshShell:
    """Connect. Raises Unreachable, which says what is wrong with the way, the host's key or ours."""
    try:
        connection = await asyncssh.connect(login.host, **_options(login))
    except asyncssh.HostKeyNotVerifiable as error:
        raise Unreachable(
            f"its host key is not the one that is known, so nothing was sent ({error})",
            f"compare its fingerprint on its console; if it is right: {_to_know(login)}",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise Unreachable(
            f"SSH takes none of our keys for {login.ssh_user or 'this user'} ({error})",
            "write ssh_user and ssh_key, or put the public key into ~/.ssh/authorized_keys there",
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise Unreachable(
            f"{login.ssh_key or 'a private key'} cannot be used ({error})",
            "name another as ssh_key; one with a passphrase: ssh-add it, and leave ssh_key out",
        ) from error
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise Unreachable(
            f"port {login.ssh_port} cannot be reached by SSH ({error or type(error).__name__})",
            "see to the host, its sshd and the firewall; then try: ssh "
            f"-p {login.ssh_port} {f'{login.ssh_user}@' if login.ssh_user else ''}{login.host} true",
        ) from error
    return SshShell(login, connection)


def _options(login: Login) -> dict[str, Any]:
    options: dict[str, Any] = {
        "known_hosts": _known_hosts(login),
        "preferred_auth": ("publickey",),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "login_timeout": CONNECT_TIMEOUT_S,
        "keepalive_interval": ALIVE_EVERY_S,
        "keepalive_count_max": ALIVE_MISSES,
    }
    if login.ssh_port != SSH_PORT:
        options["port"] = login.ssh_port  # else as ~/.ssh/config says
    if login.ssh_user:
        options["username"] = login.ssh_user
    if login.ssh_key:
        options |= {"client_keys": [_readable(login.ssh_key)], "agent_path": None}
    return options


def _readable(key: str) -> str:
    try:
        Path(key).open("rb").close()
    except OSError as error:
        raise Unreachable(
            f"ssh_key {key} cannot be read ({error.strerror})", "write the path of a private key here"
        ) from None
    return key


def _known_hosts(login: Login) -> Any:
    """Never None, which would take every host for the right one."""
    if login.host_key:
        return asyncssh.import_known_hosts(f"* {' '.join(login.host_key.split()[:2])}\n")
    path = _known_hosts_path(login)
    if not path.is_file():
        raise Unreachable(
            f"there is no {path}, so its host key cannot be checked",
            f"learn its fingerprint on its console; then: {_to_know(login)}",
        )
    return str(path)


def _known_hosts_path(login: Login) -> Path:
    return Path(login.known_hosts or "~/.ssh/known_hosts").expanduser()


def _to_know(login: Login) -> str:
    """How its key becomes known where it is looked for."""
    if login.host_key:
        return "write it as host_key"
    keyscan = f"ssh-keyscan -p {login.ssh_port} {login.host} >> {_known_hosts_path(login)}"
    return f"{keyscan}, or write it as host_key"
