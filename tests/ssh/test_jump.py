"""Pods behind jump hosts and programs, as the user's own ssh would reach them."""

import asyncio
import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_client import ConfigError, SSHAddress
from runpod_ssh import (
    Bounds,
    Credentials,
    HostKeyError,
    HostKeyVerifier,
    Route,
    SSHAuthenticationError,
    SSHError,
    SSHUnreachableError,
    connect,
)
from runpod_ssh.routes import Hop, parse_jump
from support.ssh_faults import black_hole, silent_server, ssh_server, tar_pit_server
from support.sshd import (
    Sshd,
    SshdFactory,
    find_program,
    free_port,
    make_key,
    parents_by_pid,
)

BOUND_SECONDS = 0.5
SLACK_SECONDS = 0.5


@pytest.fixture
def bastion(
    sshd_factory: SshdFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Sshd:
    """A jump host the user knows, with the user's own key."""
    server = sshd_factory()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    folder = tmp_path / "user" / ".ssh"
    folder.mkdir(parents=True)
    shutil.copy(server.identity_file, folder / "id_ed25519")
    know(folder, server)
    return server


def know(folder: Path, server: Sshd, *, key_of: Sshd | None = None) -> None:
    words = ((key_of or server).folder / "host_key.pub").read_text().split()[:2]
    with (folder / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{server.port} {' '.join(words)}\n")


async def echo_through(
    pod: Sshd, host_keys: HostKeyVerifier, route: Route, bounds: Bounds | None = None
) -> bytes:
    async with connect(
        pod.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=pod.identity_file),
        route=route,
        bounds=bounds,
    ) as connection:
        return (await connection.run("echo $SSH_CONNECTION", timeout=30)).stdout


def connections_of(server: Sshd) -> int:
    return server.log_text.count("Accepted publickey")


def jump_to(server: Sshd) -> str:
    return f"root@127.0.0.1:{server.port}"


async def test_pod_is_reached_through_a_jump_host(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier
) -> None:
    said = await echo_through(sshd, host_keys, Route(jump=jump_to(bastion)))

    assert said.split()[0] == b"127.0.0.1"
    assert (connections_of(bastion), connections_of(sshd)) == (1, 1)


async def test_pod_is_reached_through_two_jump_hosts_in_a_row(
    sshd: Sshd,
    bastion: Sshd,
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    tmp_path: Path,
) -> None:
    second = sshd_factory()
    shutil.copy(bastion.folder / "authorized_keys", second.folder / "authorized_keys")
    know(tmp_path / "user" / ".ssh", second)

    await echo_through(
        sshd, host_keys, Route(jump=f"{jump_to(bastion)},{jump_to(second)}")
    )

    assert [connections_of(s) for s in (bastion, second, sshd)] == [1, 1, 1]


async def test_jump_host_that_is_not_known_is_refused_with_the_fix(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    (tmp_path / "user" / ".ssh" / "known_hosts").unlink()

    with pytest.raises(HostKeyError, match="not in your known_hosts") as caught:
        await echo_through(sshd, host_keys, Route(jump=jump_to(bastion)))

    assert caught.value.offered_fingerprint == bastion.fingerprint
    assert f"ssh-keyscan -p {bastion.port} 127.0.0.1" in caught.value.hint
    assert connections_of(bastion) == 0


async def test_jump_host_whose_key_changed_is_refused_with_the_fix(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    folder = tmp_path / "user" / ".ssh"
    (folder / "known_hosts").unlink()
    know(folder, bastion, key_of=sshd)

    with pytest.raises(HostKeyError, match="another") as caught:
        await echo_through(sshd, host_keys, Route(jump=jump_to(bastion)))

    assert caught.value.expected_fingerprint == sshd.fingerprint
    assert "ssh-keygen -R" in caught.value.hint


async def test_jump_host_that_refuses_the_users_keys_is_named(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    key = tmp_path / "user" / ".ssh" / "id_ed25519"
    make_key(key, bastion.environ)

    with pytest.raises(SSHAuthenticationError, match="jump host") as caught:
        await echo_through(sshd, host_keys, Route(jump=jump_to(bastion)))

    assert caught.value.address == replace(bastion.address, user="root")
    assert f"ssh -p {bastion.port} root@127.0.0.1" in caught.value.hint


async def test_pod_the_jump_host_cannot_reach_is_told_so(
    bastion: Sshd, host_keys: HostKeyVerifier
) -> None:
    nowhere = SSHAddress(host="127.0.0.1", port=free_port())

    with pytest.raises(SSHUnreachableError, match="cannot reach"):
        async with connect(
            nowhere, host_keys=host_keys, route=Route(jump=jump_to(bastion))
        ):
            pass


@pytest.mark.parametrize(
    ("server", "phase"),
    [(silent_server, "sshd's greeting"), (tar_pit_server, "the key exchange")],
)
async def test_every_phase_behind_a_jump_host_keeps_its_bound(
    bastion: Sshd, host_keys: HostKeyVerifier, server: object, phase: str
) -> None:
    assert callable(server)
    bounds = Bounds(banner_seconds=BOUND_SECONDS, key_exchange_seconds=BOUND_SECONDS)
    async with server() as address:
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError, match=phase):
            async with connect(
                address,
                host_keys=host_keys,
                route=Route(jump=jump_to(bastion)),
                bounds=bounds,
            ):
                pass

    # the way to the jump host comes on top
    assert time.monotonic() - began < BOUND_SECONDS + SLACK_SECONDS + 0.5


async def test_login_held_behind_a_jump_host_keeps_its_bound(
    bastion: Sshd, host_keys: HostKeyVerifier
) -> None:
    bounds = Bounds(authentication_seconds=BOUND_SECONDS)
    async with ssh_server(holds_login=True) as address:
        with pytest.raises(SSHUnreachableError, match="the authentication"):
            async with connect(
                address,
                host_keys=host_keys,
                route=Route(jump=jump_to(bastion)),
                bounds=bounds,
            ):
                pass


@pytest.mark.parametrize(
    ("server", "phase"),
    [(silent_server, "sshd's greeting"), (tar_pit_server, "the key exchange")],
)
async def test_jump_host_that_never_gets_on_keeps_its_bound(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, server: object, phase: str
) -> None:
    del bastion
    assert callable(server)
    bounds = Bounds(banner_seconds=BOUND_SECONDS, key_exchange_seconds=BOUND_SECONDS)
    async with server() as address:
        route = Route(jump=f"root@{address.host}:{address.port}")
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError, match=f"jump host: {phase}"):
            await echo_through(sshd, host_keys, route, bounds)

    assert time.monotonic() - began < BOUND_SECONDS + SLACK_SECONDS


async def test_jump_host_in_a_black_hole_keeps_its_bound(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier
) -> None:
    del bastion
    with black_hole() as address:
        route = Route(jump=f"root@{address.host}:{address.port}")
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError, match="jump host: the TCP connection"):
            await echo_through(
                sshd, host_keys, route, Bounds(tcp_seconds=BOUND_SECONDS)
            )

    assert time.monotonic() - began < BOUND_SECONDS + SLACK_SECONDS


async def test_all_connections_of_a_route_end_with_it(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
        route=Route(jump=jump_to(bastion)),
    ) as connection:
        bastion.stop()

        await asyncio.wait_for(connection.wait_closed(), 5)

    assert connection.is_closed


def configured(tmp_path: Path, text: str) -> Route:
    path = tmp_path / "ssh_config"
    path.write_text(text)
    return Route(ssh_config=(path,))


async def test_proxy_jump_of_the_users_config_is_honoured(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    key = tmp_path / "user" / ".ssh" / "id_ed25519"
    elsewhere = key.rename(tmp_path / "elsewhere")
    route = configured(
        tmp_path,
        "Host 127.0.0.*\n  ProxyJump gate\n  User nobody\n  Port 1\n"
        f"Host gate\n  HostName 127.0.0.1\n  Port {bastion.port}\n  User root\n"
        f"  IdentityFile {elsewhere}\n"
        # neither is ours to take over
        "Host *\n  ForwardAgent yes\n  SetEnv STOLEN=1\n  RequestTTY force\n"
        "  RemoteCommand false\n  UserKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking no\n",
    )

    await echo_through(sshd, host_keys, route)

    assert (connections_of(bastion), connections_of(sshd)) == (1, 1)


async def test_config_cannot_make_a_jump_hosts_key_matter_less(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    (tmp_path / "user" / ".ssh" / "known_hosts").unlink()
    route = configured(
        tmp_path,
        f"Host *\n  ProxyJump {jump_to(bastion)}\n  StrictHostKeyChecking no\n"
        "  UserKnownHostsFile none\n",
    )

    with pytest.raises(HostKeyError):
        await echo_through(sshd, host_keys, route)


async def test_named_jump_host_goes_before_the_users_config(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(
        tmp_path,
        f"Host gate\n  HostName 127.0.0.1\n  Port {bastion.port}\n  User root\n"
        "Host 127.0.0.1\n  ProxyCommand false\n",
    )

    await echo_through(sshd, host_keys, replace(route, jump="gate"))

    assert connections_of(bastion) == 1


async def test_pattern_that_sends_a_jump_host_through_itself_is_passed_over(
    sshd: Sshd, bastion: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(
        tmp_path,
        f"Host gate\n  HostName 127.0.0.1\n  Port {bastion.port}\n  User root\n"
        "Host *\n  ProxyJump gate\n",
    )

    await echo_through(sshd, host_keys, route)

    assert connections_of(bastion) == 1


async def test_proxy_command_carries_the_connection_and_ends_with_it(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    program = tmp_path / "carry"
    program.write_text(
        "import socket, sys, threading, os\n"
        "far = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "def back():\n"
        "    while data := far.recv(65536): os.write(1, data)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=back).start()\n"
        "while data := os.read(0, 65536): far.sendall(data)\n"
        "os._exit(0)\n"
    )
    python = find_program("python3")
    route = configured(tmp_path, f"Host *\n  ProxyCommand {python} {program} %p\n")

    said = await echo_through(sshd, host_keys, route)

    assert f" {sshd.port}".encode() in said
    assert processes_of(program) == []


def processes_of(program: Path) -> list[int]:
    found = []
    for pid in parents_by_pid():
        with contextlib.suppress(OSError):
            if str(program) in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


async def test_proxy_command_that_cannot_be_started_is_named(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(tmp_path, "Host *\n  ProxyCommand /no/such/program\n")

    with pytest.raises(SSHUnreachableError, match="/no/such/program"):
        await echo_through(sshd, host_keys, route)


async def test_proxy_command_that_ends_at_once_is_a_failure(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(tmp_path, "Host *\n  ProxyCommand true\n")

    with pytest.raises(SSHUnreachableError, match="closed the connection"):
        await echo_through(sshd, host_keys, route)


async def test_config_that_cannot_be_understood_is_named(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(tmp_path, "Host *\n  Port many\n")

    with pytest.raises(ConfigError, match="ssh_config") as caught:
        await echo_through(sshd, host_keys, route)

    assert "RUNPOD_SSH_CONFIG=none" in caught.value.hint


async def test_connect_timeout_of_the_config_bounds_the_way_there(
    host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    route = configured(tmp_path, "Host *\n  ConnectTimeout 1\n")
    async with silent_server() as address:
        began = time.monotonic()

        with pytest.raises(SSHError, match="took longer than 1 s"):
            async with connect(address, host_keys=host_keys, route=route):
                pass

    assert time.monotonic() - began < 1.0 + SLACK_SECONDS


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        ("", ()),
        ("gate", (Hop(host="gate"),)),
        ("me@gate:2222", (Hop(host="gate", port=2222, user="me"),)),
        ("a, b@c:22", (Hop(host="a"), Hop(host="c", port=22, user="b"))),
        ("[fe80::1]:2200", (Hop(host="fe80::1", port=2200),)),
        ("me@[::1]", (Hop(host="::1", user="me"),)),
        ("::1", (Hop(host="::1"),)),
        ("a@corp@gate", (Hop(host="gate", user="a@corp"),)),
    ],
)
def test_jump_hosts_are_read_as_ssh_reads_them(
    text: str, hops: tuple[Hop, ...]
) -> None:
    assert parse_jump(text) == hops


@pytest.mark.parametrize("text", ["gate:ssh", "@", "me@", "-oProxyCommand=x", ":22"])
def test_what_is_no_jump_host_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no jump host"):
        parse_jump(text)
