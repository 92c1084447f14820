"""What the tests of copies and syncs share: a link to a pod, a way, what a tree is."""

import hashlib
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from runpod_ssh import Connection, Credentials, HostKeyVerifier, connect
from runpod_ssh.sync import BATCH_BYTES, sync_from_pod, sync_to_pod
from runpod_ssh.sync_model import SyncOptions, SyncResult
from support.sshd import Sshd

MIRROR = SyncOptions(delete=True)


def login(
    pod: Sshd, host_keys: HostKeyVerifier
) -> AbstractAsyncContextManager[Connection]:
    return connect(
        pod.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=pod.identity_file),
    )


class Way:
    """A direction of sync, so that one test holds for both."""

    def __init__(self, link: Connection, here: Path, there: Path, *, up: bool) -> None:
        self.link = link
        self.up = up
        self.source, self.target = (here, there) if up else (there, here)

    async def sync(
        self, options: SyncOptions = MIRROR, *, batch_bytes: int = BATCH_BYTES
    ) -> SyncResult:
        if self.up:
            return await sync_to_pod(
                self.link,
                self.source,
                str(self.target),
                options=options,
                batch_bytes=batch_bytes,
            )
        return await sync_from_pod(
            self.link,
            str(self.source),
            self.target,
            options=options,
            batch_bytes=batch_bytes,
        )


def facts_of(root: Path) -> dict[str, tuple[str, int, int, str]]:
    """Return kind, mode, time and content of everything in a tree."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        if path.is_symlink():
            told = ("link", 0, 0, str(path.readlink()))
        elif path.is_dir():
            told = ("folder", stat.S_IMODE(facts.st_mode), 0, "")
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            mode = stat.S_IMODE(facts.st_mode)
            told = ("file", mode, int(facts.st_mtime), digest)
        found[str(path.relative_to(root))] = told
    return found
