"""The pod's digest of large files, made beside their way there and not after it.

The ranges of a file arrive on several channels; one command on the pod reads those that
are complete, in their order, and sums them up. Knows nothing of what is sent.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError, SSHUnreachableError, TransferError
from runpod_ssh.model import Source
from runpod_ssh.parts import MIB, Range
from runpod_ssh.pod_sources import ask_digest


@dataclass(kw_only=True)
class Segment:
    """Bytes of one file that become readable on the pod together."""

    name: bytes
    part: Range
    is_there: bool = False

    @property
    def record(self) -> bytes:
        """Return what dd is told, NUL after each word."""
        count = -(-self.part.size_bytes // MIB)
        return b"if=%b\0skip=%d\0count=%d\0" % (
            self.name,
            self.part.start // MIB,
            count,
        )


class PartDigest:
    """One digest over the contents of large files, in a channel of its own.

    A pod that has no channel to spare for it is asked again when the files are there.
    """

    def __init__(
        self, connection: Connection, stage: str, *, is_wanted: bool = True
    ) -> None:
        """Prepare.

        Args:
            is_wanted: Nothing is asked without it, and the answer is `none`.
        """
        self._connection = connection
        self._is_wanted = is_wanted
        self._stage = stage
        self._segments: list[Segment] = []
        self._is_stopped = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[str] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_ended: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def plan(self, name: bytes, part: Range) -> Segment:
        """Add what is to be digested next, before `start`."""
        segment = Segment(name=name, part=part)
        self._segments.append(segment)
        return segment

    def note_there(self, segment: Segment) -> None:
        """Say that a segment stands on the pod."""
        segment.is_there = True
        self._news.set()

    def start(self) -> None:
        """Begin; all segments are planned."""
        if not self._is_wanted:
            return
        self._task = asyncio.get_running_loop().create_task(self._ask())

    async def stop(self) -> None:
        """Free the channel; `finish` asks anew."""
        task, self._task = self._task, None
        if task is not None:
            self._is_stopped = True
            self._news.set()
            await asyncio.gather(task, return_exceptions=True)
            self._is_stopped = False

    async def finish(self) -> str:
        """Return the digest once all segments are there; `none` where it has no means.

        Raises:
            TransferError: The pod cannot read what arrived.
            SSHUnreachableError: The connection was lost.
        """
        if not self._is_wanted:
            return "none"
        if self._task is not None:
            try:
                return await self._task
            except (SSHUnreachableError, TransferError):
                raise
            except SSHError:
                # no channel was to be had beside the others
                await self.stop()
        return await self._ask()

    async def _ask(self) -> str:
        return await ask_digest(
            self._connection, self._stage, self._list_there(), is_parts=True
        )

    async def _list_there(self) -> Source:
        """Yield the segments in order, each when it is there."""
        for segment in self._segments:
            while not segment.is_there:
                self._news.clear()
                await self._news.wait()
                if self._is_stopped:
                    return
            yield segment.record
