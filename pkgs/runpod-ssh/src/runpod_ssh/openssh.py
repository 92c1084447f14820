"""What a person types to reach a pod with OpenSSH's own ssh. Pure text."""

import shlex
from pathlib import Path

from runpod_client import Pod, SSHAddress


def render_command(
    pod: Pod,
    address: SSHAddress,
    *,
    known_hosts_file: Path,
    identity_file: Path | None,
    is_pinned: bool,
) -> str:
    """Return an ssh command that works in a clean shell.

    The pod's key is filed under the pod's id, not its address, which RunPod hands on.

    Args:
        is_pinned: Whether the file holds the key of the pod's present start.
    """
    words = ["ssh"]
    if identity_file is not None:
        words += ["-i", _path(identity_file), "-o", "IdentitiesOnly=yes"]
    strict = "yes" if is_pinned else "accept-new"
    words += [
        "-o",
        f"HostKeyAlias={pod.pod_id}",
        "-o",
        f'UserKnownHostsFile="{_path(known_hosts_file)}"',
        "-o",
        f"StrictHostKeyChecking={strict}",
        "-p",
        str(address.port),
        f"{address.user}@{address.host}",
    ]
    return shlex.join(words)


def render_proxy_command(pod: Pod) -> str:
    """Return the command for a shell through RunPod's proxy; empty without one."""
    return f"ssh {pod.proxy_user}@ssh.runpod.io" if pod.proxy_user else ""


def _path(path: Path) -> str:
    """Return a path as ssh reads it in options, where % starts a token."""
    return str(path).replace("%", "%%")
