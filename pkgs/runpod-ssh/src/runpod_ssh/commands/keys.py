"""`runpod-ssh keys`: the pinned host keys of pods."""

import re
from typing import Any

import click

from runpod_client.config import ClientSettings
from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    POD_ARGUMENT,
    tell,
)
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.host_keys import HostKeyStore, Pin, start_of

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@click.group()
def keys() -> None:
    """See, vouch for and forget the pinned host keys of pods."""


@keys.command("forget")
@POD_ARGUMENT
@options(codes=EXIT_CODES)
def keys_forget(session: Session, pod: str) -> None:
    """Forget the host key of POD; the next connection trusts what it is shown.

    Do this only after comparing the new fingerprint with the pod's boot log.

    \b
    Example:
      runpod-ssh keys forget train
    """  # noqa: D301  # click reads \b as: keep these lines
    store = _store(session)
    # a pod that is gone has no name any more: its id must do without asking RunPod
    pod_id = (
        pod
        if store.has(pod)
        else arguments.open_access(session).client.resolve_pod(pod).pod_id
    )
    was_pinned = store.forget(pod_id)
    session.emit(
        {"pod_id": pod_id, "was_pinned": was_pinned},
        lambda: (
            f"forgot the host key of {pod_id}"
            if was_pinned
            else f"no host key of {pod_id} was pinned"
        ),
    )


@keys.command("trust")
@POD_ARGUMENT
@click.argument("fingerprint")
@options(codes=EXIT_CODES)
def keys_trust(session: Session, pod: str, fingerprint: str) -> None:
    """Pin FINGERPRINT for the present start of POD, before or after connecting.

    Take it from the pod's boot log, where RunPod's images print it.

    \b
    Example:
      runpod-ssh keys trust train SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8
    """  # noqa: D301  # click reads \b as: keep these lines
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise click.UsageError(
            "FINGERPRINT must read SHA256: and 43 characters, as ssh-keygen -l prints"
        )
    access = arguments.open_access(session)
    target = access.find_target(pod, None)
    start = start_of(target.pod, target.address)
    pin = access.host_keys.pin_fingerprint(target.pod.pod_id, start, fingerprint)
    tell(session, _pin_document(pin), f"{pin.pod_id} is known by {fingerprint}")


def _store(session: Session) -> HostKeyStore:
    return HostKeyStore(session.load(ClientSettings, "client").state_dir / "host_keys")


def _pin_document(pin: Pin) -> dict[str, Any]:
    return {
        "pod_id": pin.pod_id,
        "fingerprint": pin.fingerprint,
        "algorithm": pin.algorithm,
        "trust": pin.trust,
        "pinned_at": pin.pinned_at,
    }
