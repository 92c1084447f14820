"""From what a person calls a pod to where and how to log in to it."""

from pathlib import Path
from typing import Protocol

from runpod_client import Identity, Pod, PodStatus
from runpod_ssh.errors import NotDirectError, SSHUnreachableError
from runpod_ssh.model import Credentials, PodTarget

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
    client: PodDirectory, selector: str, *, identity_file: Path | None = None
) -> PodTarget:
    """Return where to log in to the pod of that id or name.

    Args:
        identity_file: A private key to offer in place of the pod's own.

    Raises:
        NotFoundError, AmbiguousPodError: The selector fits none or several.
        NotDirectError: The pod does not expose its sshd.
        SSHUnreachableError: It is not running, or has no address yet.
    """
    return target_of(client, client.resolve_pod(selector), identity_file=identity_file)


def target_of(
    client: PodDirectory, pod: Pod, *, identity_file: Path | None = None
) -> PodTarget:
    """Return where to log in to a pod that is known; raises like `resolve_target`."""
    if pod.status is not PodStatus.RUNNING:
        reason = f" ({pod.status_reason})" if pod.status_reason else ""
        raise SSHUnreachableError(
            f"pod {pod.name} ({pod.pod_id}) is {pod.status}{reason}, not RUNNING",
            hint=_WHAT_TO_DO[pod.status].format(pod=pod.pod_id),
        )
    address = pod.ssh_address
    if address is None:
        raise _no_address(pod)
    identity = client.identity_for(pod)
    chosen = identity_file or (identity.private_key_file if identity else None)
    return PodTarget(
        pod=pod,
        address=address,
        identity=identity,
        credentials=Credentials(identity_file=chosen),
    )


def _no_address(pod: Pod) -> NotDirectError:
    """Say that only the proxied way is there, which carries a shell and nothing else.

    RunPod's SSH proxy refuses clients without a terminal and has neither reliable
    commands nor file transfer.
    """
    proxied = (
        f" For a shell only: ssh {pod.proxy_user}@ssh.runpod.io"
        if pod.proxy_user
        else ""
    )
    return NotDirectError(
        f"pod {pod.name} ({pod.pod_id}) exposes no SSH port: "
        "commands and copies cannot reach it",
        pod_id=pod.pod_id,
        hint="If it has just started, wait: runpod-client pods wait "
        f"{pod.pod_id}. Else create it with port 22/tcp in a place with public IPs."
        + proxied,
    )
