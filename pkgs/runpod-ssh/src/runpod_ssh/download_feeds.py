"""Between the event loop of a download and its threads: names one way, bytes the other.

Knows nothing of connections.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Self

from runpod_ssh import parts
from runpod_ssh.parts import MIB
from runpod_ssh.transfer_streams import Meter

_NAMES_AT_ONCE = 200
_BATCH_BYTES = 4 * MIB


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
    """Writes a range to a file as it comes, some MiB at a time, in a thread."""

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
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self.at = part.start

    async def put(self, chunk: bytes) -> None:
        """Take a chunk; what is more than the range is dropped."""
        chunk = chunk[: self._end - self.at - self._waiting_bytes]
        if not chunk:
            return
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk)
        if self._waiting_bytes >= _BATCH_BYTES:
            await self._write()

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._write()
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        if self._writing is not None:
            await self._writing
        chunks, self._chunks = self._chunks, []
        size, self._waiting_bytes = self._waiting_bytes, 0
        work = asyncio.to_thread(self._write_chunks, chunks, self.at)
        self._writing = asyncio.ensure_future(work)
        self.at += size
        self._meter.add(size)

    def _write_chunks(self, chunks: list[bytes], at: int) -> None:
        # each call hands Python's lock back and forth, and getting it again takes long
        batch = b"".join(chunks)
        if self._digest is not None:
            self._digest.update(batch)
        view = memoryview(batch)
        # zeros are left out by the MiB
        pieces = [view[start : start + MIB] for start in range(0, len(batch), MIB)]
        self._file.write(pieces, at)
