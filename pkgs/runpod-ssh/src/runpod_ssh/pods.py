"""Connecting to a pod as the fleet knows it: its address, its key, its pin."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from runpod_client import SSHAddress
from runpod_ssh.connection import Connection, connect
from runpod_ssh.errors import SSHAuthenticationError
from runpod_ssh.host_keys import HostKeyStore, HostKeyVerifier, start_of
from runpod_ssh.model import Bounds, HostKeyPolicy, PodTarget

_PROXY_KEYS = (
    "RunPod's proxy lets in the keys of your RunPod account: add yours with "
    "runpod-client keys add, or name another with --identity."
)


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
    known_as, start = target.pod.pod_id, start_of(target.pod, target.address)
    if target.is_proxied:
        # RunPod's proxy is one machine for all pods: its key outlives their starts
        known_as, start = proxy_id(target.address), "proxy"
    verifier = HostKeyVerifier(host_keys, pod_id=known_as, start=start, policy=policy)
    opening = connect(
        target.address,
        host_keys=verifier,
        credentials=target.credentials,
        route=target.route,
        bounds=bounds,
    )
    return _through_proxy(opening) if target.is_proxied else opening


@contextlib.asynccontextmanager
async def _through_proxy(
    opening: AbstractAsyncContextManager[Connection],
) -> AsyncIterator[Connection]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(opening)
        except SSHAuthenticationError as error:
            error.hint = _PROXY_KEYS
            raise
        yield connection


def proxy_id(address: SSHAddress) -> str:
    """Return what the proxy's host key is filed under, in place of a pod's id."""
    place = address.host if address.port == 22 else f"{address.host}-{address.port}"
    return place.replace(":", "-")
