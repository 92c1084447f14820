"""A pod's SSH server as a real OpenSSH sshd under the pod's own process 1."""

import asyncio
import contextlib

from runpod_sim.openssh import OpenSSH
from runpod_sim.pod_directory import PodDirectory
from runpod_sim.supervision import Streams, Supervised

UP_SECONDS = 15.0
POLL_SECONDS = 0.02
LOG_TAIL_CHARACTERS = 1000


class ServerStartError(Exception):
    """A pod's SSH server did not come up; the message holds its last words."""


class OpenSSHServer:
    """One running sshd and all sessions below it."""

    def __init__(self, supervised: Supervised, port: int) -> None:
        self._supervised = supervised
        self.port = port

    @classmethod
    async def start(
        cls, openssh: OpenSSH, directory: PodDirectory, port: int
    ) -> "OpenSSHServer":
        """Start sshd and return once it greets.

        Raises:
            ServerStartError: It ended or kept silent, for instance as the port is taken.
        """
        config = openssh.write_config(directory, port)
        with directory.sshd_log.open("ab") as log:
            supervised = await Supervised.start(
                directory.users.wrap(openssh.command(config)),
                env=openssh.environment(directory),
                cwd=directory.home,
                territory=directory.root,
                streams=Streams(stderr=log),
            )
        server = cls(supervised, port)
        try:
            if await server._greets():
                return server
        except BaseException:
            supervised.close()
            raise
        await server.stop(0)
        tail = directory.sshd_log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
        raise ServerStartError(f"sshd did not come up on port {port}: {tail.strip()}")

    async def _greets(self) -> bool:
        command = asyncio.ensure_future(self._supervised.wait_for_command())
        try:
            async with asyncio.timeout(UP_SECONDS):
                while not command.done():
                    if await says_ssh(self.port):
                        return not command.done()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False
        finally:
            command.cancel()
        return False

    @property
    def process_ids(self) -> list[int]:
        """Return the process 1 of the pod, empty once it is gone."""
        return [] if self._supervised.is_over else [self._supervised.process.pid]

    async def stop(self, grace_seconds: float) -> None:
        """End sshd and everything that was started through it."""
        await self._supervised.stop(grace_seconds)


async def says_ssh(port: int) -> bool:
    """Say whether an SSH server greets on that loopback port."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(2):
            return (await reader.read(4)) == b"SSH-"
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
