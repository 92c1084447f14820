"""Giving a pod another key to log in with, while it runs, without a gap.

    made here -> let in on the pod -> proven by a login -> put in use here
              -> the old one taken off the pod

Killed at any point there is a key that the pod accepts: the old one stays in use until
the new one is proven, and what is left over is taken off by the next rotation.

The pod's environment goes on naming the first key, since changing it restarts the
container: after its next start the pod accepts that one again, and the store chooses
it by itself. It is kept, encrypted, for that; rotate again after a start.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from runpod_client import Identity, IdentityStore
from runpod_client.logs import get_logger
from runpod_ssh import wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import CommandError, SSHAuthenticationError
from runpod_ssh.host_keys import start_of
from runpod_ssh.model import HostKey, PodTarget

_SCRIPT = "authorized_keys.sh"
_STEP_SECONDS = 30.0

Connect = Callable[[PodTarget], AbstractAsyncContextManager[Connection]]

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What a rotation did.

    Attributes:
        retired: Fingerprints of the keys that the pod no longer accepts.
    """

    pod_id: str
    fingerprint: str
    retired: tuple[str, ...]


def fingerprint_of(public_key: str) -> str:
    """Return the SHA256 fingerprint of an authorized_keys line."""
    algorithm, blob = public_key.split()[:2]
    return HostKey(algorithm=algorithm, blob=blob).fingerprint


def with_identity(target: PodTarget, identity: Identity) -> PodTarget:
    """Return the same way to the pod, with this key and no other to log in."""
    credentials = replace(
        target.credentials,
        identity_file=identity.private_key_file,
        read_passphrase=identity.read_passphrase,
        agent_path=None,
        pkcs11_provider=None,
    )
    return replace(target, identity=identity, credentials=credentials)


async def rotate(
    target: PodTarget,
    *,
    name: str,
    identities: IdentityStore,
    connect: Connect,
    on_status: Callable[[str], None] = lambda _status: None,
) -> Rotation:
    """Give the pod a new key and take the old ones off it.

    Args:
        name: Of the pod's identity.
        connect: Opens a connection to a target; used for both keys.

    Raises:
        ConfigError: Another process rotates the same identity.
        SSHAuthenticationError: The pod does not accept the new key; the old one stays.
        CommandError: The pod's authorized_keys cannot be written.
    """
    with identities.rotating(name):
        fresh = identities.stage(name)
        try:
            async with connect(target) as connection:
                on_status("letting the new key in")
                await _edit(connection, "add", _blob_of(fresh), fresh.public_key)
                on_status("proving the new key")
                await _prove(connection, with_identity(target, fresh), connect)
                identities.adopt(name, start=start_of(target.pod, target.address))
                on_status("taking the old key off")
                retired = identities.list_retired(name)
                await _edit(connection, "remove", *(k.split()[1] for k in retired))
                identities.forget_retired(name)
        finally:
            identities.unstage(name)
    rotation = Rotation(
        pod_id=target.pod.pod_id,
        fingerprint=fingerprint_of(fresh.public_key),
        retired=tuple(map(fingerprint_of, retired)),
    )
    _log.info(
        "identity_rotated", pod_id=rotation.pod_id, fingerprint=rotation.fingerprint
    )
    return rotation


async def _prove(connection: Connection, target: PodTarget, connect: Connect) -> None:
    """Log in with the new key; where the pod refuses it, take it off again."""
    try:
        async with connect(target):
            return
    except SSHAuthenticationError as error:
        if target.identity is not None:
            await _edit(connection, "remove", _blob_of(target.identity))
        raise SSHAuthenticationError(
            f"pod {target.pod.pod_id} does not accept the key that was just added to "
            "its ~/.ssh/authorized_keys; the old key stays in use",
            address=target.address,
            hint="Its sshd reads keys from elsewhere: see AuthorizedKeysFile in its "
            "sshd_config.",
        ) from error


async def _edit(connection: Connection, *arguments: str) -> None:
    command = wire.script_command(_SCRIPT, *arguments)
    done = await connection.run(command, timeout=_STEP_SECONDS)
    if done.exit_status != 0:
        tail = done.stderr.decode(errors="replace").strip()[-500:]
        raise CommandError(
            f"cannot change ~/.ssh/authorized_keys on {connection.address}: {tail}",
            exit_status=done.exit_status,
            stderr_tail=tail,
            address=connection.address,
        )


def _blob_of(identity: Identity) -> str:
    return identity.public_key.split()[1]
