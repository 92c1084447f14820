"""A pod as this package needs it: run a command, send a file.

The one place that knows `runpod_ssh`. Everything else takes a `Remote`.
"""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner_installer.errors import InstallError

if TYPE_CHECKING:
    from runpod_client import Pod, RunPodClient
    from runpod_ssh import Connection

_CHUNK_BYTES = 256 * 1024
_UPLOAD_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command on a pod came to.

    Attributes:
        exit_status: None where a signal ended it.
    """

    exit_status: int | None
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return stdout as text."""
        return self.stdout.decode(errors="replace")


class Remote(Protocol):
    """A pod's shell."""

    async def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,  # noqa: ASYNC109  # it also ends the command on the pod
    ) -> Answer:
        """Run a command; every failure but the command's own is an `SSHError`."""
        ...

    async def upload(self, local: Path, remote_path: str) -> None:
        """Send a file; it has its name on the pod only once it is whole."""
        ...


class SSHRemote:
    """A pod's shell over one SSH connection."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,  # noqa: ASYNC109  # handed on
    ) -> Answer:
        """Run a command in a channel of its own."""
        result = await self._connection.run(command, stdin=stdin, timeout=timeout)
        return Answer(
            exit_status=result.exit_status,
            stdout=result.stdout,
            stderr=result.stderr,
        )

    async def upload(self, local: Path, remote_path: str) -> None:
        """Stream a file in flat memory; `cat` and `mv` are all the pod needs.

        Raises:
            InstallError: The pod could not write it, most often for want of space.
        """
        said = bytearray()

        async def keep(chunk: bytes) -> None:
            said.extend(chunk[:4096])

        ended = await self._connection.stream(
            receive_command(remote_path),
            stdin=_chunks(local),
            stdout=keep,
            stderr=keep,
            timeout=_UPLOAD_SECONDS,
        )
        if ended.exit_status != 0:
            reason = said.decode(errors="replace").strip()[-400:]
            raise InstallError(
                f"{remote_path} could not be written on the pod: {reason}",
                step="upload",
                hint="Is its disk full? `runpod-ssh exec POD -- df -h` tells.",
            )


def receive_command(path: str) -> str:
    """Return the command that writes its stdin to a file, whole or not at all."""
    target = shlex.quote(path)
    script = (
        f"umask 077; t={target}.$$.tmp; trap 'rm -f \"$t\"' EXIT; "
        f'cat >"$t" && mv "$t" {target}'
    )
    return shlex.join(["sh", "-c", script])


@asynccontextmanager
async def open_remote(
    client: "RunPodClient", selector: str, *, state_dir: Path
) -> AsyncIterator[tuple[Remote, "Pod"]]:
    """Connect to a pod, its host key checked against its pin or its boot log.

    Raises:
        NotFoundError: There is no such pod.
        SSHError: It does not let us in.
    """
    # asyncssh takes a while to load
    from runpod_ssh import (  # noqa: PLC0415
        HostKeyStore,
        connect_vouched,
        resolve_target,
    )

    target = await asyncio.to_thread(resolve_target, client, selector)
    pins = HostKeyStore(state_dir / "host_keys")
    async with connect_vouched(target, log=client.cloud, host_keys=pins) as connection:
        yield SSHRemote(connection), target.pod


async def _chunks(local: Path) -> AsyncIterator[bytes]:
    with local.open("rb") as file:  # opening a local file is quick
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
