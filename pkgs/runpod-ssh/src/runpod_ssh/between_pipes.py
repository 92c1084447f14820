"""What a copy between pods is made of: the two ends, and the pipe from one to the other.

Nothing of what goes through is kept on this machine.
"""

import asyncio
import posixpath
from dataclasses import dataclass

from runpod_ssh.connection import Connection
from runpod_ssh.model import Source
from runpod_ssh.transfer_streams import Dialogue, Meter, nothing, refused

_CHUNKS_AHEAD = 16


@dataclass(frozen=True, kw_only=True)
class PodPath:
    """A file or folder on a pod that is connected.

    Attributes:
        origin: What names the pod for good; its address without it.
    """

    connection: Connection
    path: str
    origin: str = ""

    @property
    def name(self) -> str:
        """Return what it is called."""
        name = posixpath.basename(self.path.rstrip("/"))
        return "home" if name in {"", ".", "..", "~"} else name

    def refused(self, doing: str, stderr: bytes) -> Exception:
        """Return the error for a script there that failed, in its own words."""
        return refused(f"{doing} {self.path}", self.path, stderr, self.connection)


class Pipe:
    """A few chunks between two channels: a slow reader holds back the writer.

    Attributes:
        has_header: The first line that comes is not part of it.
    """

    def __init__(
        self, meter: Meter, *, has_header: bool = False, limit: int | None = None
    ) -> None:
        self.has_header = has_header
        self._meter = meter
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_CHUNKS_AHEAD)
        self._left = limit

    async def put(self, chunk: bytes) -> None:
        """Take a chunk, without the first line where there is one."""
        if self.has_header:
            _line, newline, chunk = chunk.partition(b"\n")
            self.has_header = not newline
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        if chunk:
            await self._chunks.put(chunk)

    async def end(self) -> None:
        """Say that nothing more comes."""
        await self._chunks.put(b"")

    async def source(self) -> Source:
        """Yield the chunks."""
        while chunk := await self._chunks.get():
            self._meter.add(len(chunk))
            yield chunk


async def read_into(
    pipe: Pipe, here: PodPath, command: str, stdin: Source | None = None
) -> None:
    """Run a command that reads the source, and hand on what it writes.

    Raises:
        TransferError: It failed.
    """
    dialogue = Dialogue()
    ended = await here.connection.stream(
        command,
        stdin=stdin or nothing(),
        stdout=pipe.put,
        stderr=dialogue.hear_error,
    )
    if ended.exit_status != 0:
        raise here.refused("cannot copy from", dialogue.stderr)
    await pipe.end()
