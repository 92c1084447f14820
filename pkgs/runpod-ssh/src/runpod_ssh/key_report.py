"""The keys this machine holds, for people and for programs: login keys, host keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runpod_client import ConfigError, IdentityStore, Pod, RunPodClient
from runpod_ssh.host_keys import HostKeyStore, Pin
from runpod_ssh.rotation import fingerprint_of

_NOTHING = "-"
_HEADINGS = ("POD", "ID", "LOGIN KEY", "MADE", "STATE", "HOST KEY", "TRUST", "PINNED")


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """The keys of one pod.

    Attributes:
        identity: The name of its login key pair; empty for a pod not rented here.
        pod_id, pod_name: Empty as far as they are not known.
        is_orphan: Whether the pod is gone for good.
        is_rotated: Whether the login key has taken the first one's place.
        is_unfinished: Whether a rotation left keys that are still to be taken off.
    """

    identity: str = ""
    pod_id: str = ""
    pod_name: str = ""
    pod_status: str = ""
    fingerprint: str = ""
    made_at: datetime | None = None
    is_rotated: bool = False
    is_unfinished: bool = False
    is_orphan: bool = False
    pin: Pin | None = None


def describe_identity(row: KeyRow, identities: IdentityStore) -> KeyRow:
    """Return the row with what is known of its login key."""
    found = identities.find(row.identity)
    if found is None:
        return row
    return replace(
        row,
        fingerprint=fingerprint_of(found.public_key),
        made_at=identities.made_at(row.identity),
        is_rotated=identities.is_rotated(row.identity),
        is_unfinished=identities.is_unfinished(row.identity),
    )


def find_pin(host_keys: HostKeyStore, pod_id: str) -> Pin | None:
    """Return a pod's pin; None for none and for one that cannot be read."""
    try:
        return host_keys.find(pod_id) if pod_id else None
    except ConfigError:
        return None


def list_rows(client: RunPodClient, host_keys: HostKeyStore) -> list[KeyRow]:
    """Return a row per pod that has a login key or a pinned host key here.

    RunPod is asked about each pod that is not in its listing.
    """
    pods = client.list_pods()
    rows = [
        describe_identity(
            _make_row(
                use.pod_id, use.pod, host_keys, use.name, is_orphan=use.is_orphan
            ),
            client.identities,
        )
        for use in client.list_identity_uses(pods)
    ]
    told = {row.pod_id for row in rows}
    by_id = {pod.pod_id: pod for pod in pods}
    for pod_id in host_keys.list_pod_ids():
        # a name with a dot is a host's, like that of RunPod's proxy, and no pod's
        if pod_id in told or "." in pod_id:
            continue
        pod = by_id.get(pod_id) or client.find_pod(pod_id)
        rows.append(_make_row(pod_id, pod, host_keys, is_orphan=pod is None))
    return sorted(rows, key=lambda row: (row.is_orphan, row.pod_name, row.pod_id))


def _make_row(
    pod_id: str,
    pod: Pod | None,
    host_keys: HostKeyStore,
    identity: str = "",
    *,
    is_orphan: bool,
) -> KeyRow:
    return KeyRow(
        identity=identity,
        pod_id=pod_id,
        pod_name=pod.name if pod else "",
        pod_status=pod.status.value if pod else "",
        is_orphan=is_orphan,
        pin=find_pin(host_keys, pod_id),
    )


def render_document(row: KeyRow) -> dict[str, Any]:
    """Return a row for programs; its keys are stable, absent things are None."""
    pin = row.pin
    return {
        "identity": row.identity or None,
        "pod_id": row.pod_id or None,
        "pod_name": row.pod_name or None,
        "pod_status": row.pod_status or None,
        "fingerprint": row.fingerprint or None,
        "made_at": row.made_at,
        "is_rotated": row.is_rotated,
        "is_unfinished": row.is_unfinished,
        "is_orphan": row.is_orphan,
        "host_key_fingerprint": pin.fingerprint if pin else None,
        "host_key_trust": pin.trust if pin else None,
        "host_key_pinned_at": pin.pinned_at if pin else None,
    }


def render_rows(rows: Iterable[KeyRow]) -> str:
    """Return rows for people, in columns."""
    cells = [_HEADINGS, *(_render_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_HEADINGS))]
    return "\n".join(_join(line, widths) for line in cells)


def _join(line: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
    return "  ".join(padded).rstrip()


def _render_cells(row: KeyRow) -> tuple[str, ...]:
    pin = row.pin
    cells = (
        row.pod_name,
        row.pod_id,
        row.fingerprint,
        row.made_at.strftime("%Y-%m-%d %H:%M") if row.made_at else "",
        _render_state(row),
        pin.fingerprint if pin else "",
        pin.trust if pin else "",
        pin.pinned_at[:16].replace("T", " ") if pin else "",
    )
    return tuple(cell or _NOTHING for cell in cells)


def _render_state(row: KeyRow) -> str:
    if row.is_orphan:
        return "pod is gone"
    if row.is_unfinished:
        return "rotate again"
    return "rotated" if row.is_rotated else ""
