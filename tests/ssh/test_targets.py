"""A pod's name becomes an address, or a sentence that says what to do."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import (
    Identity,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
    SSHAddress,
)
from runpod_ssh import (
    NotDirectError,
    Route,
    SSHUnreachableError,
    resolve_target,
    start_of,
)
from runpod_ssh.targets import resolve_shell_target

PORT = PortMapping(
    private_port=22,
    public_port=10022,
    ip="203.0.113.5",
    is_public=True,
    protocol=Protocol.TCP,
)
POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="runpod/base",
    price_usd_per_hour=Decimal("0.49"),
    ports=(PORT,),
)
IDENTITY = Identity(private_key_file=Path("/keys/pod1"), public_key="ssh-ed25519 x")


@dataclass(frozen=True)
class OnePod:
    """Knows one pod, and perhaps its key."""

    pod: Pod
    identity: Identity | None = IDENTITY

    def resolve_pod(self, id_or_name: str, /) -> Pod:
        assert id_or_name == "train"
        return self.pod

    def identity_for(self, pod: Pod, /) -> Identity | None:
        assert pod is self.pod
        return self.identity


def test_running_pod_becomes_its_address_and_its_own_key() -> None:
    target = resolve_target(OnePod(POD), "train")

    assert target.address == SSHAddress(host="203.0.113.5", port=10022)
    assert target.identity_file == IDENTITY.private_key_file


def test_named_key_takes_the_place_of_the_pods_own() -> None:
    target = resolve_target(OnePod(POD), "train", identity_file=Path("/other"))

    assert target.identity_file == Path("/other")
    assert target.identity == IDENTITY


def test_pod_of_others_is_met_with_the_users_own_keys() -> None:
    assert resolve_target(OnePod(POD, None), "train").identity_file is None


def test_login_name_takes_the_place_of_root() -> None:
    target = resolve_target(OnePod(POD), "train", user="worker")

    assert target.address.user == "worker"


def test_way_to_the_pod_is_kept() -> None:
    route = Route(jump="gate")

    assert resolve_target(OnePod(POD), "train", route=route).route == route


def test_passphrase_of_the_pods_own_key_comes_with_it() -> None:
    def read() -> str:
        return "secret"

    pod_key = replace(IDENTITY, read_passphrase=read)

    own = resolve_target(OnePod(POD, pod_key), "train").credentials
    named = resolve_target(
        OnePod(POD, pod_key), "train", identity_file=Path("/other")
    ).credentials

    assert own.read_passphrase is read
    assert named.read_passphrase is not read


def test_shell_of_a_pod_with_a_port_goes_straight_there() -> None:
    pod = replace(POD, proxy_user="pod1-abc")

    target = resolve_shell_target(
        OnePod(pod), "train", proxy=SSHAddress(host="ssh.runpod.io", port=22)
    )

    assert not target.is_proxied
    assert target.address == SSHAddress(host="203.0.113.5", port=10022)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (PodStatus.STARTING, "runpod-client pods wait pod1"),
        (PodStatus.STOPPED, "runpod-client pods start pod1"),
        (PodStatus.TERMINATED, "runpod-client pods list"),
        (PodStatus.UNKNOWN, "runpod-client pods show pod1"),
    ],
)
def test_pod_that_does_not_run_is_named_with_what_to_do(
    status: PodStatus, advice: str
) -> None:
    pod = replace(POD, status=status, status_reason="as RunPod says")

    with pytest.raises(SSHUnreachableError) as caught:
        resolve_target(OnePod(pod), "train")

    assert (
        f"pod train (pod1) is {status} (as RunPod says), not RUNNING"
        == caught.value.message
    )
    assert advice in caught.value.hint


def test_pod_without_a_public_ssh_port_is_not_direct() -> None:
    pod = replace(POD, ports=(), proxy_user="pod1-abc")

    with pytest.raises(NotDirectError) as caught:
        resolve_target(OnePod(pod), "train")

    assert "22/tcp" in caught.value.hint
    assert "runpod-ssh shell pod1" in caught.value.hint


def test_start_is_told_by_its_time_else_by_the_address() -> None:
    address = SSHAddress(host="203.0.113.5", port=10022)
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert start_of(POD, address) == "203.0.113.5:10022"
    assert (
        start_of(replace(POD, started_at=started), address)
        == "2026-01-02T03:04:05+00:00"
    )
