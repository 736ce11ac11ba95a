"""What is wrong with a way before anybody is reached."""

from __future__ import annotations

import pytest

from pgfleet.provision.selfhosted.places import Login
from pgfleet.provision.selfhosted.shell import Unreachable
from pgfleet.provision.selfhosted.ssh import open_ssh


@pytest.mark.parametrize(
    ("login", "told", "hint"),
    [
        (
            Login("10.0.0.2", host_key="ssh-ed25519 AAAA", ssh_key="/nowhere/id"),
            "ssh_key /nowhere/id cannot be read (No such file or directory)",
            "a private key",
        ),
        (
            Login("10.0.0.2", 2222, known_hosts="/nowhere/hosts"),
            "there is no /nowhere/hosts",
            "ssh-keyscan -p 2222 10.0.0.2 >> /nowhere/hosts",
        ),
    ],
)
async def test_a_file_that_is_not_there_is_named(login: Login, told: str, hint: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await open_ssh(login)
    assert told in caught.value.message
    assert hint in caught.value.hint
