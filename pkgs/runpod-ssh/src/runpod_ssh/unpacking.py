"""A tar stream of a pod, written into one local folder and nowhere else.

Knows nothing of connections, and of the format no more than `tar_headers` tells.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runpod_ssh.archive import BLOCK_BYTES, CHUNK_BYTES, local_error
from runpod_ssh.errors import TransferError
from runpod_ssh.tar_headers import (
    FILE_KINDS,
    Member,
    broken,
    exactly,
    find_simple,
    list_members,
)

_ZEROS = bytes(CHUNK_BYTES)
_DOTS = frozenset({b".", b".."})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
# a file that is not whole yet has these permissions, by which the next copy knows it
PARTIAL_MODE = 0o200


class Reader(Protocol):
    """Where a tar stream is read from."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer at the end."""


@dataclass(kw_only=True)
class Unpacked:
    """What came out of a stream, in its order."""

    names: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    sha256: str = ""


def unpack(
    stream: Reader,
    folder: Path,
    on_bytes: Callable[[int], None],
    *,
    on_name: Callable[[bytes], None] = lambda _name: None,
) -> Unpacked:
    """Write a tar stream into a folder that is empty; nothing leaves the folder.

    Links are made last: no entry can be written through one.

    Args:
        on_bytes: Told the bytes of content written so far.
        on_name: Told the name of each file once it is whole.

    Raises:
        TransferError: The stream is broken, names a place outside, or cannot be
            written.
    """
    work = _Unpacking(stream, folder, on_bytes, on_name)
    try:
        work.run()
    except OSError as error:
        raise local_error("write", folder, error) from error
    work.result.sha256 = work.digest.hexdigest()
    return work.result


class _Unpacking:
    """The state of one `unpack`."""

    def __init__(
        self,
        stream: Reader,
        folder: Path,
        on_bytes: Callable[[int], None],
        on_name: Callable[[bytes], None],
    ) -> None:
        self._input = _Input(stream)
        self._read = self._input.read
        self._root = os.fsencode(folder)
        self._on_bytes = on_bytes
        self._on_name = on_name
        self._links: dict[bytes, bytes] = {}
        self._folders: list[tuple[bytes, Member]] = []
        # where the folders of small files are
        self._places: dict[bytes, bytes] = {}
        self._umask = 0o777
        self._uncounted: list[bytes | memoryview] = []
        self._uncounted_bytes = 0
        self.digest = hashlib.sha256()
        self.result = Unpacked()

    def run(self) -> None:
        self._umask = self._find_umask()
        for member in list_members(self._read, self._take_small):
            place = self._inside(member.name)
            if member.kind in FILE_KINDS:
                self._write(member, place)
                self._note(member.name)
            elif member.kind == tarfile.DIRTYPE:
                if not os.path.isdir(place):  # noqa: PTH112  # bytes: any name
                    self._make_folders(place)
                self._folders.append((place, member))
            elif member.kind == tarfile.SYMTYPE:
                self._links[place] = member.link
            elif member.kind == tarfile.LNKTYPE:
                self._hard_link(member, place)
        self._flush_count()
        for place, target in self._links.items():
            os.symlink(target, place)  # noqa: PTH211  # bytes: any name
        for place, member in reversed(self._folders):
            os.chmod(place, member.mode & 0o777)  # noqa: PTH101  # bytes: any name
            os.utime(place, (member.mtime, member.mtime))

    def _take_small(self) -> bool:
        """Write the small files that stand whole in the input; say whether any did."""
        came = self._input
        data, first = came.data, came.at
        view, end = memoryview(data), len(data)
        while end - came.at >= BLOCK_BYTES:
            found = find_simple(data, came.at)
            if found is None or found.size_bytes > CHUNK_BYTES:
                break
            folder, leaf, mode, size, mtime = found
            start = came.at + BLOCK_BYTES
            stop = start + size + -size % BLOCK_BYTES
            if stop > end:
                break
            if (place := self._places.get(folder)) is None:
                place = self._places[folder] = self._inside(folder) + b"/"
            if leaf in _DOTS:
                raise _leads_outside(leaf)
            content = view[start : start + size]
            self._write_small(place + leaf, content, mode & 0o777, mtime)
            self.result.names.append(name := folder + b"/" + leaf if folder else leaf)
            self._on_name(name)
            came.at = stop
        return came.at > first

    def _inside(self, name: bytes) -> bytes:
        parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
        if name.startswith(b"/") or b".." in parts or b"\0" in name:
            raise _leads_outside(name)
        return b"/".join([self._root, *parts])

    def _make_folders(self, place: bytes) -> None:
        os.makedirs(place, mode=0o700, exist_ok=True)  # noqa: PTH103  # bytes

    def _write(self, member: Member, place: bytes) -> None:
        mode, size = member.mode & 0o777, member.size_bytes
        if size <= CHUNK_BYTES and member.extents is None:
            self._write_small(place, exactly(self._read, size), mode, member.mtime)
            return
        file = self._create(place, PARTIAL_MODE)
        try:
            if member.extents is None:
                self._write_plain(file, size)
            else:
                self._write_sparse(file, member)
            os.fchmod(file, mode)
            os.utime(file, (member.mtime, member.mtime))
        finally:
            os.close(file)

    def _write_small(
        self, place: bytes, content: bytes | memoryview, mode: int, mtime: int
    ) -> None:
        # what is short is not told apart: the next copy looks at size and time
        has_mode = not mode & self._umask
        file = self._create(place, mode if has_mode else PARTIAL_MODE)
        try:
            _write_all(file, content)
            self._count(content)
            if not has_mode:
                os.fchmod(file, mode)
            os.utime(file, (mtime, mtime))
        finally:
            os.close(file)

    def _create(self, place: bytes, mode: int) -> int:
        try:
            return os.open(place, _NEW_FILE, mode)
        except FileNotFoundError:
            self._make_folders(os.path.dirname(place))  # noqa: PTH120  # bytes
            return os.open(place, _NEW_FILE, mode)

    def _find_umask(self) -> int:
        """Return what new files are denied here, without changing it for a moment."""
        probe = self._root + b"/.umask"
        file = os.open(probe, _NEW_FILE, 0o777)
        try:
            return ~os.fstat(file).st_mode & 0o777
        finally:
            os.close(file)
            os.unlink(probe)  # noqa: PTH108  # bytes: any name

    def _write_plain(self, file: int, size: int) -> None:
        while size:
            chunk = exactly(self._read, min(size, CHUNK_BYTES))
            _write_all(file, chunk)
            self._count(chunk)
            size -= len(chunk)

    def _write_sparse(self, file: int, member: Member) -> None:
        at, left = 0, member.size_bytes
        os.ftruncate(file, member.whole_bytes)
        for offset, length in member.extents or []:
            if offset < at or length > left or offset + length > member.whole_bytes:
                raise broken()
            self._count_zeros(offset - at)
            os.lseek(file, offset, os.SEEK_SET)
            self._write_plain(file, length)
            at, left = offset + length, left - length
        self._count_zeros(member.whole_bytes - at)

    def _count_zeros(self, size: int) -> None:
        """Count a hole as the pod's digest does, which reads it as zeros."""
        while size > 0:
            self._count(_ZEROS[: min(size, CHUNK_BYTES)])
            size -= CHUNK_BYTES

    def _count(self, chunk: bytes | memoryview) -> None:
        """Take in content; small pieces are summed up together."""
        self._uncounted.append(chunk)
        self._uncounted_bytes += len(chunk)
        if self._uncounted_bytes >= CHUNK_BYTES:
            self._flush_count()

    def _flush_count(self) -> None:
        pieces, self._uncounted = self._uncounted, []
        self.digest.update(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self.result.size_bytes += self._uncounted_bytes
        self._uncounted_bytes = 0
        self._on_bytes(self.result.size_bytes)

    def _note(self, name: bytes) -> None:
        self.result.names.append(name)
        self._on_name(name)

    def _hard_link(self, member: Member, place: bytes) -> None:
        original = self._inside(member.link)
        if original in self._links:
            self._links[place] = self._links[original]
            return
        os.link(original, place, follow_symlinks=False)
        self._note(member.name)
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123  # bytes: any name
            while chunk := file.read(CHUNK_BYTES):
                self._count(chunk)


class _Input:
    """A stream that is read ahead, so that what has come can be looked at.

    Attributes:
        data: What has come.
        at: How far it has been read.
    """

    def __init__(self, stream: Reader) -> None:
        self.data = b""
        self.at = 0
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        missing = size - (len(self.data) - self.at)
        if missing > 0:
            more = self._stream.read(max(missing, CHUNK_BYTES))
            self.data, self.at = self.data[self.at :] + more, 0
        start, self.at = self.at, self.at + size
        return self.data[start : self.at]


def _leads_outside(name: bytes) -> TransferError:
    shown = os.fsdecode(name)
    return TransferError(f"the pod sent a path outside the copy: {shown!r}")


def _write_all(file: int, chunk: bytes | memoryview) -> None:
    done = os.write(file, chunk)
    while done < len(chunk):
        done += os.write(file, chunk[done:])
