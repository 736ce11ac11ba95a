"""One host, and the two users that commands run as there: the one who owns the servers, and root."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pgfleet.errors import ProvisionError
from pgfleet.provision.selfhosted.places import Login, Place
from pgfleet.provision.selfhosted.shell import (
    COMMAND_TIMEOUT_S,
    HereShell,
    OnLine,
    Result,
    Shell,
    Unreachable,
)

_IDENTITY = """
id -un; id -u
for user in "$1" root; do
    if sudo -n -u "$user" true 2>/dev/null; then echo yes; else echo no; fi
done
id -u "$1" >/dev/null 2>&1 && echo yes || echo no
command -v runuser || echo
"""


@dataclass(frozen=True, slots=True)
class Ways:
    """What is put before a command so that it runs as somebody; None: there is no way."""

    owner: tuple[str, ...] | None
    root: tuple[str, ...] | None
    why_not: str = ""
    hint: str = ""


def ways(said: str, login: Login, os_user: str) -> Ways:
    """What `_IDENTITY` printed, judged."""
    name, uid, sudo_owner, sudo_root, exists, runuser = [*said.splitlines(), "", "", "", "", "", ""][:6]
    is_root = uid == "0"
    root = () if is_root else ("sudo", "-n") if sudo_root == "yes" else None
    if exists != "yes":
        return Ways(None, root, f"has no user {os_user}", "name the one who runs PostgreSQL there: os_user")
    if name == os_user:
        return Ways((), root)
    if is_root and runuser:
        return Ways((runuser, "-u", os_user, "--"), root)
    if sudo_owner == "yes":
        return Ways(("sudo", "-n", "-u", os_user), root)
    return Ways(
        None,
        root,
        f"lets {name} not become {os_user}: `sudo -n -u {os_user}` is refused, or there is no sudo",
        f"log in there as root or {os_user} (ssh_user), or allow {name} sudo without a password",
    )


class Host:
    """A host, as one of its servers sees it. Every failure is a ProvisionError that names the server."""

    def __init__(self, place: Place, shell: Shell, found: Ways) -> None:
        self.place = place
        self._shell = shell
        self._ways = found

    @property
    def has_root(self) -> bool:
        """Whether commands can run as root."""
        return self._ways.root is not None

    async def try_owner(
        self,
        *argv: str,
        stdin: str = "",
        on_line: OnLine | None = None,
        timeout_s: float | None = COMMAND_TIMEOUT_S,
    ) -> Result:
        """Run a command as the servers' user, and tell how it ended."""
        assert self._ways.owner is not None
        return await self._run((*self._ways.owner, *argv), stdin, on_line, timeout_s)

    async def owner(
        self, *argv: str, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S, title: str = ""
    ) -> str:
        """Run a command that must succeed; its output. `title` names it in an error."""
        result = await self.try_owner(*argv, stdin=stdin, timeout_s=timeout_s)
        return self.checked(title or shown(argv), result)

    async def root(self, *argv: str, timeout_s: float = COMMAND_TIMEOUT_S, title: str = "") -> str:
        """The same as root, or as the servers' user where nobody can become root."""
        before = self._ways.owner if self._ways.root is None else self._ways.root
        assert before is not None
        return self.checked(title or shown(argv), await self._run((*before, *argv), "", None, timeout_s))

    async def script(self, script: str, *args: str, stdin: str = "") -> str:
        """Run lines of sh as the servers' user; what they print."""
        return await self.owner("sh", "-c", script, "sh", *args, stdin=stdin)

    async def write(self, path: str, text: str) -> None:
        """Write a file of the servers' user: whole or not at all, with the mode that it had; 600 if it is new."""
        await self.script(_WRITE, path, "keep", stdin=text)

    async def write_secret(self, path: str, text: str) -> None:
        """The same for nobody else to read, whatever was there."""
        await self.script(_WRITE, path, "secret", stdin=text)

    async def read(self, path: str) -> str:
        """A file's text; empty when there is none."""
        return await self.script('if [ -e "$1" ]; then cat "$1"; fi', path)

    async def _run(
        self, argv: Sequence[str], stdin: str, on_line: OnLine | None, timeout_s: float | None
    ) -> Result:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._shell.run(argv, stdin, on_line)
        except TimeoutError:
            raise ProvisionError(
                f"{self.place}: {shown(argv)} did not end within {timeout_s:g} s",
                "see what keeps it busy there, and apply again",
            ) from None

    def checked(self, title: str, result: Result, hint: str = "") -> str:
        """Its output. Raises ProvisionError when it failed."""
        if result.code:
            raise ProvisionError(
                f"{self.place}: {title} failed ({result.code}): {result.last_words}".strip(), hint
            )
        return result.out


def shown(argv: Sequence[str]) -> str:
    """A command's name, for a message: of a script of ours that is no use."""
    name = argv[0].rpartition("/")[2]
    return "a script" if name == "sh" else " ".join((name, *argv[1:2])) if len(argv) > 1 else name


_WRITE = """
set -e
umask 077
mkdir -p "$(dirname "$1")"
file=$1
if [ -L "$file" ]; then file=$(readlink -f "$file"); fi
if [ -w "$(dirname "$file")" ]; then
    rm -f "$file.new"
    if [ -e "$file" ] && [ "$2" = keep ]; then cp -p "$file" "$file.new"; fi
    cat > "$file.new"
    mv -f "$file.new" "$file"
else
    cat > "$file"
fi
"""


class Hosts:
    """The hosts of a fleet, each reached once."""

    def __init__(self) -> None:
        self._shells: dict[Login, Shell] = {}
        self._ways: dict[tuple[Login, str], Ways] = {}
        self._locks: dict[Login, asyncio.Lock] = {}

    async def of(self, place: Place) -> Host:
        """The host of a server. Raises Unreachable, or ProvisionError when nobody can become its user."""
        try:
            async with (
                self._locks.setdefault(place.login, asyncio.Lock()),
                asyncio.timeout(COMMAND_TIMEOUT_S),
            ):
                shell, found = await self._reach(place)
        except Unreachable as error:
            raise Unreachable(f"{place}: {error.message}", error.hint) from error
        except TimeoutError:
            raise Unreachable(f"{place}: it answers too slowly", "see what keeps it busy") from None
        if found.owner is None:
            raise ProvisionError(f"{place}: {place.login} {found.why_not}", found.hint)
        return Host(place, shell, found)

    async def _reach(self, place: Place) -> tuple[Shell, Ways]:
        shell = await self._shell(place.login)
        key = place.login, place.os_user
        if key not in self._ways:
            told = await shell.run(("sh", "-c", _IDENTITY, "sh", place.os_user), "", None)
            self._ways[key] = ways(told.out, place.login, place.os_user)
        return shell, self._ways[key]

    async def _shell(self, login: Login) -> Shell:
        shell = self._shells.get(login)
        if shell is None or shell.is_closed:
            shell = self._shells[login] = await _open(login)
        return shell

    async def close(self) -> None:
        """Give up every way."""
        shells, self._shells = list(self._shells.values()), {}
        for shell in shells:
            await shell.close()


async def _open(login: Login) -> Shell:
    if not login.host:
        return HereShell()
    from pgfleet.provision.selfhosted.ssh import open_ssh

    return await open_ssh(login)
