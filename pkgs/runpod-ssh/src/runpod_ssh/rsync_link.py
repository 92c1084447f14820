"""One run of this machine's rsync whose other end is a command on a pod.

rsync believes it talks to its remote shell; that one hands us its descriptors
(`rsync_shell`), and what comes over them goes through a channel of the connection that
stands. Everything ends with the block, rsync and its children too.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from runpod_ssh.model import Source
from runpod_ssh.rsync_program import list_arguments, parse_command, parse_position

_START_SECONDS = 10.0
_CHUNK_BYTES = 256 * 1024
_COMMAND_BYTES = 64 * 1024
_TAIL_BYTES = 2000
# told how far in the file rsync is
Tell = Callable[[int], None]


def _ignore(_position: int) -> None:
    """Take no notice."""


class RsyncFailedError(Exception):
    """rsync did not do it; the ordinary way will."""


class RsyncGivenUpError(RsyncFailedError):
    """The ordinary way is the better one for this file."""


class RsyncLink:
    """A running rsync: the command for the pod, and its stream; see `open_rsync`.

    Attributes:
        command: Arguments for the pod's rsync.
        out_bytes: What rsync here has sent.
        in_bytes: What it has been sent.
        on_position: Told how far in the file it is.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        command: list[str],
        ends: tuple[int, int],
    ) -> None:
        self.command = command
        self.out_bytes = self.in_bytes = 0
        self.on_position: Tell = _ignore
        self._process = process
        self._from_rsync, self._to_rsync = ends
        self._is_input_ended = False
        self._reason = ""
        loop = asyncio.get_running_loop()
        self._reading = [
            loop.create_task(self._follow(process.stdout)),
            loop.create_task(self._listen(process.stderr)),
        ]
        self._complaints = b""

    async def outgoing(self) -> Source:
        """Yield what rsync sends, until it has ended."""
        while chunk := await _read(self._from_rsync):
            self.out_bytes += len(chunk)
            yield chunk

    async def take(self, chunk: bytes) -> None:
        """Give rsync what came from the pod; one that has ended wants no more.

        Raises:
            RsyncFailedError: It ended too soon.
        """
        self.in_bytes += len(chunk)
        try:
            await _write(self._to_rsync, chunk)
        except OSError:
            await self.finish()

    async def finish(self) -> None:
        """Wait for rsync's end.

        Raises:
            RsyncFailedError: It was not done.
        """
        self._end_input()
        await asyncio.wait(self._reading)
        status = await self._process.wait()
        if status != 0:
            lines = self._complaints.decode(errors="replace").splitlines()
            raise self.failure("; ".join(lines[:2]) or f"rsync ended with {status}")

    def give_up(self, reason: str) -> None:
        """End it in the middle; what fails then fails for this reason."""
        self._reason = reason
        self._kill()

    def failure(self, symptom: str) -> RsyncFailedError:
        """Return the error for what it came to, or for having been given up."""
        if self._reason:
            return RsyncGivenUpError(self._reason)
        return RsyncFailedError(symptom)

    async def close(self) -> None:
        """End it, whatever it does."""
        os.close(self._from_rsync)
        self._end_input()
        self._kill()
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._process.wait()

    def _kill(self) -> None:
        if self._process.returncode is None:
            _kill(self._process)

    def _end_input(self) -> None:
        if not self._is_input_ended:
            self._is_input_ended = True
            os.close(self._to_rsync)

    async def _follow(self, stdout: asyncio.StreamReader | None) -> None:
        while stdout and (said := await stdout.read(_CHUNK_BYTES)):
            position = parse_position(said)
            if position is not None:
                self.on_position(position)

    async def _listen(self, stderr: asyncio.StreamReader | None) -> None:
        while stderr and (said := await stderr.read(_CHUNK_BYTES)):
            self._complaints = (self._complaints + said)[-_TAIL_BYTES:]


@contextlib.asynccontextmanager
async def open_rsync(
    program: str, folder: Path, source: str, target: str
) -> AsyncIterator[RsyncLink]:
    """Start rsync in a folder; it is gone after the block.

    Args:
        source: What to read, `pod:NAME` on the pod.
        target: What to write, likewise.

    Raises:
        RsyncFailedError: It does not start, or wants something unexpected of the pod.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await _start(program, folder, theirs, source, target)
        try:
            command, ends = await _hear(ours)
        except BaseException:
            _kill(process)
            await process.wait()
            raise
    link = RsyncLink(process, command, ends)
    try:
        yield link
    finally:
        await asyncio.shield(link.close())


async def _start(
    program: str, folder: Path, theirs: socket.socket, source: str, target: str
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            program,
            *list_arguments(theirs.fileno(), source, target),
            cwd=folder,
            # none of the user's RSYNC_... and no ~/.popt: they change what it does
            env={"LC_ALL": "C"},
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # a Ctrl-C is for us: we end it
            start_new_session=True,
        )
    except OSError as error:
        raise RsyncFailedError(f"cannot start rsync: {error.strerror}") from error


async def _hear(link: socket.socket) -> tuple[list[str], tuple[int, int]]:
    """Return the command rsync wants run, and the ends of its stream."""
    link.setblocking(False)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _until_ready(link.fileno(), is_reading=True)
        said, ends, _flags, _address = socket.recv_fds(link, _COMMAND_BYTES, 2)
    except (OSError, TimeoutError) as error:
        raise RsyncFailedError("rsync did not start its remote shell") from error
    command = parse_command(said)
    if command is None or len(ends) != 2:  # its stdin and stdout
        for end in ends:
            os.close(end)
        raise RsyncFailedError("rsync wants something unknown of the pod")
    for end in ends:
        os.set_blocking(end, False)
    return command, (ends[0], ends[1])


def _kill(process: asyncio.subprocess.Process) -> None:
    # its children too: rsync receives with two processes
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _read(end: int) -> bytes:
    while True:
        try:
            return os.read(end, _CHUNK_BYTES)
        except BlockingIOError:
            await _until_ready(end, is_reading=True)
        except OSError:
            return b""


async def _write(end: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(end, view) :]
        except BlockingIOError:
            await _until_ready(end, is_reading=False)


async def _until_ready(end: int, *, is_reading: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if is_reading
        else (loop.add_writer, loop.remove_writer)
    )
    add(end, wake)
    try:
        await ready
    finally:
        remove(end)
