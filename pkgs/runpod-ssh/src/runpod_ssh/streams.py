"""This process' own descriptors as sources and sinks that never block the loop.

O_NONBLOCK would be seen by every process that shares the terminal or pipe; waiting
until a descriptor is ready, and writing no more than it surely takes, needs no flag.
"""

import asyncio
import errno
import os
import select
import stat
from pathlib import Path

from runpod_ssh.model import Sink, Source

CHUNK_BYTES = 64 * 1024
# POSIX: a pipe that polls writable takes this much without blocking
_SURE_BYTES = 4096


async def read_descriptor(descriptor: int) -> Source:
    """Yield what can be read from a descriptor until its end."""
    while True:
        await _wait_ready(descriptor, for_writing=False)
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


def write_descriptor(descriptor: int) -> Sink:
    """Return a sink that writes to a descriptor.

    Raises (the sink, when awaited):
        BrokenPipeError: The reader has gone.
    """
    always_ready = _is_always_ready(descriptor)

    async def write(chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            if always_ready:
                rest = rest[os.write(descriptor, rest) :]
                continue
            if not select.select([], [descriptor], [], 0)[1]:
                await _wait_ready(descriptor, for_writing=True)
            rest = rest[os.write(descriptor, rest[:_SURE_BYTES]) :]

    return write


async def discard(chunk: bytes) -> None:
    """Take a chunk and forget it."""
    del chunk


def _is_always_ready(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


async def _wait_ready(descriptor: int, *, for_writing: bool) -> None:
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
