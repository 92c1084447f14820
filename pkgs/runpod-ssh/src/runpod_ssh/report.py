"""How a pod can be reached, as one document; `runpod-ssh info` prints it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runpod_client import Identity, Pod, PodStatus, SSHAddress
from runpod_ssh.host_keys import HostKeyStore, Pin, start_of
from runpod_ssh.openssh import Way, render_command

_PROXY = SSHAddress(host="ssh.runpod.io", port=22)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What is the same for all pods of a call.

    Attributes:
        identity_file: A private key to offer in place of the pod's own.
        user: The login name; empty for the address' own.
        jump: Hosts to go through, as `ssh -J` takes them.
        proxy: RunPod's SSH proxy.
        read_variables: Returns what lets ssh open an identity's encrypted key.
    """

    host_keys: HostKeyStore
    identity_file: Path | None = None
    user: str = ""
    jump: str = ""
    proxy: SSHAddress = _PROXY
    read_variables: Callable[[Identity], Mapping[str, str]] = lambda _identity: {}


def find_way(pod: Pod, identity: Identity | None, reach: Reach) -> Way | None:
    """Return how ssh gets to a pod's own sshd; None while it has no address."""
    if pod.status is not PodStatus.RUNNING or pod.ssh_address is None:
        return None
    own = pod.ssh_address
    address = replace(own, user=reach.user or own.user)
    pin = reach.host_keys.find_for_start(pod.pod_id, start_of(pod, own))
    known_hosts = reach.host_keys.known_hosts_file(pod.pod_id)
    if pin is None or pin.host_key is None:
        # what is there belongs to an earlier start: ssh would refuse the pod
        known_hosts = known_hosts.with_suffix(".unverified")
    key_file = reach.identity_file or (identity.private_key_file if identity else None)
    is_own_key = identity is not None and reach.identity_file is None
    return Way(
        alias=pod.pod_id,
        address=address,
        # a state folder may be named from where we are; ssh runs from anywhere
        known_hosts_file=known_hosts.absolute(),
        is_pinned=pin is not None and pin.host_key is not None,
        identity_file=key_file.absolute() if key_file else None,
        variables=reach.read_variables(identity) if identity and is_own_key else {},
        jump=reach.jump,
    )


def find_proxied_way(pod: Pod, reach: Reach) -> Way | None:
    """Return how ssh gets to a shell through RunPod's proxy; None without one.

    The proxy knows the account's keys alone: the user's own are offered.
    """
    from runpod_ssh.pods import proxy_id  # noqa: PLC0415  # loads asyncssh

    if not pod.proxy_user:
        return None
    known_as = proxy_id(reach.proxy)
    pin = reach.host_keys.find(known_as)
    known_hosts = reach.host_keys.known_hosts_file(known_as)
    is_pinned = pin is not None and pin.host_key is not None
    return Way(
        alias=known_as,
        address=replace(reach.proxy, user=pod.proxy_user),
        known_hosts_file=(
            known_hosts if is_pinned else known_hosts.with_suffix(".unverified")
        ).absolute(),
        is_pinned=is_pinned,
        identity_file=reach.identity_file,
        jump=reach.jump,
        is_shell_only=True,
    )


def describe(
    pod: Pod, identity: Identity | None, reach: Reach, problem: str
) -> dict[str, Any]:
    """Return the document; its keys are stable, absent things are None.

    Args:
        problem: Why the pod could not be reached just now; empty when it was.
    """
    way = find_way(pod, identity, reach)
    proxied = find_proxied_way(pod, reach)
    pin: Pin | None = None
    if pod.ssh_address is not None and way is not None:
        start = start_of(pod, pod.ssh_address)
        pin = reach.host_keys.find_for_start(pod.pod_id, start)
    key_file = reach.identity_file or (identity.private_key_file if identity else None)
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status.value,
        "status_reason": pod.status_reason,
        "host": way.address.host if way else None,
        "port": way.address.port if way else None,
        "user": way.address.user if way else None,
        "identity_file": str(key_file) if key_file else None,
        "known_hosts_file": str(way.known_hosts_file) if way else None,
        "host_key_fingerprint": pin.fingerprint if pin else None,
        "host_key_trust": pin.trust if pin else None,
        "host_key_pinned_at": pin.pinned_at if pin else None,
        "ssh_command": render_command(way) if way else None,
        "proxy_command": render_command(proxied) if proxied else None,
        "problem": problem or None,
    }


def render(document: dict[str, Any]) -> str:
    """Return the document as lines for people, one fact each."""
    status = document["status"]
    if document["status_reason"]:
        status += f" ({document['status_reason']})"
    rows = [("pod", f"{document['name']} ({document['pod_id']})"), ("status", status)]
    if document["host"]:
        rows.append(
            ("address", f"{document['user']}@{document['host']}:{document['port']}")
        )
    if document["host_key_fingerprint"]:
        rows.append(("host key", document["host_key_fingerprint"]))
        rows.append(
            (
                "trust",
                f"{document['host_key_trust']}, pinned {document['host_key_pinned_at']}",
            )
        )
    for label, key in (
        ("ssh", "ssh_command"),
        ("shell only", "proxy_command"),
        ("problem", "problem"),
    ):
        if document[key]:
            rows.append((label, document[key]))
    return "\n".join(f"{label:<11} {value}" for label, value in rows)
