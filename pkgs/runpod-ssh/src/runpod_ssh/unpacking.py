"""A tar stream of a pod, written into one local folder and nowhere else.

It reads what GNU's and busybox's tar write: GNU's and pax' long names, sparse files,
several archives in a row. Knows nothing of connections.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runpod_ssh.archive import BLOCK_BYTES, CHUNK_BYTES, local_error
from runpod_ssh.errors import TransferError

_ZEROS = bytes(CHUNK_BYTES)
_NO_BLOCK = bytes(BLOCK_BYTES)
_HEADER_LIMIT = 1024 * 1024
_FILE_KINDS = {b"0", b"\0", b"7", b"S"}
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


@dataclass(kw_only=True, slots=True)
class _Member:
    """One entry's header, with what the records before it said of it.

    Attributes:
        size_bytes: Length of what follows in the stream.
        extents: Of a sparse file: where its data goes, as (offset, length).
        whole_bytes: Of a sparse file: its length.
    """

    name: bytes
    kind: bytes
    mode: int
    size_bytes: int
    mtime: int
    link: bytes
    extents: list[tuple[int, int]] | None = None
    whole_bytes: int = 0


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
        self._read = stream.read
        self._root = os.fsencode(folder)
        self._on_bytes = on_bytes
        self._on_name = on_name
        self._links: dict[bytes, bytes] = {}
        self._folders: list[tuple[bytes, _Member]] = []
        self._umask = 0o777
        self.digest = hashlib.sha256()
        self.result = Unpacked()

    def run(self) -> None:
        self._umask = self._find_umask()
        for member in _members(self._read):
            place = self._inside(member.name)
            if member.kind in _FILE_KINDS:
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
        for place, target in self._links.items():
            os.symlink(target, place)  # noqa: PTH211  # bytes: any name
        for place, member in reversed(self._folders):
            os.chmod(place, member.mode & 0o777)  # noqa: PTH101  # bytes: any name
            os.utime(place, (member.mtime, member.mtime))

    def _inside(self, name: bytes) -> bytes:
        parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
        if name.startswith(b"/") or b".." in parts or b"\0" in name:
            shown = os.fsdecode(name)
            raise TransferError(f"the pod sent a path outside the copy: {shown!r}")
        return b"/".join([self._root, *parts])

    def _make_folders(self, place: bytes) -> None:
        os.makedirs(place, mode=0o700, exist_ok=True)  # noqa: PTH103  # bytes

    def _write(self, member: _Member, place: bytes) -> None:
        mode, size = member.mode & 0o777, member.size_bytes
        is_small = size <= CHUNK_BYTES and member.extents is None
        # what is short is not told apart: the next copy looks at size and time
        has_mode = is_small and not mode & self._umask
        file = self._create(place, mode if has_mode else PARTIAL_MODE)
        try:
            if is_small:
                content = _exactly(self._read, size)
                _write_all(file, content)
                self._count(content)
            elif member.extents is None:
                self._write_plain(file, size)
            else:
                self._write_sparse(file, member)
            if not has_mode:
                os.fchmod(file, mode)
            os.utime(file, (member.mtime, member.mtime))
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
            chunk = _exactly(self._read, min(size, CHUNK_BYTES))
            _write_all(file, chunk)
            self._count(chunk)
            size -= len(chunk)

    def _write_sparse(self, file: int, member: _Member) -> None:
        at, left = 0, member.size_bytes
        os.ftruncate(file, member.whole_bytes)
        for offset, length in member.extents or []:
            if offset < at or length > left or offset + length > member.whole_bytes:
                raise _broken()
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

    def _count(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.result.size_bytes += len(chunk)
        self._on_bytes(self.result.size_bytes)

    def _note(self, name: bytes) -> None:
        self.result.names.append(name)
        self._on_name(name)

    def _hard_link(self, member: _Member, place: bytes) -> None:
        original = self._inside(member.link)
        if original in self._links:
            self._links[place] = self._links[original]
            return
        os.link(original, place, follow_symlinks=False)
        self._note(member.name)
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123  # bytes: any name
            while chunk := file.read(CHUNK_BYTES):
                self._count(chunk)


def _write_all(file: int, chunk: bytes) -> None:
    done = os.write(file, chunk)
    while done < len(chunk):
        done += os.write(file, chunk[done:])


def _members(read: Callable[[int], bytes]) -> Iterator[_Member]:
    """Yield the headers; the caller reads an entry's content before the next."""
    said: dict[str, bytes] = {}
    has_ended = False
    while block := read(BLOCK_BYTES):
        if block == _NO_BLOCK:
            # the end of an archive, or its padding; another one may follow
            has_ended = True
            continue
        member = _parse(block)
        if member.kind in {b"L", b"K"}:
            content = _content_of(read, member).rstrip(b"\0")
            said["path" if member.kind == b"L" else "linkpath"] = content
            continue
        if member.kind in {b"x", b"g"}:
            content = _content_of(read, member)
            if member.kind == b"x":
                said.update(_parse_pax(content))
            continue
        if member.kind == b"S":
            _read_extents(read, block, member)
        if said:
            _apply(said, member)
            said = {}
        if member.kind in _FILE_KINDS and member.name.endswith(b"/"):
            # how a folder was told before there was a kind for it
            member.kind = tarfile.DIRTYPE
        has_ended = False
        yield member
        if member.kind not in _FILE_KINDS:
            _skip(read, member.size_bytes)
        _exactly(read, -member.size_bytes % BLOCK_BYTES)
    if not has_ended:
        raise _broken()


def _parse(block: bytes) -> _Member:
    if len(block) < BLOCK_BYTES:
        raise _broken()
    # the sum counts its own eight bytes as spaces
    given = block[148:156]
    if sum(block) - sum(given) + 8 * 32 != _number(given):
        raise _broken()
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    kind, size = block[156:157], _number(block[124:136])
    if size < 0:
        raise _broken()
    return _Member(
        name=name,
        kind=kind,
        mode=_number(block[100:108]),
        size_bytes=0 if kind in b"12345" else size,
        mtime=_number(block[136:148]),
        link=block[157:257].split(b"\0", 1)[0],
    )


def _number(field_bytes: bytes) -> int:
    if field_bytes[0] & 0x80:
        # base 256, for what octal digits cannot hold; negative with a leading 0xff
        size = len(field_bytes)
        value = int.from_bytes(field_bytes[1:], "big")
        is_negative = field_bytes[0] == 0xFF  # the format's own
        return value - 256 ** (size - 1) if is_negative else value
    try:
        return int(field_bytes.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise _broken() from error


def _parse_pax(content: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while content:
        digits, _space, _rest = content.partition(b" ")
        if not digits.isdigit() or not 0 < int(digits) <= len(content):
            raise _broken()
        record, content = content[: int(digits)], content[int(digits) :]
        key, _equals, value = record[len(digits) + 1 : -1].partition(b"=")
        found[key.decode("ascii", "replace")] = value
    return found


def _apply(said: dict[str, bytes], member: _Member) -> None:
    member.name = said.get("path", member.name)
    member.link = said.get("linkpath", member.link)
    try:
        member.size_bytes = int(said.get("size", member.size_bytes))
        member.mtime = int(float(said.get("mtime", member.mtime)))
    except ValueError as error:
        raise _broken() from error


def _read_extents(read: Callable[[int], bytes], block: bytes, member: _Member) -> None:
    """Take in where a sparse file of GNU's format has data."""
    member.whole_bytes = _number(block[483:495])
    extents = [block[386 + 24 * i : 386 + 24 * (i + 1)] for i in range(4)]
    has_more = block[482]
    while has_more:
        more = _exactly(read, BLOCK_BYTES)
        extents += [more[24 * i : 24 * (i + 1)] for i in range(21)]
        has_more = more[504]
    member.extents = [
        (_number(pair[:12]), _number(pair[12:])) for pair in extents if pair[12] != 0
    ]


def _content_of(read: Callable[[int], bytes], member: _Member) -> bytes:
    if member.size_bytes > _HEADER_LIMIT:
        raise _broken()
    content = _exactly(read, member.size_bytes)
    _exactly(read, -member.size_bytes % BLOCK_BYTES)
    return content


def _skip(read: Callable[[int], bytes], size: int) -> None:
    while size > 0:
        size -= len(_exactly(read, min(size, CHUNK_BYTES)))


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    chunk = read(size)
    if len(chunk) < size:
        raise _broken()
    return chunk


def _broken() -> TransferError:
    return TransferError("what the pod sent is no whole tar stream")
