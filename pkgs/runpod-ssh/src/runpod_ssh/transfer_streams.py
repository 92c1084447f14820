"""What every copy needs of a channel: scripts, their answers, a stream for a thread.

Knows connections, and nothing of what is copied.
"""

import asyncio
import importlib.resources
import os
import queue
import socket
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from runpod_ssh import wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHUnreachableError, TransferError
from runpod_ssh.model import Source
from runpod_ssh.parts import MIB

# Told the bytes of content moved so far, and how many there are (0: not known).
Progress = Callable[[int, int], None]

# from this size on a copy that is cut off is gone on with; less is sooner sent again
LARGE_BYTES = 8 * 1024 * 1024
# what the event loop itself may do at a time; a disk that takes longer gets a thread
QUICK_SECONDS = 0.01
_TAIL_BYTES = 4000
_CHUNKS_AHEAD = 16


def no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(kw_only=True)
class Meter:
    """Counts what has moved, for one who is told."""

    tell: Progress
    total: int = 0
    done: int = 0

    def add(self, count: int) -> None:
        """Count bytes that have moved."""
        self.done += count
        self.tell(self.done, self.total)


def script_command(names: tuple[str, ...], *arguments: str) -> str:
    """Return the command that runs several of our scripts as one text under `sh`."""
    folder = importlib.resources.files("runpod_ssh").joinpath("assets")
    text = "\n".join(folder.joinpath(name).read_text() for name in names)
    return " ".join(["sh -c", *map(wire.quote, (text, f"runpod-ssh-{names[-1]}"))]) + (
        "".join(f" {wire.quote(argument)}" for argument in arguments)
    )


def pod_path(path: str) -> str:
    """Return a path the pod's sh takes as it is: `~` is where a command starts."""
    if path == "~":
        return "."
    return path.removeprefix("~/") or "."


def stage_key(*words: str) -> str:
    """Return what names the stage of one copy, and of the same copy once more."""
    text = "\0".join([socket.gethostname(), *words])
    return sha256(os.fsencode(text)).hexdigest()[:16] + ".part"


class Dialogue:
    """The records a script on the pod answers, and the end of what it says on stderr.

    A record ends in NUL: it may hold a path.
    """

    def __init__(self) -> None:
        self._records: asyncio.Queue[str] = asyncio.Queue()
        self._rest = b""
        self.stderr = b""

    async def hear(self, chunk: bytes) -> None:
        """Take in a piece of stdout."""
        *records, self._rest = (self._rest + chunk).split(b"\0")
        for record in records:
            self._records.put_nowait(os.fsdecode(record))

    async def hear_error(self, chunk: bytes) -> None:
        """Take in a piece of stderr."""
        self.stderr = (self.stderr + chunk)[-_TAIL_BYTES:]

    async def expect(self, word: str) -> str:
        """Return what follows the word in the next record that begins with it."""
        while True:
            said, _space, rest = (await self._records.get()).partition(" ")
            if said == word:
                return rest

    def find(self, word: str) -> str | None:
        """Return what follows the word in a record that has come; None without one."""
        while not self._records.empty():
            said, _space, rest = self._records.get_nowait().partition(" ")
            if said == word:
                return rest
        return None


async def nothing() -> Source:
    """Yield no input at all."""
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk


async def given(content: bytes) -> Source:
    """Yield one input."""
    yield content


async def ignore(_chunk: bytes) -> None:
    """Take no notice of output."""


async def list_piece_digests(
    connection: Connection, path: str, piece: int, count: int
) -> list[str]:
    """Return the pod's digests of a file's first pieces; none where it cannot."""
    result = await connection.run(
        wire.script_command("part_digests.sh", path, str(piece // MIB), str(count))
    )
    lines = result.stdout.decode(errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def refused(
    message: str, path: str, stderr: bytes, connection: Connection, *, hint: str = ""
) -> TransferError:
    """Return the error for a script that failed, in its own words."""
    lines = [
        line
        for line in os.fsdecode(stderr).splitlines()
        # tar's last words repeat that it failed
        if line.strip() and not line.startswith("tar: Exiting")
    ]
    reason = "; ".join(lines[-2:]) or "the pod ended the copy without a word"
    return TransferError(
        f"{message}: {reason}",
        path=path,
        address=connection.address,
        hint=hint or "Nothing was left under the final name.",
    )


def lost(connection: Connection, *, is_kept: bool) -> SSHUnreachableError:
    """Return the error for a connection that went away in the middle of a copy."""
    again = "it goes on where it was" if is_kept else "it starts anew"
    return SSHUnreachableError(
        f"the connection to {connection.address} was lost while copying",
        address=connection.address,
        hint=f"Nothing half-written has its final name. Run the same copy again: "
        f"{again}.",
    )


def differs(there: str, here: str) -> TransferError:
    """Return the error for two sides that do not agree."""
    return TransferError(
        f"the copy differs from its source: SHA-256 {there} on the pod, {here} here",
        hint="Copy it again when nothing writes to it.",
    )


class ReaderGoneError(Exception):
    """The thread that unpacks has failed; its own error says why."""


class Inlet:
    """Hands a stream from the event loop to the thread that unpacks it.

    A few chunks at a time: a slow disk holds back the pod. The first line, which is
    no tar, is kept as `header`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, header: bool = True) -> None:
        self._loop = loop
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_CHUNKS_AHEAD)
        self._chunk = b""
        self._at = 0
        self._is_read = True
        self._is_at_end = False
        self._has_failed = False
        self._has_header = not header
        self._line = b""

    @property
    def header(self) -> str:
        """Return the first line."""
        return self._line.decode(errors="replace")

    async def put(self, chunk: bytes) -> None:
        """Pass on a chunk; what follows the archive's end is dropped."""
        if not self._has_header:
            line, newline, chunk = chunk.partition(b"\n")
            self._line += line
            self._has_header = bool(newline)
        if not chunk:
            return
        await self._room.acquire()
        if self._has_failed:
            raise ReaderGoneError
        if self._is_read:
            self._chunks.put(chunk)
        else:
            self._room.release()

    def end(self) -> None:
        """Say that nothing more comes."""
        self._chunks.put(b"")

    def forget_reader(self, task: "asyncio.Task[Any]") -> None:
        """Take note that the thread reads no more, by success or by failure."""
        self._is_read = False
        self._has_failed = task.cancelled() or task.exception() is not None
        self._room.release()

    def peek(self) -> bytes:
        """Return some of what comes next, nothing at the end; called in the thread."""
        if self._at == len(self._chunk) and not self._is_at_end:
            self._chunk, self._at = self._chunks.get(), 0
            self._is_at_end = not self._chunk
            self._loop.call_soon_threadsafe(self._room.release)
        return self._chunk[self._at :]

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, fewer at the end; called in the thread."""
        at = self._at
        if at + size <= len(self._chunk):
            self._at = at + size
            return self._chunk[at : at + size]
        parts = [self._chunk[at:]]
        have = len(parts[0])
        self._chunk, self._at = b"", 0
        while have < size and not self._is_at_end:
            chunk = self._chunks.get()
            if not chunk:
                # it comes once, and a reader may ask again
                self._is_at_end = True
                break
            self._loop.call_soon_threadsafe(self._room.release)
            self._at = min(len(chunk), size - have)
            parts.append(chunk[: self._at])
            have += self._at
            self._chunk = chunk
        return b"".join(parts)
