"""Copying from one pod to another through this machine, which keeps nothing of it.

What one pod sends is what the other receives; a slow one holds back the other. A large
file goes in ranges and is gone on with after a copy that was cut off.
"""

import asyncio
import contextlib
import posixpath
import secrets
import time
from dataclasses import dataclass

from runpod_ssh import archive, parts, wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError, SSHUnreachableError
from runpod_ssh.model import Source, TransferResult
from runpod_ssh.part_sender import first_of
from runpod_ssh.parts import MIB
from runpod_ssh.pod_sources import Facts, ask_digest, ask_facts, count_total
from runpod_ssh.transfer_streams import (
    LARGE_BYTES,
    Dialogue,
    Meter,
    Progress,
    differs,
    given,
    ignore,
    list_piece_digests,
    lost,
    no_progress,
    nothing,
    pod_path,
    refused,
    script_command,
    stage_key,
)
from runpod_ssh.uploads import RECEIVE

_CHANNELS = 4
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


async def copy_between(
    source: PodPath,
    target: PodPath,
    *,
    verify: bool = True,
    on_progress: Progress = no_progress,
) -> TransferResult:
    """Copy a file or tree from one pod to another.

    Args:
        target: Where to; a folder that exists gets an entry of the source's name.

    Raises:
        TransferError: Nothing was copied; says why.
        SSHUnreachableError: A connection was lost.
    """
    started = asyncio.get_running_loop().time()
    facts = await ask_facts(source.connection, source.path)
    work = _Relay(source, target, facts, on_progress)
    try:
        await work.stage()
        await work.settle(verify=verify)
    except SSHUnreachableError as error:
        gone = source if source.connection.is_closed else target
        raise lost(gone.connection, is_kept=work.is_kept) from error
    return TransferResult(
        source=source.path,
        target=work.final.removeprefix("./"),
        file_count=work.file_count,
        size_bytes=work.size_bytes,
        sha256=work.sha256,
        is_verified=work.is_verified,
        elapsed_seconds=asyncio.get_running_loop().time() - started,
    )


class _Relay:
    """The state of one copy between pods."""

    def __init__(
        self, source: PodPath, target: PodPath, facts: Facts, on_progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._facts = facts
        self._meter = Meter(tell=on_progress, total=facts.size_bytes or 0)
        self._wants_total = on_progress is not no_progress
        self._stage = ""
        self.is_kept = (facts.size_bytes or 0) >= LARGE_BYTES
        self.final = ""
        self.file_count = 1
        self.size_bytes = 0
        self.sha256 = ""
        self.is_verified = False

    async def stage(self) -> None:
        """Bring the source into a stage beside its place."""
        try:
            if self.is_kept:
                await self._receive(given(archive.stream_end()))
                await self._send_ranges()
            else:
                await self._send_stream()
        except asyncio.CancelledError:
            if not self.is_kept:
                await self._discard()
            raise
        except SSHUnreachableError:
            raise
        except SSHError:
            await self._discard()
            raise

    async def settle(self, *, verify: bool) -> None:
        """Compare both sides and give the copy its name."""
        names = b""
        if self._facts.is_folder:
            names = await self._list_names()
            self.file_count = names.count(b"\0")
        self.size_bytes = await count_total(self._target.connection, self._staged)
        if verify:
            await self._compare(names)
        name = [] if self._facts.is_folder else [self._source.name]
        command = script_command(
            ("stage.sh", "commit.sh"), self._stage, self.final, *name
        )
        result = await self._target.connection.run(command)
        if result.exit_status != 0:
            raise self._refused(result.stderr)

    @property
    def _staged(self) -> str:
        folder = f"{self._stage}/{archive.PAYLOAD}"
        return folder if self._facts.is_folder else f"{folder}/{self._source.name}"

    async def _compare(self, names: bytes) -> None:
        theirs, ours = await asyncio.gather(
            ask_digest(self._target.connection, self._staged, given(names)),
            ask_digest(self._source.connection, self._source.path, given(names)),
        )
        if "none" in {theirs, ours}:
            return
        if theirs != ours:
            await self._discard()
            raise differs(theirs, ours)
        self.sha256, self.is_verified = ours, True

    async def _list_names(self) -> bytes:
        result = await self._target.connection.run(
            wire.script_command("list_files.sh", self._staged)
        )
        if result.exit_status != 0:
            raise self._refused(result.stderr)
        return result.stdout

    async def _receive(self, stdin: Source) -> Dialogue:
        """Run receive.sh over a stream; it leaves the stage for commit.sh."""
        key = secrets.token_hex(8)
        if self.is_kept:
            origin = self._source.origin or str(self._source.connection.address)
            key = stage_key(origin, self._source.path, self._target.path.rstrip("/"))
        dialogue = Dialogue()
        try:
            ended = await self._target.connection.stream(
                script_command(
                    RECEIVE,
                    pod_path(self._target.path),
                    self._source.name,
                    key,
                    "yes" if self.is_kept else "no",
                    archive.PAYLOAD,
                ),
                stdin=stdin,
                stdout=dialogue.hear,
                stderr=dialogue.hear_error,
            )
        finally:
            self._stage = dialogue.find("stage") or ""
        final = dialogue.find("final")
        if ended.exit_status != 0 or final is None:
            raise self._refused(dialogue.stderr)
        self.final = final
        return dialogue

    async def _send_stream(self) -> None:
        """Hand a tar stream on from one pod to the other."""
        here = self._source.connection
        pipe = _Pipe(self._meter, has_header=True)
        async with first_of() as group:
            if self._facts.is_folder and self._wants_total:
                group.create_task(self._count())
            receiving = group.create_task(self._receive(pipe.source()))
            # far above any file: it is to come as a stream whatever its size
            command = wire.script_command(
                "send.sh", pod_path(self._source.path), str(2**62)
            )
            await self._read(here, command, pipe)
            await receiving

    async def _count(self) -> None:
        self._meter.total = await count_total(
            self._source.connection, self._source.path
        )

    async def _read(self, here: Connection, command: str, pipe: "_Pipe") -> None:
        dialogue = Dialogue()
        ended = await here.stream(
            command, stdin=nothing(), stdout=pipe.put, stderr=dialogue.hear_error
        )
        if ended.exit_status != 0:
            path = self._source.path
            raise refused(f"cannot copy from {path}", path, dialogue.stderr, here)
        await pipe.end()

    async def _send_ranges(self) -> None:
        """Hand on what the stage lacks of a large file, several ranges at a time."""
        size = self._facts.size_bytes or 0
        ranges = await self._list_ranges(size)
        self._meter.add(size - sum(each.size_bytes for each in ranges))
        waiting = parts.split(ranges, _CHANNELS)[::-1]

        async def work() -> None:
            while waiting:
                await self._send_range(waiting.pop())

        async with first_of() as group:
            for _number in range(_CHANNELS):
                group.create_task(work())
        when = time.strftime("%Y%m%d%H%M.%S", time.gmtime(self._facts.mtime))
        await self._write_part(0, nothing(), f"{self._facts.mode:o}", when, str(size))

    async def _list_ranges(self, size: int) -> list[parts.Range]:
        there = await self._target.connection.run(
            f"stat -c %s -- {wire.quote(self._staged)}"
        )
        left = int(there.stdout) if there.stdout.strip().isdigit() else 0
        piece = parts.piece_bytes(size)
        count = -(-left // piece)
        if not count:
            return [parts.Range(start=0, end=size)]
        theirs, ours = await asyncio.gather(
            list_piece_digests(self._target.connection, self._staged, piece, count),
            list_piece_digests(
                self._source.connection, pod_path(self._source.path), piece, count
            ),
        )
        return parts.list_missing(size, ours, theirs[: len(ours)])

    async def _send_range(self, part: parts.Range) -> None:
        pipe = _Pipe(self._meter, limit=part.size_bytes)
        command = wire.script_command(
            "read_part.sh",
            pod_path(self._source.path),
            str(part.start // MIB),
            str(-(-part.size_bytes // MIB)),
        )
        async with first_of() as group:
            reading = self._read(self._source.connection, command, pipe)
            writing = self._write_part(part.start // MIB, pipe.source())
            group.create_task(reading)
            group.create_task(writing)

    async def _write_part(self, seek_mib: int, stdin: Source, *facts: str) -> None:
        dialogue = Dialogue()
        name = f"{archive.PAYLOAD}/{self._source.name}"
        ended = await self._target.connection.stream(
            wire.script_command(
                "write_part.sh", self._stage, name, str(seek_mib), *facts
            ),
            stdin=stdin,
            stdout=ignore,
            stderr=dialogue.hear_error,
        )
        if ended.exit_status != 0:
            raise self._refused(dialogue.stderr)

    async def _discard(self) -> None:
        """Remove the stage, as far as the pod can still be reached."""
        if not self._stage:
            return
        with contextlib.suppress(SSHError, TimeoutError):
            async with asyncio.timeout(5):
                await self._target.connection.run(
                    script_command(("stage.sh", "commit.sh"), self._stage)
                )

    def _refused(self, stderr: bytes) -> Exception:
        path = self._target.path
        return refused(f"cannot copy to {path}", path, stderr, self._target.connection)


class _Pipe:
    """A few chunks between two channels: a slow reader holds back the writer."""

    def __init__(
        self, meter: Meter, *, has_header: bool = False, limit: int | None = None
    ) -> None:
        self._meter = meter
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_CHUNKS_AHEAD)
        self._has_header = has_header
        self._left = limit

    async def put(self, chunk: bytes) -> None:
        """Take a chunk, without the first line where there is one."""
        if self._has_header:
            _line, newline, chunk = chunk.partition(b"\n")
            self._has_header = not newline
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
