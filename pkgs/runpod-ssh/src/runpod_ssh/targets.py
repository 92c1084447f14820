"""From what a person calls a pod to where and how to log in to it."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from runpod_client import ConfigError, Identity, Pod, PodStatus, SSHAddress
from runpod_ssh.errors import NotDirectError, SSHUnreachableError
from runpod_ssh.model import Credentials, PodTarget, Route

_WHAT_TO_DO = {
    PodStatus.STARTING: "Wait for it: runpod-client pods wait {pod}",
    PodStatus.STOPPED: "Start it (this costs money): runpod-client pods start {pod}",
    PodStatus.TERMINATED: "It is gone for good; see what there is: "
    "runpod-client pods list",
    PodStatus.FAILED: "See why: runpod-client pods show {pod}",
    PodStatus.UNKNOWN: "See what RunPod says: runpod-client pods show {pod}",
}


class PodDirectory(Protocol):
    """What is asked about pods; `runpod_client.RunPodClient` answers it."""

    def resolve_pod(self, id_or_name: str, /) -> Pod:
        """Return the pod of that id or unique name."""

    def identity_for(self, pod: Pod, /) -> Identity | None:
        """Return the key pair made for the pod, None for a pod that is not ours."""


def resolve_target(
    client: PodDirectory,
    selector: str,
    *,
    identity_file: Path | None = None,
    user: str = "",
    route: Route | None = None,
) -> PodTarget:
    """Return where to log in to the pod of that id or name.

    Args:
        identity_file: A private key to offer in place of the pod's own.
        user: The login name; empty for the image's usual one, root.
        route: The way there; None for the straight one.

    Raises:
        NotFoundError, AmbiguousPodError: The selector fits none or several.
        NotDirectError: The pod does not expose its sshd.
        SSHUnreachableError: It is not running, or has no address yet.
    """
    return target_of(
        client,
        client.resolve_pod(selector),
        identity_file=identity_file,
        user=user,
        route=route,
    )


def target_of(
    client: PodDirectory,
    pod: Pod,
    *,
    identity_file: Path | None = None,
    user: str = "",
    route: Route | None = None,
) -> PodTarget:
    """Return where to log in to a pod that is known; see `resolve_target`."""
    _require_running(pod)
    address = pod.ssh_address
    if address is None:
        raise _no_address(pod)
    identity = client.identity_for(pod)
    return PodTarget(
        pod=pod,
        address=replace(address, user=user or address.user),
        identity=identity,
        credentials=_credentials_of(identity, identity_file),
        route=route or Route(),
    )


def resolve_shell_target(
    client: PodDirectory,
    selector: str,
    *,
    identity_file: Path | None = None,
    user: str = "",
    route: Route | None = None,
    proxy: SSHAddress,
) -> PodTarget:
    """Return where to get a shell on a pod: its own sshd, else through RunPod's proxy.

    Behind the proxy is an exec into the container, which needs no sshd and no port.
    It knows the keys of the RunPod account; the pod's own key is not among them unless
    somebody put it there, so that the user's keys are offered.

    Args:
        proxy: RunPod's proxy; its user is replaced by the pod's.

    Raises:
        NotFoundError, AmbiguousPodError: The selector fits none or several.
        NotDirectError: There is neither way.
        SSHUnreachableError: The pod is not running.
    """
    pod = client.resolve_pod(selector)
    _require_running(pod)
    if pod.ssh_address is not None or not pod.proxy_user:
        return target_of(
            client, pod, identity_file=identity_file, user=user, route=route
        )
    return PodTarget(
        pod=pod,
        address=replace(proxy, user=pod.proxy_user),
        identity=None,
        credentials=Credentials(identity_file=identity_file),
        route=route or Route(),
        is_proxied=True,
    )


def parse_proxy(text: str) -> SSHAddress:
    """Return the address of RunPod's proxy, `host` or `host:port`.

    Raises:
        ConfigError: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "22"
    if not host or not port.isdecimal():
        raise ConfigError(f"{text!r} is no host or host:port", setting="proxy")
    return SSHAddress(host=host, port=int(port))


def _require_running(pod: Pod) -> None:
    if pod.status is not PodStatus.RUNNING:
        reason = f" ({pod.status_reason})" if pod.status_reason else ""
        raise SSHUnreachableError(
            f"pod {pod.name} ({pod.pod_id}) is {pod.status}{reason}, not RUNNING",
            hint=_WHAT_TO_DO[pod.status].format(pod=pod.pod_id),
        )


def _credentials_of(
    identity: Identity | None, identity_file: Path | None
) -> Credentials:
    """Return what to log in with: a named key, else the pod's own, else the user's."""
    if identity_file is not None or identity is None:
        return Credentials(identity_file=identity_file)
    return Credentials(
        identity_file=identity.private_key_file,
        read_passphrase=identity.read_passphrase,
    )


def _no_address(pod: Pod) -> NotDirectError:
    """Say that only the proxied way is there, which carries a shell and nothing else.

    RunPod's SSH proxy refuses clients without a terminal and has neither reliable
    commands nor file transfer.
    """
    proxied = (
        f" For a shell only: runpod-ssh shell {pod.pod_id}" if pod.proxy_user else ""
    )
    return NotDirectError(
        f"pod {pod.name} ({pod.pod_id}) exposes no SSH port: "
        "commands and copies cannot reach it",
        pod_id=pod.pod_id,
        hint="If it has just started, wait: runpod-client pods wait "
        f"{pod.pod_id}. Else create it with port 22/tcp in a place with public IPs."
        + proxied,
    )
