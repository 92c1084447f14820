"""Copying a file or tree to and from a pod, with no more than sh and tar there.

A tar stream runs over an exec channel into a hidden folder beside its place, is
compared by SHA-256 where the pod has sha256sum, and only then renamed. A copy that is
cut off at any moment leaves nothing under the final name.
"""

import asyncio
import contextlib
import hashlib
import os
import posixpath
import queue
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from runpod_ssh import archive, wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import TransferError
from runpod_ssh.model import Source, TransferResult

# Told the bytes of content moved so far, and how many there are (0: not known).
Progress = Callable[[int, int], None]
_TAIL_BYTES = 2000
_CHUNKS_AHEAD = 32


def _no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


def _pod_path(path: str) -> str:
    """Return a path the pod's sh takes as it is: `~` is where a command starts."""
    if path == "~":
        return "."
    return path.removeprefix("~/") or "."


class _Dialogue:
    """The lines a script on the pod answers, and the end of what it says on stderr."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._rest = b""
        self.stderr = b""

    async def hear(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._lines.put_nowait(os.fsdecode(line))

    async def hear_error(self, chunk: bytes) -> None:
        self.stderr = (self.stderr + chunk)[-_TAIL_BYTES:]

    async def answer(self) -> str:
        return await self._lines.get()


async def upload(
    connection: Connection,
    local: Path,
    remote: str,
    *,
    verify: bool = True,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    on_progress: Progress = _no_progress,
) -> TransferResult:
    """Copy a local file or tree to the pod.

    Args:
        remote: Where to; a folder that exists gets an entry of the source's name.
            A tree that is there already gets the new files; others in it stay.

    Raises:
        TransferError: Nothing was copied; says why.
    """
    started = asyncio.get_running_loop().time()
    planned = await asyncio.to_thread(archive.plan, local)
    dialogue = _Dialogue()
    outcome = _Outcome()
    name = local.name or Path(os.path.abspath(local)).name  # noqa: PTH100, ASYNC240  # no I/O
    ended = await connection.stream(
        wire.script_command(
            "receive.sh",
            _pod_path(remote),
            name,
            str(planned.stream_bytes),
            secrets.token_hex(6),
        ),
        stdin=_offer(planned, dialogue, outcome, on_progress, verify=verify),
        stdout=dialogue.hear,
        stderr=dialogue.hear_error,
        timeout=timeout,
    )
    if ended.exit_status != 0 or not outcome.final:
        raise _refused(f"cannot copy to {remote}", remote, dialogue.stderr, connection)
    return TransferResult(
        source=str(local),
        target=outcome.final,
        file_count=len(planned.files),
        size_bytes=planned.content_bytes,
        sha256=outcome.sha256,
        is_verified=outcome.is_verified,
        elapsed_seconds=asyncio.get_running_loop().time() - started,
    )


class _Outcome:
    """What an upload's dialogue came to."""

    def __init__(self) -> None:
        self.final = ""
        self.sha256 = ""
        self.is_verified = False


async def _offer(
    planned: archive.Plan,
    dialogue: _Dialogue,
    outcome: _Outcome,
    on_progress: Progress,
    *,
    verify: bool,
) -> Source:
    """Yield what receive.sh reads: the stream, then words, each after its answer."""
    digest = hashlib.sha256()
    done, total = 0, planned.content_bytes

    def on_content(chunk: bytes) -> None:
        nonlocal done
        digest.update(chunk)
        done += len(chunk)
        on_progress(done, total)

    for piece in archive.pack(planned, on_content):
        yield piece
    await dialogue.answer()
    outcome.sha256 = digest.hexdigest()
    if verify:
        names = planned.name_list
        yield f"digest {len(names)}\n".encode() + names
        answered = (await dialogue.answer()).split()[0]
        outcome.is_verified = _agree(answered, outcome.sha256)
    yield b"commit\n"
    outcome.final = (await dialogue.answer()).removeprefix("done ").removeprefix("./")


def _agree(answered: str, sha256: str) -> bool:
    """Return whether the pod's digest confirms ours; False when it has none."""
    if answered == "none":
        return False
    if answered != sha256:
        raise TransferError(
            f"the copy differs from its source: SHA-256 {answered} on the pod, "
            f"{sha256} here",
            hint="Copy it again when nothing writes to it.",
        )
    return True


async def download(
    connection: Connection,
    remote: str,
    local: Path,
    *,
    verify: bool = True,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    on_progress: Progress = _no_progress,
) -> TransferResult:
    """Copy a file or tree from the pod.

    Args:
        local: Where to; a folder that exists gets an entry of the source's name.
            A tree that is there already gets the new files; others in it stay.

    Raises:
        TransferError: Nothing was copied; says why.
    """
    started = asyncio.get_running_loop().time()
    final = _final_place(local, posixpath.basename(remote.rstrip("/")))
    try:
        stage = Path(tempfile.mkdtemp(dir=final.parent, prefix=".runpod-ssh-"))
    except OSError as error:
        raise TransferError(
            f"cannot write to {final.parent}: {error.strerror}", path=str(final)
        ) from error
    try:
        payload = stage / archive.PAYLOAD
        payload.mkdir()
        kind, unpacked = await _receive(
            connection, remote, payload, timeout, on_progress
        )
        is_verified = verify and await _verify(connection, remote, unpacked)
        whole = payload if kind == "folder" else next(payload.iterdir())
        await asyncio.to_thread(_place, whole, final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return TransferResult(
        source=remote,
        target=str(final),
        file_count=len(unpacked.names),
        size_bytes=unpacked.size_bytes,
        sha256=unpacked.sha256,
        is_verified=is_verified,
        elapsed_seconds=asyncio.get_running_loop().time() - started,
    )


def _final_place(local: Path, name: str) -> Path:
    if local.is_dir() and name not in {"", ".", "..", "~"}:
        return local / name
    if not local.is_dir() and str(local).endswith(os.sep):
        raise TransferError(f"there is no folder {local}", path=str(local))
    if not local.absolute().parent.is_dir():
        raise TransferError(f"there is no folder {local.parent}", path=str(local))
    return local.absolute() if local.is_dir() else local


async def _receive(
    connection: Connection,
    remote: str,
    folder: Path,
    timeout: float | None,  # noqa: ASYNC109  # handed on to Connection.stream
    on_progress: Progress,
) -> tuple[str, archive.Unpacked]:
    """Unpack what send.sh writes; return `file` or `folder`, and what came."""
    dialogue = _Dialogue()
    inlet = _Inlet(asyncio.get_running_loop())
    unpacking = asyncio.create_task(
        asyncio.to_thread(
            archive.unpack, inlet, folder, lambda done: on_progress(done, 0)
        )
    )
    unpacking.add_done_callback(inlet.forget_reader)
    ended = None
    try:
        with contextlib.suppress(_ReaderGoneError):
            ended = await connection.stream(
                wire.script_command("send.sh", _pod_path(remote)),
                stdin=_nothing(),
                stdout=inlet.put,
                stderr=dialogue.hear_error,
                timeout=timeout,
            )
    finally:
        # the thread sees the end and returns
        inlet.end()
        await asyncio.wait([unpacking])
    if ended is not None and ended.exit_status != 0:
        raise _refused(
            f"cannot copy from {remote}", remote, dialogue.stderr, connection
        )
    return inlet.header, unpacking.result()


async def _nothing() -> Source:
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk


class _ReaderGoneError(Exception):
    """The thread that unpacks has failed; its own error says why."""


class _Inlet:
    """Hands a stream from the event loop to the thread that unpacks it.

    A few chunks at a time: a slow disk holds back the pod. The first line, which is
    no tar, is kept as `header`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_CHUNKS_AHEAD)
        self._rest = b""
        self._is_read = True
        self._is_at_end = False
        self._has_failed = False
        self.header = ""

    async def put(self, chunk: bytes) -> None:
        """Pass on a chunk; what follows the archive's end is dropped."""
        if not self.header:
            line, _newline, chunk = chunk.partition(b"\n")
            self.header = line.decode(errors="replace")
        if not chunk:
            return
        await self._room.acquire()
        if self._has_failed:
            raise _ReaderGoneError
        if self._is_read:
            self._chunks.put(chunk)
        else:
            self._room.release()

    def end(self) -> None:
        """Say that nothing more comes."""
        self._chunks.put(b"")

    def forget_reader(self, task: "asyncio.Task[archive.Unpacked]") -> None:
        """Take note that the thread reads no more, by success or by failure."""
        self._is_read = False
        self._has_failed = task.cancelled() or task.exception() is not None
        self._room.release()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, fewer at the end; called in the thread."""
        parts, have = [self._rest], len(self._rest)
        while have < size and not self._is_at_end:
            chunk = self._chunks.get()
            if not chunk:
                # it comes once, and tarfile may ask again
                self._is_at_end = True
                break
            self._loop.call_soon_threadsafe(self._room.release)
            parts.append(chunk)
            have += len(chunk)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]


async def _verify(
    connection: Connection, remote: str, unpacked: archive.Unpacked
) -> bool:
    result = await connection.run(
        wire.script_command("digest.sh", _pod_path(remote)), stdin=unpacked.name_list
    )
    words = result.stdout.decode(errors="replace").split()
    if result.exit_status != 0 or not words:
        raise _refused(f"cannot verify {remote}", remote, result.stderr, connection)
    return _agree(words[0], unpacked.sha256)


def _place(source: Path, final: Path) -> None:
    """Move a whole file or tree to its place; each file of a merge by rename."""
    try:
        if source.is_dir() and not source.is_symlink() and final.is_dir():
            for child in source.iterdir():
                _place(child, final / child.name)
        elif final.is_dir() and not final.is_symlink():
            raise TransferError(f"{final} is there and is a folder", path=str(final))
        else:
            source.replace(final)
    except OSError as error:
        raise TransferError(
            f"cannot write {final}: {error.strerror}", path=str(final)
        ) from error


def _refused(
    message: str, path: str, stderr: bytes, connection: Connection
) -> TransferError:
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
        hint="Nothing was left under the final name.",
    )
