"""Pods whose tmux is their test's own: nobody's sessions are touched."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from runpod_ssh import Connection, Credentials, HostKeyVerifier, connect
from support.sshd import Sshd, find_program

END_SECONDS = 15.0
# lets authorized_keys name the folder of tmux's socket
EXTRA_CONFIG = "PermitUserEnvironment yes"


@contextlib.contextmanager
def own_tmux() -> Iterator[Path]:
    """Yield where a tmux server can have its socket: a short path, by tmux's limit."""
    folder = Path(tempfile.mkdtemp(prefix="tmux"))
    try:
        yield folder
    finally:
        end_tmux(folder)
        shutil.rmtree(folder)


def end_tmux(folder: Path) -> None:
    """End the server that has its socket there, and all its sessions."""
    subprocess.run(
        [find_program("tmux"), "-L", "runpod", "kill-server"],
        env={**os.environ, "TMUX_TMPDIR": str(folder)},
        check=False,
        capture_output=True,
        timeout=END_SECONDS,
    )


def point_at(server: Sshd, folder: Path) -> Sshd:
    """Let whoever logs in to a server use that tmux; needs `EXTRA_CONFIG`."""
    keys = server.folder / "authorized_keys"
    line = (server.folder / "identity.pub").read_text()
    keys.write_text(f'environment="TMUX_TMPDIR={folder}" {line}')
    return server


def extend_path(server: Sshd, folder: Path) -> None:
    """Let whoever logs in find programs in a folder first; after `point_at`."""
    # a forced command comes after all that the login shell's own files say of PATH
    keys = server.folder / "authorized_keys"
    run = rf"PATH={folder}:$PATH exec sh -c \"$SSH_ORIGINAL_COMMAND\""
    keys.write_text(f'command="{run}",{keys.read_text()}')


def visit(
    pod: Sshd, host_keys: HostKeyVerifier
) -> AbstractAsyncContextManager[Connection]:
    """Connect to a pod."""
    credentials = Credentials(identity_file=pod.identity_file)
    return connect(pod.address, host_keys=host_keys, credentials=credentials)
