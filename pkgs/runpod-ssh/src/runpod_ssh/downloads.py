"""Copying from a pod to this machine.

A tree and a small file come as one tar stream, a large file as ranges of its bytes.
Both are put together in a hidden folder beside their place, compared by SHA-256 where
the pod has sha256sum, and only then renamed. What is left of a copy that was cut off
is compared with the pod's, and only the rest is fetched.
"""

import asyncio
import contextlib
import hashlib
import os
import posixpath
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from runpod_ssh import archive, parts, stages, unpacking, wire
from runpod_ssh.connection import Connection
from runpod_ssh.download_feeds import NameFeed, RangeWriter
from runpod_ssh.errors import (
    CommandTimeoutError,
    SSHError,
    SSHUnreachableError,
    TransferError,
)
from runpod_ssh.model import Source, TransferResult
from runpod_ssh.parts import MIB
from runpod_ssh.pod_sources import (
    Facts,
    ask_digest,
    ask_facts,
    count_total,
    parse_facts,
)
from runpod_ssh.transfer_streams import (
    LARGE_BYTES,
    Dialogue,
    Inlet,
    Meter,
    Progress,
    ReaderGoneError,
    differs,
    given,
    list_piece_digests,
    lost,
    no_progress,
    nothing,
    pod_path,
    refused,
    stage_key,
)


async def download(
    connection: Connection,
    remote: str,
    local: Path,
    *,
    verify: bool = True,
    timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
    on_progress: Progress = no_progress,
    origin: str = "",
) -> TransferResult:
    """Copy a file or tree from the pod.

    A copy of LARGE_BYTES or more that is cut off is gone on with by the same call.

    Args:
        local: Where to; a folder that exists gets an entry of the source's name.
            A tree that is there already gets the new files; others in it stay.
        on_progress: May be called in another thread.
        origin: What names the pod for good, so that a copy can be gone on with after
            a restart gave it another address.

    Raises:
        TransferError: Nothing was copied; says why.
        CommandTimeoutError: `timeout` passed.
        SSHUnreachableError: The connection was lost.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    final = stages.find_place(local, posixpath.basename(remote.rstrip("/")))
    key = stage_key(origin or str(connection.address), remote, str(final.absolute()))
    work = _Download(connection, remote, verify=verify, on_progress=on_progress)
    with stages.open_stage(final, key) as stage:
        try:
            async with asyncio.timeout(timeout):
                whole = await work.fetch(stage)
        except (asyncio.CancelledError, TimeoutError, SSHError) as error:
            # sshd tells of a command's end ahead of its last output: a stream may be
            # cut short and look ended well
            is_lost = connection.is_closed or isinstance(error, SSHUnreachableError)
            if is_lost or not isinstance(error, SSHError):
                stage.is_kept = work.is_worth_keeping
            if isinstance(error, TimeoutError):
                raise _too_slow(connection, timeout or 0.0) from error
            if isinstance(error, SSHError) and is_lost:
                raise lost(connection, is_kept=stage.is_kept) from error
            raise
        await asyncio.to_thread(stages.place, whole, final)
    return TransferResult(
        source=remote,
        target=str(final),
        file_count=work.file_count,
        size_bytes=work.size_bytes,
        sha256=work.sha256,
        is_verified=work.is_verified,
        elapsed_seconds=loop.time() - started,
    )


def _too_slow(connection: Connection, seconds: float) -> CommandTimeoutError:
    return CommandTimeoutError(
        f"the copy from {connection.address} took longer than {seconds:g} s",
        waited_seconds=seconds,
        address=connection.address,
        hint="Run the same copy again with a larger timeout: it goes on where it was.",
    )


class _Download:
    """The state of one download."""

    def __init__(
        self,
        connection: Connection,
        remote: str,
        *,
        verify: bool,
        on_progress: Progress,
    ) -> None:
        self._connection = connection
        self._remote = remote
        self._path = pod_path(remote)
        self._verify = verify
        self._meter = Meter(tell=on_progress)
        self._wants_total = on_progress is not no_progress
        self.file_count = 1
        self.size_bytes = 0
        self.sha256 = ""
        self.is_verified = False

    @property
    def is_worth_keeping(self) -> bool:
        """Return whether so much has come that the next copy should go on with it."""
        return self._meter.done >= LARGE_BYTES

    async def fetch(self, stage: stages.Stage) -> Path:
        """Put the source together in the stage; return where it stands there."""
        if stage.has_left:
            facts = await ask_facts(self._connection, self._remote)
            if facts.is_folder:
                return await self._go_on(stage)
            if facts.size_bytes is None or facts.size_bytes < LARGE_BYTES:
                stage.clear()
        with NameFeed() as names:
            verifying = self._start(self._ask_digest(names.source()))
            counting = self._start(self._count_total()) if self._wants_total else None
            try:
                facts, unpacked = await self._stream(stage.payload, names)
                if unpacked is None:
                    whole = await self._fetch_parts(stage, facts)
                else:
                    whole = self._take(unpacked, facts, stage.payload)
                names.end()
                if self._verify:
                    self._compare(await verifying)
            finally:
                names.end()
                await _finish(verifying, counting)
        return whole

    def _start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(work)

    def _take(self, unpacked: unpacking.Unpacked, facts: Facts, payload: Path) -> Path:
        self.file_count = len(unpacked.names)
        self.size_bytes = unpacked.size_bytes
        self.sha256 = unpacked.sha256
        if facts.is_folder:
            return payload
        try:
            (whole,) = payload.iterdir()
        except ValueError as error:
            raise TransferError(
                f"the pod sent something else than {self._remote}", path=self._remote
            ) from error
        return whole

    async def _stream(
        self, folder: Path, names: "NameFeed"
    ) -> tuple[Facts, unpacking.Unpacked | None]:
        """Unpack what send.sh writes; None of it for a file that comes in parts."""
        loop = asyncio.get_running_loop()
        dialogue, inlet = Dialogue(), Inlet(loop)

        def on_bytes(done: int) -> None:
            self._meter.add(done - self._meter.done)

        def work() -> unpacking.Unpacked | None:
            # the first line has come before the first byte of the archive has
            first = inlet.peek()
            if inlet.header.startswith("file ") and not self._meter.total:
                self._meter.total = parse_facts(inlet.header).size_bytes or 0
            if not first:
                return None
            return unpacking.unpack(inlet, folder, on_bytes, on_name=names.put)

        unpacking_task = asyncio.create_task(asyncio.to_thread(work))
        unpacking_task.add_done_callback(inlet.forget_reader)
        ended = None
        try:
            with contextlib.suppress(ReaderGoneError):
                ended = await self._connection.stream(
                    wire.script_command("send.sh", self._path, str(LARGE_BYTES)),
                    stdin=nothing(),
                    stdout=inlet.put,
                    stderr=dialogue.hear_error,
                    bulk=True,
                )
        finally:
            # the thread sees the end and returns
            inlet.end()
            await asyncio.wait([unpacking_task])
        if ended is not None and ended.exit_status != 0:
            raise self._refused(dialogue.stderr)
        return parse_facts(inlet.header), unpacking_task.result()

    async def _fetch_parts(self, stage: stages.Stage, facts: Facts) -> Path:
        """Fetch the ranges of a large file that the stage lacks."""
        size = facts.size_bytes or 0
        name = posixpath.basename(self._path.rstrip("/")) or "file"
        whole = stage.payload / name
        path = os.fsencode(whole)
        self._meter.total = size
        digest = hashlib.sha256()
        try:
            ranges = await self._list_ranges(path, size)
            self._meter.add(size - sum(each.size_bytes for each in ranges))
            is_anew = ranges == [parts.Range(start=0, end=size)]
            file = await asyncio.to_thread(parts.PartFile, path)
            try:
                for each in ranges:
                    await self._fetch_range(file, each, digest if is_anew else None)
                file.finish(size, facts.mode, facts.mtime)
            finally:
                file.close()
            if not is_anew:
                await asyncio.to_thread(parts.feed_digest, digest, path, size)
        except OSError as error:
            raise archive.local_error("write", whole, error) from error
        self.size_bytes, self.sha256 = size, digest.hexdigest()
        return whole

    async def _list_ranges(self, path: bytes, size: int) -> list[parts.Range]:
        with contextlib.suppress(FileNotFoundError):
            piece = parts.piece_bytes(size)
            count = -(-os.stat(path).st_size // piece)  # noqa: PTH116  # bytes
            theirs, ours = await asyncio.gather(
                list_piece_digests(self._connection, self._path, piece, count),
                asyncio.to_thread(parts.digest_pieces, path, piece, count),
            )
            # a pod that cannot digest has to send it all
            return parts.list_missing(size, theirs or [""] * len(ours), ours)
        return [parts.Range(start=0, end=size)]

    async def _fetch_range(
        self, file: parts.PartFile, part: parts.Range, digest: "hashlib._Hash | None"
    ) -> None:
        dialogue = Dialogue()
        writer = RangeWriter(file, part, digest, self._meter)
        ended = await self._connection.stream(
            wire.script_command(
                "read_part.sh",
                self._path,
                str(part.start // MIB),
                str(-(-part.size_bytes // MIB)),
            ),
            stdin=nothing(),
            stdout=writer.put,
            stderr=dialogue.hear_error,
            bulk=True,
        )
        await writer.flush()
        if ended.exit_status != 0:
            raise self._refused(dialogue.stderr)
        if writer.at < part.end:
            raise archive.became_shorter(self._remote)

    async def _go_on(self, stage: stages.Stage) -> Path:
        """Complete a tree of which a part was left, as a sync does."""
        # sync is built on top of this module
        from runpod_ssh.sync import SyncOptions, sync_from_pod  # noqa: PLC0415

        await asyncio.to_thread(self._adopt, stage.payload)

        def tell(done: int, total: int) -> None:
            self._meter.total = total
            self._meter.add(done - self._meter.done)

        await sync_from_pod(
            self._connection,
            self._remote,
            stage.payload,
            options=SyncOptions(delete=True),
            on_progress=tell,
        )
        names = await asyncio.to_thread(self._digest_tree, stage.payload)
        if self._verify:
            self._compare(await self._ask_digest(given(names)))
        return stage.payload

    def _adopt(self, payload: Path) -> None:
        """Keep what has come of a large file for the copy that asks for it again."""
        for root, _folders, files in os.walk(payload):
            for name in files:
                path = Path(root, name)
                facts = path.lstat()
                is_partial = facts.st_mode & 0o777 == unpacking.PARTIAL_MODE
                if is_partial and facts.st_size >= LARGE_BYTES:
                    inside = path.relative_to(payload)
                    remote = posixpath.join(self._remote, str(inside))
                    stages.adopt(path, self._key_of(remote, path))

    def _key_of(self, remote: str, final: Path) -> str:
        return stage_key(str(self._connection.address), remote, str(final))

    def _digest_tree(self, payload: Path) -> bytes:
        """Take in the digest of all files of a tree; return their names in order."""
        planned = archive.plan(payload)
        digest = hashlib.sha256()
        names = []
        for entry in planned.entries:
            if entry.kind in archive.FILE_KINDS:
                parts.feed_digest(digest, entry.path, os.stat(entry.path).st_size)  # noqa: PTH116  # bytes
                names.append(entry.name.replace(archive.PAYLOAD.encode(), b".", 1))
        self.file_count = planned.file_count
        self.size_bytes = planned.content_bytes
        self.sha256 = digest.hexdigest()
        return b"".join(name + b"\0" for name in names)

    async def _ask_digest(self, names: Source) -> str:
        if not self._verify:
            return "none"
        return await ask_digest(self._connection, self._remote, names)

    def _compare(self, answered: str) -> None:
        if answered not in {"none", self.sha256}:
            raise differs(answered, self.sha256)
        self.is_verified = answered == self.sha256

    async def _count_total(self) -> None:
        self._meter.total = await count_total(self._connection, self._remote)

    def _refused(self, stderr: bytes) -> TransferError:
        return refused(
            f"cannot copy from {self._remote}", self._remote, stderr, self._connection
        )


async def _finish(*tasks: "asyncio.Task[Any] | None") -> None:
    """End what is no longer waited for; its failure says nothing new."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
