"""Pods without an SSH port: a shell through RunPod's proxy, and a plain no to the rest."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import asyncssh
import pytest

from runpod_client import ConfigError, Identity, Pod, PodStatus, SSHAddress
from runpod_ssh import (
    HostKey,
    HostKeyError,
    HostKeyPolicy,
    HostKeyStore,
    NotDirectError,
    SSHAuthenticationError,
    connect_pod,
    resolve_target,
)
from runpod_ssh.targets import parse_proxy, resolve_shell_target
from support.ssh_faults import runpod_proxy
from support.sshd import Sshd, make_key

POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="runpod/base",
    price_usd_per_hour=Decimal("0.49"),
    proxy_user="pod1-64410b2f",
)
IDENTITY = Identity(private_key_file=Path("/keys/pod1"), public_key="ssh-ed25519 x")


@dataclass(frozen=True)
class OnePod:
    """Knows one pod and its key."""

    pod: Pod

    def resolve_pod(self, id_or_name: str, /) -> Pod:
        assert id_or_name == "train"
        return self.pod

    def identity_for(self, pod: Pod, /) -> Identity | None:
        assert pod is self.pod
        return IDENTITY


class Screen:
    """A terminal of 100 by 30 at which one word is typed."""

    kind = "xterm-256color"

    def __init__(self) -> None:
        self.shown = b""

    def size(self) -> tuple[int, int]:
        return 100, 30

    async def keys(self) -> AsyncIterator[bytes]:
        yield b"hello"

    async def show(self, chunk: bytes) -> None:
        self.shown += chunk

    @contextlib.contextmanager
    def on_resize(self, callback: Callable[[], None]) -> Iterator[None]:
        del callback
        yield


async def test_shell_goes_through_the_proxy_where_the_pod_has_no_port(
    sshd: Sshd, store: HostKeyStore
) -> None:
    screen = Screen()
    async with runpod_proxy(sshd.folder / "authorized_keys") as proxy:
        target = resolve_shell_target(
            OnePod(POD), "train", identity_file=sshd.identity_file, proxy=proxy
        )
        async with connect_pod(target, host_keys=store) as connection:
            result = await connection.shell(screen)

    assert target.is_proxied
    assert target.address == replace(proxy, user="pod1-64410b2f")
    assert result.exit_status == 3
    assert screen.shown == b"xterm-256color 100x30\r\ntyped hello"


async def test_proxy_is_known_by_itself_and_not_by_the_pod(
    sshd: Sshd, store: HostKeyStore
) -> None:
    keys = sshd.folder / "authorized_keys"
    async with runpod_proxy(keys) as proxy:
        for pod in (POD, replace(POD, pod_id="pod2", proxy_user="pod2-x")):
            target = resolve_shell_target(
                OnePod(pod), "train", identity_file=sshd.identity_file, proxy=proxy
            )
            async with connect_pod(target, host_keys=store) as connection:
                pinned = connection.host_key

    known_as = f"127.0.0.1-{proxy.port}"
    pin = store.find(known_as)
    assert pin is not None
    assert pin.host_key == pinned
    assert store.find("pod1") is None


async def test_proxy_with_another_key_is_refused(
    sshd: Sshd, store: HostKeyStore
) -> None:
    keys = sshd.folder / "authorized_keys"
    async with runpod_proxy(keys) as proxy:
        target = resolve_shell_target(
            OnePod(POD), "train", identity_file=sshd.identity_file, proxy=proxy
        )
        other = asyncssh.generate_private_key("ssh-ed25519")
        algorithm, blob = other.export_public_key().decode().split()[:2]
        pinned = HostKey(algorithm=algorithm, blob=blob)
        store.pin(f"127.0.0.1-{proxy.port}", "proxy", pinned)

        with pytest.raises(HostKeyError):
            async with connect_pod(
                target, host_keys=store, policy=HostKeyPolicy.TRUST_ON_FIRST_USE
            ):
                pass


async def test_key_that_the_account_does_not_have_is_refused_by_the_proxy(
    sshd: Sshd, store: HostKeyStore, tmp_path: Path
) -> None:
    make_key(tmp_path / "stranger", sshd.environ)
    async with runpod_proxy(sshd.folder / "authorized_keys") as proxy:
        target = resolve_shell_target(
            OnePod(POD), "train", identity_file=tmp_path / "stranger", proxy=proxy
        )
        with pytest.raises(SSHAuthenticationError) as caught:
            async with connect_pod(target, host_keys=store):
                pass

    assert "runpod-client keys add" in caught.value.hint


async def test_command_through_the_proxy_gets_its_refusal(
    sshd: Sshd, store: HostKeyStore
) -> None:
    async with runpod_proxy(sshd.folder / "authorized_keys") as proxy:
        target = resolve_shell_target(
            OnePod(POD), "train", identity_file=sshd.identity_file, proxy=proxy
        )
        async with connect_pod(target, host_keys=store) as connection:
            # what `exec` never lets come to this: it asks `resolve_target`
            result = await connection.run("true", timeout=10)

    assert b"doesn't support PTY" in result.stdout
    with pytest.raises(NotDirectError):
        resolve_target(OnePod(POD), "train")


def test_pods_own_key_is_not_offered_to_the_proxy() -> None:
    proxy = SSHAddress(host="ssh.runpod.io", port=22)

    target = resolve_shell_target(OnePod(POD), "train", proxy=proxy)

    assert target.address == SSHAddress(
        host="ssh.runpod.io", port=22, user="pod1-64410b2f"
    )
    assert target.credentials.identity_file is None


def test_pod_with_neither_way_in_is_told_what_to_change() -> None:
    proxy = SSHAddress(host="ssh.runpod.io", port=22)

    with pytest.raises(NotDirectError, match="exposes no SSH port"):
        resolve_shell_target(OnePod(replace(POD, proxy_user="")), "train", proxy=proxy)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("ssh.runpod.io", "ssh.runpod.io", 22), ("127.0.0.1:2222", "127.0.0.1", 2222)],
)
def test_proxy_is_a_host_and_perhaps_a_port(text: str, host: str, port: int) -> None:
    assert parse_proxy(text) == SSHAddress(host=host, port=port)


@pytest.mark.parametrize("text", ["", ":22", "host:ssh"])
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        parse_proxy(text)
