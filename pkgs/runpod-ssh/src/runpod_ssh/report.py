"""How a pod can be reached, as one document; `runpod-ssh info` prints it."""

from pathlib import Path
from typing import Any

from runpod_client import Pod, PodStatus
from runpod_ssh.host_keys import HostKeyStore, Pin, start_of
from runpod_ssh.openssh import render_command, render_proxy_command
from runpod_ssh.targets import PodDirectory


def describe(
    client: PodDirectory,
    pod: Pod,
    host_keys: HostKeyStore,
    identity_file: Path | None,
    problem: str,
) -> dict[str, Any]:
    """Return the document; its keys are stable, absent things are None.

    Args:
        problem: Why the pod could not be reached just now; empty when it was.
    """
    address = pod.ssh_address if pod.status is PodStatus.RUNNING else None
    identity = client.identity_for(pod)
    key_file = identity_file or (identity.private_key_file if identity else None)
    known_hosts = host_keys.known_hosts_file(pod.pod_id)
    pin: Pin | None = None
    command = None
    if address is not None:
        pin = host_keys.find_for_start(pod.pod_id, start_of(pod, address))
        if pin is None:
            # what is there belongs to an earlier start: ssh would refuse the pod
            known_hosts = known_hosts.with_suffix(".unverified")
        command = render_command(
            pod,
            address,
            known_hosts_file=known_hosts,
            identity_file=key_file,
            is_pinned=pin is not None and pin.host_key is not None,
        )
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status.value,
        "status_reason": pod.status_reason,
        "host": address.host if address else None,
        "port": address.port if address else None,
        "user": address.user if address else None,
        "identity_file": str(key_file) if key_file else None,
        "known_hosts_file": str(known_hosts) if command else None,
        "host_key_fingerprint": pin.fingerprint if pin else None,
        "host_key_trust": pin.trust if pin else None,
        "host_key_pinned_at": pin.pinned_at if pin else None,
        "ssh_command": command,
        "proxy_command": render_proxy_command(pod) or None,
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
