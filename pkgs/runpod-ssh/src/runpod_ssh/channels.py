"""One session channel with a command on it: its streams, its end, ending it early.

It hides asyncssh's process from everything above, and knows nothing of how the command
came to be there.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncssh

from runpod_ssh.model import Sink, Source
from runpod_ssh.ssh_failures import LOST

CHUNK_BYTES = 256 * 1024
Clearing = Callable[[], Awaitable[None]]
# What a pod may send before we have read it. More than the link holds only makes sshd
# queue it, which it does badly; this is good for 80 MB/s over 50 ms.
WINDOW_BYTES = 4 * 1024 * 1024
_MOST_BYTES = 32 * 1024 * 1024
_BULK_BYTES_PER_SECOND = 640 * 1000 * 1000


def bulk_window_bytes(round_trip_seconds: float) -> int:
    """Return the window for a command that writes much over a link of that length."""
    wanted = int(round_trip_seconds * _BULK_BYTES_PER_SECOND)
    return min(_MOST_BYTES, max(WINDOW_BYTES, wanted))


class NotOpenedError(Exception):
    """The channel did not come about.

    Attributes:
        reason: What asyncssh raised.
        is_refused: The pod said no, which leaves the connection whole.
    """

    def __init__(self, reason: Exception, *, is_refused: bool) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.is_refused = is_refused


class _Process(asyncssh.SSHClientProcess[bytes]):
    """A process that tells of its channel's two ends."""

    def __init__(self, opening: "Opening") -> None:
        super().__init__()
        self._opening_of_ours = opening

    def connection_made(self, chan: Any) -> None:
        """Hear that the channel stands; the command is sent next."""
        super().connection_made(chan)
        if self._opening_of_ours.is_abandoned:
            chan.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear of the channel's end."""
        super().connection_lost(exc)
        self._opening_of_ours.on_closed()


class Opening:
    """One attempt to start a command, or a login shell, on a channel of its own.

    Attributes:
        may_run: The command was sent, so that it may run, whatever comes of the rest.
        is_abandoned: Nobody waits any more; the command is not to be sent.
        round_trip_seconds: From asking for the channel to having it.
    """

    def __init__(
        self,
        raw: asyncssh.SSHClientConnection,
        on_closed: Callable[[], None],
        *,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        """Prepare.

        Args:
            on_closed: Called once, when the channel has closed or did not come about.
            window_bytes: How far ahead of us the pod may send.
        """
        self.may_run = False
        self.is_abandoned = False
        self.on_closed = on_closed
        self._raw = raw
        self.round_trip_seconds: float | None = None
        self._window = window_bytes
        self._began = 0.0
        self._processes: list[_Process] = []

    async def start(self, command: str | None, **terminal: Any) -> "Channel":
        """Open the channel and start the command.

        Raises:
            NotOpenedError: It did not come about.
        """
        # asyncssh forgets a request that is cancelled and leaves the pod a session
        # that nobody closes: so the request is never cancelled, only left alone
        request = asyncio.ensure_future(self._request(command, terminal))
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            self.is_abandoned = True
            request.add_done_callback(_close_late)
            raise

    async def _request(
        self, command: str | None, terminal: Mapping[str, Any]
    ) -> "Channel":
        self._began = time.monotonic()
        try:
            await self._raw.create_session(
                self._make_process,
                command,
                encoding=None,
                window=self._window,
                **terminal,
            )
        except LOST as error:
            # asyncssh notes the end of its connection one turn of the loop late
            await asyncio.sleep(0)
            if not self._processes:
                self.on_closed()
            is_alive = not self._raw.is_closed()
            is_refused = is_alive and isinstance(error, asyncssh.ChannelOpenError)
            self.may_run = self.may_run and not is_refused
            raise NotOpenedError(error, is_refused=is_refused) from error
        return Channel(self._processes[0])

    def _make_process(self) -> _Process:
        # asyncssh calls it once the channel stands, right before the command is sent
        self.may_run = not self.is_abandoned
        self.round_trip_seconds = time.monotonic() - self._began
        self._processes.append(_Process(self))
        return self._processes[0]


def _close_late(request: "asyncio.Future[Channel]") -> None:
    if not request.cancelled() and request.exception() is None:
        # closing alone would leave a command that neither reads nor writes
        request.result().signal("KILL")
        request.result().close()


class Channel:
    """A command that runs on the pod.

    Attributes:
        is_cut: The link was lost before the output had ended.
    """

    def __init__(self, process: "asyncssh.SSHClientProcess[bytes]") -> None:
        self._process = process
        self.is_cut = False

    @property
    def ending(self) -> tuple[int | None, str | None] | None:
        """Return exit status or signal; None when the pod told of neither.

        sshd tells the status before the last of the output: where that was cut off
        the status is worth nothing.
        """
        if self.is_cut:
            return None
        if self._process.exit_signal is not None:
            return None, self._process.exit_signal[0]
        if self._process.exit_status is not None:
            return self._process.exit_status, None
        return None

    @property
    def is_ending(self) -> bool:
        """Return whether nothing more can be sent."""
        return self._process.is_closing() or self.ending is not None

    def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send without waiting; what a command that has ended does not get is lost."""
        with contextlib.suppress(*LOST):
            if data:
                self._process.stdin.write(data)
            if is_last:
                self._process.stdin.write_eof()

    async def expect(self, answer: bytes) -> bool:
        """Read as many bytes of stdout; say whether they are these."""
        try:
            return answer == await self._process.stdout.readexactly(len(answer))
        except LOST:
            return False

    async def feed(self, source: Source, until_clear: Clearing) -> None:
        """Send the input; a command that does not want it all is no failure.

        Neither is a lost connection: the missing exit status tells of it.

        Args:
            until_clear: Waits until the link has sent what it was given.
        """
        writer = self._process.stdin
        async for chunk in source:
            try:
                for start in range(0, len(chunk), CHUNK_BYTES):
                    writer.write(chunk[start : start + CHUNK_BYTES])
                    await writer.drain()
                    await until_clear()
            except LOST:
                return
        self.send(b"", is_last=True)

    async def pump_out(self, sink: Sink) -> None:
        """Hand on stdout until its end."""
        await self._pump(self._process.stdout, sink)

    async def pump_err(self, sink: Sink) -> None:
        """Hand on stderr until its end."""
        await self._pump(self._process.stderr, sink)

    async def collect(self) -> tuple[bytes, bytes]:
        """Wait for the end; return what is left of both streams."""
        try:
            return await self._process.communicate()
        except LOST:
            self.is_cut = True
            return b"", b""

    async def _pump(self, reader: "asyncssh.SSHReader[bytes]", sink: Sink) -> None:
        """Hand on the output; a lost connection ends it, see `feed`."""
        while True:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except LOST:
                self.is_cut = True
                return
            if not chunk:
                return
            await sink(chunk)

    async def wait_closed(self) -> None:
        """Wait until the pod has closed the channel."""
        await self._process.wait_closed()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal there of its new size."""
        with contextlib.suppress(*LOST):
            self._process.change_terminal_size(columns, rows)

    def signal(self, name: str) -> None:
        """Send a signal; an sshd with a forced command refuses it."""
        with contextlib.suppress(*LOST):
            self._process.send_signal(name)

    def close(self) -> None:
        """Close it; a command that reads or writes notices."""
        self._process.close()
