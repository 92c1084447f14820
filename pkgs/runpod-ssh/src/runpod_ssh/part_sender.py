"""Ranges of large local files into a stage on a pod, one by one or several at once.

sshd grants each channel a window of 2 MiB, which alone would leave a long link idle. A
short one is filled by one channel, and more would only cost both machines time.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from runpod_ssh import archive, parts
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError, SSHUnreachableError, TransferError
from runpod_ssh.model import Source
from runpod_ssh.part_digest import PartDigest, Segment
from runpod_ssh.parts import MIB
from runpod_ssh.transfer_streams import (
    QUICK_SECONDS,
    Dialogue,
    Meter,
    ignore,
    list_piece_digests,
    nothing,
    refused,
    script_command,
)

# sshd allows ten sessions on a connection unless told otherwise; others use it too
_CHANNELS = 6
# a shorter link is filled by one, which then reads a file in its order
_SHORT_SECONDS = 0.005
# what is digested on the pod in one go, while the next range is under way
_MOST_BYTES = 64 * MIB


@contextlib.asynccontextmanager
async def first_of() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks together; of their failures, which have one cause, raise the first."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def ahead(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces of an iterator: of a slow one from a thread, a MiB ahead.

    Where a disk keeps up a thread costs more than it gains: what it has read is no
    longer in this core's cache, and each call fights for Python's lock.
    """
    is_quick = True
    while is_quick:
        began = time.monotonic()
        piece = next(pieces, None)
        is_quick = time.monotonic() - began < QUICK_SECONDS
        if piece is None:
            return
        yield piece
    following = asyncio.ensure_future(asyncio.to_thread(_gather, pieces))
    try:
        while batch := await following:
            following = asyncio.ensure_future(asyncio.to_thread(_gather, pieces))
            for piece in batch:
                yield piece
    finally:
        # the thread ends with its batch; nobody is to read after the copy has ended
        following.cancel()


def _gather(pieces: Iterator[bytes]) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= MIB:
            break
    return batch


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One range of one file, to be sent on one channel."""

    entry: archive.Entry
    part: parts.Range
    segment: Segment
    is_only: bool


class PartSender:
    """Sends ranges of local files into a stage on a pod, several at a time."""

    def __init__(
        self, connection: Connection, stage: str, meter: Meter, digest: PartDigest
    ) -> None:
        self._connection = connection
        self._stage = stage
        self._meter = meter
        self._digest = digest
        round_trip = connection.round_trip_seconds or 0.0
        self._is_short = round_trip < _SHORT_SECONDS
        self._last: dict[bytes, Segment] = {}
        self._content: hashlib._Hash | None = None
        self._left: Counter[bytes] = Counter()
        self._jobs: list[_Job] = []

    async def send(
        self,
        entries: Sequence[archive.Entry],
        left: dict[bytes, tuple[int, int]],
        content: "hashlib._Hash",
    ) -> None:
        """Send files, without what the stage holds of them.

        Args:
            left: Size and time by name of what the stage holds.
            content: Takes in all the files, in this order.

        Raises:
            TransferError: A file cannot be read here or written there.
        """
        is_whole = True
        for entry in entries:
            ranges = await self._list_ranges(entry, left.get(entry.name))
            wanted = sum(each.size_bytes for each in ranges)
            self._meter.add(entry.size_bytes - wanted)
            is_whole = is_whole and wanted == entry.size_bytes
            self._plan(entry, self._split(ranges))
        self._jobs.reverse()
        self._digest.start()
        async with first_of() as group:
            if self._is_short and is_whole:
                self._content = content
            else:
                group.create_task(asyncio.to_thread(_hash_files, entries, content))
            await self._run_all()

    async def _run_all(self) -> None:
        workers = 1 if self._is_short else min(_CHANNELS, len(self._jobs))
        await self._run_workers(workers, may_stop=True)
        if self._jobs:
            # what a refused channel left is for one that nobody competes with
            await self._digest.stop()
            await self._run_workers(1, may_stop=False)

    def _split(self, ranges: list[parts.Range]) -> list[parts.Range]:
        total = sum(each.size_bytes for each in ranges)
        most = -(-total // _MOST_BYTES)
        count = most if self._is_short else max(most, _CHANNELS)
        return parts.split(ranges, count) or [parts.Range(start=0, end=0)]

    def _plan(self, entry: archive.Entry, ranges: list[parts.Range]) -> None:
        """Note the jobs of a file, and what is readable on the pod after each."""
        self._left[entry.name] = len(ranges)
        done = 0
        for each in ranges:
            # what is not sent stands before it already; the end only at the very end
            end = entry.size_bytes if each is ranges[-1] else each.end
            segment = self._digest.plan(entry.name, parts.Range(start=done, end=end))
            done = end
            self._jobs.append(
                _Job(
                    entry=entry,
                    part=each,
                    segment=segment,
                    is_only=len(ranges) == 1,
                )
            )
        self._last[entry.name] = segment

    async def _run_workers(self, count: int, *, may_stop: bool) -> None:
        async with first_of() as group:
            for _number in range(count):
                group.create_task(self._work(may_stop=may_stop))

    async def _list_ranges(
        self, entry: archive.Entry, left: tuple[int, int] | None
    ) -> list[parts.Range]:
        """Return what of a file has to go, holes and what the pod has left out."""
        try:
            if left is None or not left[0]:
                return await asyncio.to_thread(
                    parts.list_data, entry.path, entry.size_bytes
                )
            piece = parts.piece_bytes(entry.size_bytes)
            count = -(-left[0] // piece)
            place = f"{self._stage}/{os.fsdecode(entry.name)}"
            ours, theirs = await asyncio.gather(
                asyncio.to_thread(parts.digest_pieces, entry.path, piece, count),
                list_piece_digests(self._connection, place, piece, count),
            )
        except OSError as error:
            raise archive.local_error("read", os.fsdecode(entry.path), error) from error
        # a hole of the source goes too: the stage may hold something else there
        return parts.list_missing(entry.size_bytes, ours, theirs[: len(ours)])

    async def _work(self, *, may_stop: bool) -> None:
        """Send one range after the other, until a session is refused."""
        while self._jobs:
            job = self._jobs.pop()
            try:
                await self._send_part(job)
            except (SSHUnreachableError, TransferError):
                raise
            except SSHError:
                if not may_stop:
                    raise
                self._jobs.append(job)
                return

    async def _send_part(self, job: _Job) -> None:
        entry = job.entry
        is_last = job.is_only
        await self._run_part(entry, job.part, is_complete=is_last)
        self._left[entry.name] -= 1
        if not self._left[entry.name] and not is_last:
            await self._run_part(entry, parts.Range(start=0, end=0), is_complete=True)
        last = self._last[entry.name]
        if job.segment is not last:
            self._digest.note_there(job.segment)
        if not self._left[entry.name]:
            # only now it has its length
            self._digest.note_there(last)

    async def _run_part(
        self, entry: archive.Entry, part: parts.Range, *, is_complete: bool
    ) -> None:
        facts = []
        if is_complete:
            when = time.strftime("%Y%m%d%H%M.%S", time.gmtime(entry.mtime))
            facts = [f"{entry.mode:o}", when, str(entry.size_bytes)]
        dialogue = Dialogue()
        ended = await self._connection.stream(
            script_command(
                ("write_part.sh",),
                self._stage,
                os.fsdecode(entry.name),
                str(part.start // MIB),
                *facts,
            ),
            stdin=self._read(entry, part) if part.size_bytes else nothing(),
            stdout=ignore,
            stderr=dialogue.hear_error,
        )
        if ended.exit_status != 0:
            path = os.fsdecode(entry.path)
            raise refused(
                f"cannot copy {path}", path, dialogue.stderr, self._connection
            )

    async def _read(self, entry: archive.Entry, part: parts.Range) -> Source:
        async for chunk in ahead(_read_range(entry, part)):
            self._meter.add(len(chunk))
            if self._content is not None:
                self._content.update(chunk)
            yield chunk


def _hash_files(entries: Sequence[archive.Entry], digest: "hashlib._Hash") -> None:
    for entry in entries:
        try:
            parts.feed_digest(digest, entry.path, entry.size_bytes)
        except OSError as error:
            path = os.fsdecode(entry.path)
            raise archive.local_error("read", path, error) from error


def _read_range(entry: archive.Entry, part: parts.Range) -> Iterator[bytes]:
    at = part.start
    try:
        file = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while at < part.end:
                size = min(archive.CHUNK_BYTES, part.end - at)
                chunk = os.pread(file, size, at)
                if not chunk:
                    raise archive.became_shorter(os.fsdecode(entry.path))
                at += len(chunk)
                yield chunk
        finally:
            os.close(file)
    except OSError as error:
        raise archive.local_error("read", os.fsdecode(entry.path), error) from error
