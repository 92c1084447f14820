"""`runpod-ssh keys`: the host keys pods are known by, and the keys to log in with."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runpod_client.config import ClientSettings, default_identity_secret_file
from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    POLICY_OPTION,
    run_async,
    tell,
    way_options,
)
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.host_keys import HostKeyStore, Pin, start_of

if TYPE_CHECKING:
    from runpod_client import IdentityStore
    from runpod_ssh.key_report import KeyRow

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@click.group()
def keys() -> None:
    """Look after host keys and login keys."""


@keys.command("list")
@options(codes=EXIT_CODES)
def keys_list(session: Session) -> None:
    """List login keys and host keys of all pods.

    Whose they are, how old, how far trusted, and whether the pod is still there.

    \b
    Example:
      runpod-ssh keys list
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import key_report  # noqa: PLC0415  # start-up time

    rows = _list_rows(arguments.open_access(session))
    tell(
        session,
        {"keys": [key_report.render_document(row) for row in rows]},
        key_report.render_rows(rows)
        if rows
        else "no keys: no pod was reached from here",
    )


@keys.command("show")
@POD_ARGUMENT
@options(codes=EXIT_CODES)
def keys_show(session: Session, pod: str) -> None:
    """Show the login key and the host key of POD.

    \b
    Example:
      runpod-ssh keys show train
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import key_report  # noqa: PLC0415  # start-up time

    access = arguments.open_access(session)
    found = access.client.resolve_pod(pod)
    row = key_report.KeyRow(
        identity=access.client.identity_name_for(found) or "",
        pod_id=found.pod_id,
        pod_name=found.name,
        pod_status=found.status.value,
        pin=key_report.find_pin(access.host_keys, found.pod_id),
    )
    if access.client.identity_for(found) is not None:
        row = key_report.describe_identity(row, access.client.identities)
    document = key_report.render_document(row)
    tell(
        session,
        document,
        "\n".join(
            f"{name.replace('_', ' '):<22} {'-' if value is None else value}"
            for name, value in document.items()
        ),
    )


@keys.command("rotate")
@POD_ARGUMENT
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def keys_rotate(
    session: Session,
    pod: str,
    *,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Give POD a new login key.

    It runs on meanwhile. The new key is proven by a login before the old one goes; whenever this is
    interrupted, there is a key that POD accepts. POD's environment names its first
    key for as long as it lives: after its next start that one is accepted again, and
    used; rotate again then.

    \b
    Example:
      runpod-ssh keys rotate train
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_client import ConfigError  # noqa: PLC0415  # beside its use

    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    name = access.client.identity_name_for(target.pod)
    if name is None or access.client.identity_for(target.pod) is None:
        raise ConfigError(
            f"this machine holds no key of pod {target.pod.name}: it was not rented here",
            hint="Rotate it where it was rented.",
        )
    from runpod_ssh.rotation import rotate  # noqa: PLC0415  # start-up time

    with session.status(f"rotating the key of {pod}") as show:
        done = run_async(
            rotate(
                target,
                name=name,
                identities=access.client.identities,
                connect=access.connect,
                on_status=show,
            )
        )
    tell(
        session,
        {
            "pod_id": done.pod_id,
            "fingerprint": done.fingerprint,
            "retired": list(done.retired),
        },
        f"{pod} accepts {done.fingerprint} and no longer {', '.join(done.retired)}",
    )


@keys.command("load")
@click.argument("pod", metavar="[POD]", required=False)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="The private key, in place of POD: needs no API call.",
)
@click.option(
    "--lifetime",
    default="8h",
    show_default=True,
    metavar="TIME",
    help="How long ssh-agent keeps it, like 30m.",
)
@click.option("--quiet", is_flag=True, help="Say nothing when it is loaded.")
@options(codes=EXIT_CODES)
def keys_load(
    session: Session,
    pod: str | None,
    *,
    path: Path | None,
    lifetime: str,
    quiet: bool,
) -> None:
    """Load the key of POD into your ssh-agent.

    For OpenSSH's own tools, which then get in for a time.

    \b
    Example:
      runpod-ssh keys load train --lifetime 1h
    """  # noqa: D301  # click reads \b as: keep these lines
    if (pod is None) == (path is None):
        raise click.UsageError("name a POD or a --file, one of them")
    from runpod_ssh import agents  # noqa: PLC0415  # start-up time

    agents.check_lifetime(lifetime)
    identities = _open_identities(session)
    name = path.absolute().parent.name if path else _name_of(session, pod or "")
    found = identities.find_by_file(path.absolute()) if path else identities.find(name)
    if found is None:
        from runpod_client import ConfigError  # noqa: PLC0415  # beside its use

        raise ConfigError(
            f"this machine holds no key of {pod or path}",
            hint="See what it holds: runpod-ssh keys list",
        )
    was_loaded = agents.is_loaded(found.public_key, session.environ)
    if not was_loaded:
        agents.load(identities.unseal(name), lifetime=lifetime, environ=session.environ)
    if not quiet:
        tell(
            session,
            {"public_key": found.public_key, "was_loaded": was_loaded},
            f"ssh-agent {'had' if was_loaded else 'has'} the key {found.public_key}",
        )


@keys.command("prune")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options(codes=EXIT_CODES)
def keys_prune(session: Session, *, yes: bool) -> None:
    """Destroy the keys of pods that are gone.

    RunPod is asked about each. Pods of another account than the present one count as gone: use the profile that
    rented them.

    \b
    Example:
      runpod-ssh keys prune
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh import key_report  # noqa: PLC0415  # start-up time

    access = arguments.open_access(session)
    gone = [row for row in _list_rows(access) if row.is_orphan]
    if gone:
        click.echo(key_report.render_rows(gone), err=True)
        session.confirm(f"Destroy the keys of {len(gone)} pods for good?", yes=yes)
    for row in gone:
        if row.identity:
            access.client.identities.remove(row.identity)
        if row.pod_id:
            access.host_keys.forget(row.pod_id)
    tell(
        session,
        {"destroyed": [key_report.render_document(row) for row in gone]},
        f"destroyed the keys of {len(gone)} pods" if gone else "nothing to destroy",
    )


@keys.command("forget")
@POD_ARGUMENT
@options(codes=EXIT_CODES)
def keys_forget(session: Session, pod: str) -> None:
    """Forget the host key of POD.

    The next connection asks the boot log, or trusts what it is shown. Do this only after comparing the new fingerprint with the pod's boot log.

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
    """Vouch for FINGERPRINT as the host key of POD.

    It holds for the present start of POD, before or after connecting. Take it from the pod's boot log, where RunPod's images print it.

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
    pin = access.host_keys.vouch(target.pod.pod_id, start, [fingerprint])
    tell(session, _pin_document(pin), f"{pin.pod_id} is known by {fingerprint}")


def _list_rows(access: arguments.Access) -> "list[KeyRow]":
    from runpod_ssh.key_report import list_rows  # noqa: PLC0415  # start-up time

    return list_rows(access.client, access.host_keys)


def _name_of(session: Session, pod: str) -> str:
    client = arguments.open_access(session).client
    return client.identity_name_for(client.resolve_pod(pod)) or "none"


def _open_identities(session: Session) -> "IdentityStore":
    """Return the key pairs of the state folder; needs no API key."""
    from runpod_client import IdentityStore  # noqa: PLC0415  # start-up time

    settings = session.load(ClientSettings, "client")
    return IdentityStore(
        settings.state_dir / "identities",
        secret=settings.identity_secret,
        secret_file=default_identity_secret_file(),
    )


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
