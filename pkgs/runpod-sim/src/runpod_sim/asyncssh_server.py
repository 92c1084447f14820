"""A pod's SSH server inside the simulator, for hosts without a usable sshd.

It behaves as a pod's sshd does: public keys for root alone, commands, shells with a
terminal, SFTP, port forwarding, exit statuses and signals. Each command runs under a
process 1 of its own, so that what it detaches ends with the pod.
"""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from runpod_sim.descriptors import Descriptor
from runpod_sim.pod_directory import PodDirectory
from runpod_sim.supervision import Streams, Supervised

LOGIN_SECONDS = 30
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class HostKey:
    """A private host key as OpenSSH stores it, and its fingerprint as it shows it."""

    private_text: str = field(repr=False)
    fingerprint: str


def generate_host_key(comment: str) -> HostKey:
    """Return a fresh Ed25519 host key."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    text = key.export_private_key("openssh").decode()
    return HostKey(text, key.get_fingerprint("sha256"))


Process = asyncssh.SSHServerProcess[bytes]


class PodSessions:
    """The commands and shells that run in one pod through servers in this process."""

    def __init__(self, directory: PodDirectory, env: Mapping[str, str]) -> None:
        """Take what commands see; the session script sets the pod's own variables."""
        self._directory = directory
        self._env = dict(env)
        self._running: set[Supervised] = set()

    @property
    def process_ids(self) -> list[int]:
        """Return the process 1 of each command that is still there."""
        return [s.process.pid for s in self._running if not s.is_over]

    async def stop(self, grace_seconds: float) -> None:
        """End every command."""
        await asyncio.gather(*(s.stop(grace_seconds) for s in list(self._running)))

    async def serve(self, process: Process) -> None:
        """Run what a client asked for, and answer with how it ended."""
        env = dict(self._env)
        if process.command is not None:
            env["SSH_ORIGINAL_COMMAND"] = process.command
        if process.term_type is not None:
            env["TERM"] = process.term_type
        env |= {
            name: value
            for name, value in process.env.items()
            if name == "LANG" or name.startswith("LC_")
        }
        try:
            if process.term_type is None:
                status = await self._run_with_pipes(process, env)
            else:
                status = await self._run_with_terminal(process, env)
        except (OSError, asyncssh.Error):
            process.exit(255)
            return
        if status >= 0:
            process.exit(status)
        else:
            name = signal.Signals(-status).name.removeprefix("SIG")
            process.exit_with_signal(name)

    async def _start(
        self, env: Mapping[str, str], streams: Streams, *, terminal: bool
    ) -> Supervised:
        supervised = await Supervised.start(
            [str(self._directory.session_script)],
            env=env,
            cwd=self._directory.home,
            territory=self._directory.root,
            streams=streams,
            terminal=terminal,
        )
        self._running = {s for s in self._running if not s.is_over} | {supervised}
        return supervised

    async def _run_with_pipes(self, process: Process, env: Mapping[str, str]) -> int:
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = (
            os.pipe() for _ in range(3)
        )
        ours = [Descriptor(number) for number in (in_write, out_read, err_read)]
        try:
            supervised = await self._start(
                env, Streams(in_read, out_write, err_write), terminal=False
            )
        finally:
            for number in (in_read, out_write, err_write):
                os.close(number)
        stdin, stdout, stderr = ours
        try:
            return await _pump(
                process,
                supervised,
                stdin,
                {stdout: process.stdout, stderr: process.stderr},
            )
        finally:
            for descriptor in ours:
                descriptor.close()

    async def _run_with_terminal(self, process: Process, env: Mapping[str, str]) -> int:
        master, slave = pty.openpty()
        terminal = Descriptor(master)
        try:
            _resize(terminal, *process.term_size)
            supervised = await self._start(
                env, Streams(slave, slave, slave), terminal=True
            )
        except BaseException:
            terminal.close()
            raise
        finally:
            os.close(slave)
        try:
            return await _pump(
                process, supervised, terminal, {terminal: process.stdout}
            )
        finally:
            terminal.close()


class AsyncSSHServer:
    """One pod's server and the commands running through it."""

    def __init__(self, sessions: PodSessions) -> None:
        self._sessions = sessions
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self.port = 0

    @classmethod
    async def start(
        cls, directory: PodDirectory, env: Mapping[str, str], port: int
    ) -> "AsyncSSHServer":
        """Listen on the loopback."""
        sessions = PodSessions(directory, env)
        server = cls(sessions)
        server._acceptor = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=lambda: _Login(directory, server._connections),
            server_host_keys=[str(directory.host_key)],
            process_factory=sessions.serve,
            sftp_factory=lambda channel: _HomeSFTP(channel, directory.home),
            encoding=None,
            line_editor=False,
            login_timeout=LOGIN_SECONDS,
        )
        server.port = server._acceptor.get_port()
        return server

    @property
    def process_ids(self) -> list[int]:
        """Return the process 1 of each command that is still there."""
        return self._sessions.process_ids

    async def stop(self, grace_seconds: float) -> None:
        """End every command, then the connections."""
        if self._acceptor is not None:
            self._acceptor.close()
        await self._sessions.stop(grace_seconds)
        for connection in list(self._connections):
            connection.abort()


async def _pump(
    process: Process,
    supervised: Supervised,
    stdin: Descriptor,
    outputs: Mapping[Descriptor, Any],
) -> int:
    feeding = asyncio.create_task(_feed(process, supervised, stdin, outputs))
    draining = [
        asyncio.create_task(_drain(source, sink)) for source, sink in outputs.items()
    ]
    try:
        status = await supervised.wait_for_command()
        # As with sshd, a session lasts as long as anyone can still write to it.
        await asyncio.gather(*draining)
        return status
    finally:
        for task in (feeding, *draining):
            task.cancel()
        await asyncio.gather(feeding, *draining, return_exceptions=True)


async def _drain(source: Descriptor, sink: Any) -> None:
    while data := await source.read():
        sink.write(data)
        await sink.drain()


async def _feed(
    process: Process,
    supervised: Supervised,
    stdin: Descriptor,
    outputs: Mapping[Descriptor, Any],
) -> None:
    while True:
        try:
            data = await process.stdin.read(CHUNK_BYTES)
        except asyncssh.TerminalSizeChanged as change:
            _resize(
                stdin, change.width, change.height, change.pixwidth, change.pixheight
            )
            continue
        except asyncssh.SignalReceived as received:
            number = getattr(signal, f"SIG{received.signal}", signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervised.process.pid, number)
            continue
        except (asyncssh.Error, OSError):
            data = b""
        if not data:
            if stdin not in outputs:
                stdin.close()
            return
        try:
            await stdin.write(data)
        except OSError:
            return


def _resize(
    terminal: Descriptor, columns: int, rows: int, width: int, height: int
) -> None:
    with contextlib.suppress(OSError):
        size = struct.pack("HHHH", rows, columns, width, height)
        fcntl.ioctl(terminal.number, termios.TIOCSWINSZ, size)


class _Login(asyncssh.SSHServer):
    """Let root in with one of the pod's public keys."""

    def __init__(
        self,
        directory: PodDirectory,
        connections: set[asyncssh.SSHServerConnection],
    ) -> None:
        self._directory = directory
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, so that it ends with the pod."""
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Check root's keys; whoever else asks has none."""
        # read anew at each login, as sshd does: commands in the pod may change them
        with contextlib.suppress(OSError, ValueError):
            text = self._directory.authorized_keys.read_text()
            if self._connection is not None and username == "root" and text.strip():
                keys = asyncssh.import_authorized_keys(text)
                self._connection.set_authorized_keys(keys)
        return True

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Allow local port forwarding, as sshd does."""
        del dest_host, dest_port, orig_host, orig_port
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """Allow remote port forwarding, as sshd does."""
        del listen_host, listen_port
        return True


class _HomeSFTP(asyncssh.SFTPServer):
    """Serve files with relative paths starting at the pod's home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Return the host's path of a path as the client names it."""
        return super().map_path(os.path.join(self._home, path))  # noqa: PTH118 - bytes
