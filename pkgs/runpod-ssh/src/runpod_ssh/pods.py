"""Connecting to a pod as the fleet knows it: its address, its key, its pin."""

from contextlib import AbstractAsyncContextManager

from runpod_ssh.connection import Connection, connect
from runpod_ssh.host_keys import HostKeyStore, HostKeyVerifier, start_of
from runpod_ssh.model import Bounds, HostKeyPolicy, PodTarget


def connect_pod(
    target: PodTarget,
    *,
    host_keys: HostKeyStore,
    policy: HostKeyPolicy = HostKeyPolicy.TRUST_ON_FIRST_USE,
    bounds: Bounds | None = None,
) -> AbstractAsyncContextManager[Connection]:
    """Connect to a resolved pod; raises like `connect`.

    Args:
        host_keys: `HostKeyStore(state_dir / "host_keys")`, the same for all tools.
    """
    verifier = HostKeyVerifier(
        host_keys,
        pod_id=target.pod.pod_id,
        start=start_of(target.pod, target.address),
        policy=policy,
    )
    return connect(
        target.address,
        host_keys=verifier,
        identity_file=target.identity_file,
        bounds=bounds,
    )
