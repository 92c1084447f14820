"""Connections begun before asyncssh is there: taken once, or closed."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_client import SSHAddress
from runpod_ssh import Credentials, HostKeyVerifier, Route, SSHUnreachableError, connect
from runpod_ssh.head_starts import HeadStart
from runpod_ssh.quick_start import may_detour
from runpod_ssh.settings import SSHSettings
from support.sshd import Sshd


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def address_of(listener: socket.socket) -> SSHAddress:
    host, port = listener.getsockname()
    return SSHAddress(host=host, port=port)


def test_connection_is_taken_once_and_by_its_address_only(
    listener: socket.socket,
) -> None:
    address = address_of(listener)
    begun = HeadStart(address)

    elsewhere = begun.take(replace(address, port=address.port ^ 1))
    taken = begun.take(replace(address, user="someone"))
    again = begun.take(address)

    assert (elsewhere, again) == (None, None)
    assert taken is not None
    with taken:
        assert taken.getpeername() == listener.getsockname()


def test_closing_hangs_up_what_nobody_took(listener: socket.socket) -> None:
    begun = HeadStart(address_of(listener))
    there, _ = listener.accept()

    begun.close()

    with there:
        there.settimeout(10)
        assert there.recv(1) == b""
    assert begun.take(address_of(listener)) is None


def test_name_is_not_looked_up_ahead() -> None:
    assert (
        HeadStart(SSHAddress(host="localhost", port=22)).take(
            SSHAddress(host="localhost", port=22)
        )
        is None
    )


async def test_command_runs_over_the_connection_that_was_begun(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    begun = HeadStart(sshd.address)

    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
        route=Route(head_start=begun),
    ) as connection:
        result = await connection.run("echo ok")

    assert result.stdout == b"ok\n"
    assert begun.take(sshd.address) is None


async def test_connection_that_was_refused_is_told_as_ever(
    listener: socket.socket, host_keys: HostKeyVerifier, sshd: Sshd
) -> None:
    address = address_of(listener)
    listener.close()
    begun = HeadStart(address)

    with pytest.raises(SSHUnreachableError, match="refused"):
        async with connect(
            address,
            host_keys=host_keys,
            credentials=Credentials(identity_file=sshd.identity_file),
            route=Route(head_start=begun),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "jump", "expected"),
    [
        ("Host gate\n  ProxyJump other\n", "", True),
        ("Host pod\n\tHostName elsewhere\n", "", True),
        ("Include config.d/*\n", "", True),
        ("Host *\n  User me\n# proxyjump\n", "", False),
        ("", "gate", True),
        ("", "", False),
    ],
)
def test_nothing_is_begun_where_the_way_may_be_another(
    tmp_path: Path, text: str, jump: str, *, expected: bool
) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    assert may_detour(SSHSettings(ssh_config=str(path), jump=jump)) is expected
