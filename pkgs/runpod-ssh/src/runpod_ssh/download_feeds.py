"""Between the event loop of a download and its threads: names one way, bytes the other.

Knows nothing of connections.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self

from runpod_ssh import parts
from runpod_ssh.parts import MIB
from runpod_ssh.transfer_streams import QUICK_SECONDS, Meter

_NAMES_AT_ONCE = 200
_BATCH_BYTES = 1 * MIB


class NameFeed:
    """Hands the names of files that a thread has written to a command's stdin."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        self.end()

    def put(self, name: bytes) -> None:
        """Take a name; called in the thread."""
        self._waiting.append(name + b"\0")
        if len(self._waiting) >= _NAMES_AT_ONCE:
            batch, self._waiting = b"".join(self._waiting), []
            self._loop.call_soon_threadsafe(self._queue.put_nowait, batch)

    def end(self) -> None:
        """Say that there are no more names; safe to repeat."""
        batch, self._waiting = b"".join(self._waiting), []
        if batch:
            self._queue.put_nowait(batch)
        self._queue.put_nowait(b"")

    async def source(self) -> AsyncIterator[bytes]:
        """Yield the names."""
        while batch := await self._queue.get():
            yield batch


class RangeWriter:
    """Writes a range to a file as it comes; a slow disk gets some MiB at a time."""

    def __init__(
        self,
        file: parts.PartFile,
        part: parts.Range,
        digest: "hashlib._Hash | None",
        meter: Meter,
    ) -> None:
        self._file = file
        self._end = part.end
        self._digest = digest
        self._meter = meter
        # where a disk keeps up a thread costs more than it gains, and so does memory
        # that is not the one the chunk came in
        self._is_quick = True
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self.at = part.start

    async def put(self, chunk: bytes) -> None:
        """Take a chunk; what is more than the range is dropped."""
        left = self._end - self.at - self._waiting_bytes
        piece = chunk if len(chunk) <= left else memoryview(chunk)[:left]
        if not piece:
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._is_quick or self._waiting_bytes >= _BATCH_BYTES:
            await self._write()

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._write()
        await self._wait_written()

    async def _write(self) -> None:
        await self._wait_written()
        batch, self._waiting = self._waiting, []
        size, self._waiting_bytes = self._waiting_bytes, 0
        at, self.at = self.at, self.at + size
        if self._is_quick:
            began = time.monotonic()
            self._write_batch(batch, at)
            self._is_quick = time.monotonic() - began < QUICK_SECONDS
        else:
            work = asyncio.to_thread(self._write_batch, batch, at)
            self._writing = asyncio.ensure_future(work)
        self._meter.add(size)

    async def _wait_written(self) -> None:
        if self._writing is not None:
            await self._writing

    def _write_batch(self, batch: Sequence[bytes | memoryview], at: int) -> None:
        if self._digest is not None:
            for chunk in batch:
                self._digest.update(chunk)
        self._file.write(batch, at)
