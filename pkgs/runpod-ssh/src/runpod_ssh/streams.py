"""Descriptors as sources and sinks that never block the loop, whosever they are.

O_NONBLOCK would be seen by every process that shares the terminal or pipe, so it is
never set. A pipe takes what the kernel can move into it at once from a pipe of ours,
anything else what it surely takes once it is ready.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from runpod_ssh.model import Sink, Source

CHUNK_BYTES = 256 * 1024
# POSIX: a pipe that polls writable takes this much without blocking
_SURE_BYTES = 4096


async def read_descriptor(descriptor: int) -> Source:
    """Yield what can be read from a descriptor until its end."""
    is_always_ready = _is_always_ready(descriptor)
    while True:
        if not is_always_ready:
            await _until_ready(descriptor, for_writing=False)
        try:
            chunk = os.read(descriptor, CHUNK_BYTES)
        except OSError as error:
            if error.errno == errno.EIO:  # how a terminal that hung up says its end
                return
            raise
        if not chunk:
            return
        yield chunk


async def read_nothing() -> Source:
    """Yield an input that is at its end."""
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk


async def read_file(path: Path) -> Source:
    """Yield a file's content."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextlib.contextmanager
def writing(descriptor: int) -> Iterator[Sink]:
    """Yield a sink that writes to a descriptor; the block's end frees what it took.

    Raises (the sink, when awaited):
        BrokenPipeError: The reader has gone.
    """
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISFIFO(mode):
        yield write_descriptor(descriptor)
        return
    with _Siphon(descriptor) as siphon:
        yield siphon.write


def write_descriptor(descriptor: int) -> Sink:
    """Return a sink that writes to a descriptor, in pieces that cannot block.

    Raises (the sink, when awaited):
        BrokenPipeError: The reader has gone.
    """
    piece_bytes = CHUNK_BYTES if _is_always_ready(descriptor) else _SURE_BYTES
    return _in_pieces(descriptor, lambda rest: os.write(descriptor, rest[:piece_bytes]))


async def discard(chunk: bytes) -> None:
    """Take a chunk and forget it."""
    del chunk


def _in_pieces(descriptor: int, put: Callable[[memoryview], int]) -> Sink:
    """Return a sink that puts as much as goes, then waits until more does."""
    is_always_ready = _is_always_ready(descriptor)

    async def write(chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            if not is_always_ready:
                await _until_ready(descriptor, for_writing=True)
            rest = rest[put(rest) :]

    return write


class _Siphon:
    """A pipe of ours from which the kernel moves pages into somebody else's pipe.

    splice() can be told not to wait where write() cannot without O_NONBLOCK, and moves
    all there is room for instead of a page.
    """

    def __init__(self, descriptor: int) -> None:
        self._target = descriptor
        self._held = 0
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # more than the user may have in pipes
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._in)
        os.close(self._out)

    async def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while True:
            # also what a call that was cut short has left in the pipe
            while self._held:
                self._held -= await self._move(self._held)
            if not rest:
                return
            taken = os.write(self._in, rest)
            self._held += taken
            rest = rest[taken:]

    async def _move(self, count: int) -> int:
        try:
            return os.splice(self._out, self._target, count, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            await _until_ready(self._target, for_writing=True)
            return 0


def _is_always_ready(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


async def _until_ready(descriptor: int, *, for_writing: bool) -> None:
    """Return when the descriptor can be read from or written to."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if for_writing else select.POLLIN)
    if poll.poll(0):
        return
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer)
        if for_writing
        else (loop.add_reader, loop.remove_reader)
    )

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        add(descriptor, on_ready)
    except PermissionError:
        return  # epoll refuses files and /dev/null: those are ready at any time
    try:
        await ready
    finally:
        remove(descriptor)
