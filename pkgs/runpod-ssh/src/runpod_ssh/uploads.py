"""Copying from this machine to a pod.

A tar stream runs over an exec channel into a hidden folder beside its place, is
compared by SHA-256 where the pod has the means, and only then renamed. Large files go
ahead of it, over a long link in several channels at once: sshd's window of 2 MiB for
each would leave it idle. They are compared while they arrive, and gone on with after a
copy that was cut off.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from runpod_ssh import archive, wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import (
    SSHError,
    SSHUnreachableError,
    TransferError,
)
from runpod_ssh.model import Source, TransferResult
from runpod_ssh.part_digest import PartDigest
from runpod_ssh.part_sender import PartSender, ahead
from runpod_ssh.transfer_streams import (
    LARGE_BYTES,
    Dialogue,
    Meter,
    Progress,
    differs,
    lost,
    no_progress,
    pod_path,
    refused,
    script_command,
    stage_key,
)

RECEIVE = ("stage.sh", "hashing.sh", "receive.sh")


async def upload(
    connection: Connection,
    local: Path,
    remote: str,
    *,
    verify: bool = True,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    on_progress: Progress = no_progress,
) -> TransferResult:
    """Copy a local file or tree to the pod.

    A copy of LARGE_BYTES or more that is cut off is gone on with by the same call.

    Args:
        remote: Where to; a folder that exists gets an entry of the source's name.
            A tree that is there already gets the new files; others in it stay.

    Raises:
        TransferError: Nothing was copied; says why.
        SSHUnreachableError: The connection was lost.
    """
    started = asyncio.get_running_loop().time()
    planned = await asyncio.to_thread(archive.plan, local)
    work = _Upload(connection, planned, verify=verify, on_progress=on_progress)
    await work.run(local, remote, timeout)
    return TransferResult(
        source=str(local),
        target=work.final,
        file_count=planned.file_count,
        size_bytes=planned.content_bytes,
        sha256=work.sha256,
        is_verified=work.is_verified,
        elapsed_seconds=asyncio.get_running_loop().time() - started,
    )


class _Upload:
    """The state of one upload."""

    def __init__(
        self,
        connection: Connection,
        planned: archive.Plan,
        *,
        verify: bool,
        on_progress: Progress,
    ) -> None:
        self._connection = connection
        self._plan = planned
        self._verify = verify
        self._is_kept = planned.content_bytes >= LARGE_BYTES
        self._large = tuple(e for e in planned.files if e.size_bytes >= LARGE_BYTES)
        self._meter = Meter(tell=on_progress, total=planned.content_bytes)
        self._digest = hashlib.sha256()
        # what receive.sh compares: without the large files, which are compared before
        self._small_digest = hashlib.sha256()
        self._is_large_verified = True
        self._dialogue = Dialogue()
        self._stage = ""
        self.final = ""
        self.sha256 = ""
        self.is_verified = False

    async def run(self, local: Path, remote: str, limit: float | None) -> None:
        path = os.path.abspath(local)  # noqa: PTH100, ASYNC240  # no I/O
        key = secrets.token_hex(8)
        if self._is_kept:
            key = stage_key(path, remote.rstrip("/"))
        command = script_command(
            RECEIVE,
            pod_path(remote),
            local.name or os.path.basename(path),  # noqa: PTH119  # of a text
            key,
            "yes" if self._is_kept else "no",
            "",
        )
        try:
            ended = await self._connection.stream(
                command,
                stdin=self._offer(),
                stdout=self._dialogue.hear,
                stderr=self._dialogue.hear_error,
                timeout=limit,
            )
        except SSHUnreachableError as error:
            raise lost(self._connection, is_kept=self._is_kept) from error
        except TransferError:
            await self._discard()
            raise
        said = self._dialogue.find("done")
        if ended.exit_status != 0 or said is None:
            raise refused(
                f"cannot copy to {remote}",
                remote,
                self._dialogue.stderr,
                self._connection,
            )
        answered, _space, final = said.partition(" ")
        self.final = final.removeprefix("./")
        expected = self._small_digest.hexdigest()
        if answered not in {"none", expected}:
            raise differs(answered, expected)
        is_compared = answered == expected or not self._has_small
        self.is_verified = self._verify and is_compared and self._is_large_verified

    async def _discard(self) -> None:
        """Remove the stage: what failed here would fail again."""
        if self._stage:
            with contextlib.suppress(SSHError):
                await self._connection.run(f"rm -rf -- {wire.quote(self._stage)}")

    async def _offer(self) -> Source:
        """Yield what receive.sh reads; the large files go ahead on other channels."""
        is_sent: set[bytes] = set()
        if self._is_kept:
            is_sent = await self._send_large()
        async for piece in ahead(self._pack(is_sent)):
            yield piece
        self.sha256 = self._digest.hexdigest()
        if not self._large:
            self._small_digest = self._digest
        names = b"".join(entry.name + b"\0" for entry in self._small())
        yield archive.pack_bytes("names", names)
        is_wanted = self._verify and self._has_small
        expected = self._small_digest.hexdigest() if is_wanted else "-"
        yield archive.pack_bytes("end", expected.encode() + b"\n")
        yield archive.stream_end()

    @property
    def _has_small(self) -> bool:
        """Return whether receive.sh has anything to compare; no files are some too."""
        return not self._large or len(self._large) < len(self._plan.files)

    def _count_in(self, chunk: bytes) -> None:
        """Take in content that receive.sh compares."""
        self._digest.update(chunk)
        if self._large:
            self._small_digest.update(chunk)

    def _small(self) -> Iterator[archive.Entry]:
        return (e for e in self._plan.files if e.size_bytes < LARGE_BYTES)

    def _pack(self, is_sent: set[bytes]) -> Iterator[bytes]:
        """Yield the stream without the large files and what the pod has already."""

        def on_content(chunk: bytes) -> None:
            self._count_in(chunk)
            self._meter.add(len(chunk))

        skipped = [entry for entry in self._small() if entry.name in is_sent]
        if skipped:
            # what is skipped is part of the digest, at its own place
            yield from self._pack_rest(is_sent)
            return
        yield from archive.pack(self._plan, on_content, without=is_sent)

    def _pack_rest(self, is_sent: set[bytes]) -> Iterator[bytes]:
        for entry in self._small():
            for chunk in archive.read_content(entry):
                self._count_in(chunk)
                if entry.name in is_sent:
                    self._meter.add(len(chunk))
        yield from archive.pack(
            self._plan, lambda chunk: self._meter.add(len(chunk)), without=is_sent
        )

    async def _send_large(self) -> set[bytes]:
        """Send the large files; return the names of all that the pod has by then."""
        stage = self._stage = await self._dialogue.expect("stage")
        left = _parse_left(await self._dialogue.expect("have"))
        there = {
            entry.name
            for entry in self._small()
            if left.get(entry.name) == (entry.size_bytes, entry.mtime)
        }
        if self._large:
            await self._send_parts(stage, left)
        return there | {entry.name for entry in self._large}

    async def _send_parts(self, stage: str, left: dict[bytes, tuple[int, int]]) -> None:
        beside = PartDigest(self._connection, stage, is_wanted=self._verify)
        async with beside:
            sender = PartSender(self._connection, stage, self._meter, beside)
            await sender.send(self._large, left, self._digest)
            answered, expected = await beside.finish(), self._digest.hexdigest()
        if answered not in {"none", expected}:
            raise differs(answered, expected)
        self._is_large_verified = answered == expected


def _parse_left(text: str) -> dict[bytes, tuple[int, int]]:
    """Return size and time by name of what was left in a stage.

    A name with a newline gives lines that name no file of ours; it is sent again.
    """
    left = {}
    for line in os.fsencode(text).split(b"\n"):
        size, _space, rest = line.partition(b" ")
        mtime, _space, name = rest.partition(b" ")
        if size.isdigit() and mtime.isdigit():
            left[name] = (int(size), int(mtime))
    return left
