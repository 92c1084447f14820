"""Tar streams: a local file or tree to bytes, and bytes to a local tree.

Written in GNU's format, which every tar reads, busybox's too, with names of any length
and encoding. Times are kept to the second, permissions without setuid; ownership is
not kept. Knows nothing of connections.
"""

import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from runpod_ssh.errors import TransferError

CHUNK_BYTES = 256 * 1024
PAYLOAD = "payload"
_BLOCK = tarfile.BLOCKSIZE


class Reader(Protocol):
    """Where a tar stream is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file, folder or link as it stands in the stream."""

    path: Path
    header: bytes
    size_bytes: int
    is_file: bool
    name: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that will be packed, known before the first byte is sent."""

    entries: tuple[Entry, ...]

    @property
    def files(self) -> tuple[Entry, ...]:
        """Return the regular files in order."""
        return tuple(entry for entry in self.entries if entry.is_file)

    @property
    def content_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(entry.size_bytes for entry in self.files)

    @property
    def stream_bytes(self) -> int:
        """Return the exact length of the tar stream."""
        body = sum(len(e.header) + _padded(e.size_bytes) for e in self.entries)
        return _padded(body + 2 * _BLOCK, tarfile.RECORDSIZE)

    @property
    def name_list(self) -> bytes:
        """Return the files' names in order, NUL after each."""
        return b"".join(os.fsencode(entry.name) + b"\0" for entry in self.files)


def plan(root: Path) -> Plan:
    """Return what packing a file or tree will write; the top entry is `payload`.

    A link given as the root is followed, links inside are kept as links.

    Raises:
        TransferError: Something cannot be read, or is a device, pipe or socket.
    """
    try:
        top = root.resolve(strict=True)
        return Plan(entries=tuple(_walk(top, PAYLOAD)))
    except (OSError, RuntimeError) as error:
        raise _local_error("read", root, error) from error


def _walk(path: Path, name: str) -> Iterator[Entry]:
    facts = path.lstat()
    kind = stat.S_IFMT(facts.st_mode)
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(facts.st_mode) & 0o777
    info.mtime = int(facts.st_mtime)
    if kind == stat.S_IFREG:
        info.size = facts.st_size
    elif kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(path)  # noqa: PTH115  # keeps odd bytes and dots
    else:
        raise TransferError(
            f"{path} is no file, folder or link and cannot be copied", path=str(path)
        )
    yield Entry(
        path=path,
        header=info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"),
        size_bytes=info.size,
        is_file=kind == stat.S_IFREG,
        name=name,
    )
    if kind == stat.S_IFDIR:
        for child in sorted(path.iterdir()):
            yield from _walk(child, f"{name}/{child.name}")


def pack(planned: Plan, on_content: Callable[[bytes], None]) -> Iterator[bytes]:
    """Yield the tar stream; `on_content` sees the files' contents in passing.

    Raises:
        TransferError: A file changed its size or vanished since it was planned.
    """
    written = 0
    for entry in planned.entries:
        yield entry.header
        written += len(entry.header)
        if entry.is_file:
            yield from _content(entry, on_content)
            written += _padded(entry.size_bytes)
    yield b"\0" * (planned.stream_bytes - written)


def _content(entry: Entry, on_content: Callable[[bytes], None]) -> Iterator[bytes]:
    left = entry.size_bytes
    try:
        with entry.path.open("rb") as file:
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise TransferError(
                        f"{entry.path} became shorter while it was copied",
                        path=str(entry.path),
                        hint="Copy it again when nothing writes to it.",
                    )
                left -= len(chunk)
                on_content(chunk)
                yield chunk
    except OSError as error:
        raise _local_error("read", entry.path, error) from error
    yield b"\0" * (_padded(entry.size_bytes) - entry.size_bytes)


def _padded(size: int, unit: int = _BLOCK) -> int:
    return -(-size // unit) * unit


@dataclass(kw_only=True)
class Unpacked:
    """What came out of a stream, in its order."""

    names: list[str] = field(default_factory=list)
    size_bytes: int = 0
    sha256: str = ""

    @property
    def name_list(self) -> bytes:
        """Return the files' names as the stream had them, NUL after each."""
        return b"".join(os.fsencode(name) + b"\0" for name in self.names)


def unpack(stream: Reader, folder: Path, on_bytes: Callable[[int], None]) -> Unpacked:
    """Write a tar stream into a folder that is empty; nothing leaves the folder.

    Links are made last: no entry can be written through one.

    Raises:
        TransferError: The stream is broken, names a place outside, or cannot be
            written.
    """
    result = Unpacked()
    digest = hashlib.sha256()
    links: list[tuple[Path, str]] = []
    folders: list[tuple[Path, tarfile.TarInfo]] = []

    def on_content(chunk: bytes) -> None:
        digest.update(chunk)
        result.size_bytes += len(chunk)
        on_bytes(result.size_bytes)

    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", stream),
            mode="r|",
            bufsize=CHUNK_BYTES,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            for member in archive:
                place = _inside(folder, member.name)
                if member.isdir():
                    place.mkdir(exist_ok=True)
                    folders.append((place, member))
                elif member.issym():
                    links.append((place, member.linkname))
                elif member.islnk():
                    _hard_link(_inside(folder, member.linkname), place, links)
                    result.names.append(member.name)
                    _note_content(place, on_content)
                elif member.isreg():
                    _write(archive, member, place, on_content)
                    result.names.append(member.name)
        for place, target in links:
            place.symlink_to(target)
        for place, member in reversed(folders):
            _set_facts(place, member)
    except (OSError, tarfile.TarError) as error:
        raise _local_error("write", folder, error) from error
    result.sha256 = digest.hexdigest()
    return result


def _inside(folder: Path, name: str) -> Path:
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    if name.startswith("/") or ".." in parts:
        raise TransferError(f"the pod sent a path outside the copy: {name!r}")
    return folder.joinpath(*parts)


def _write(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    place: Path,
    on_content: Callable[[bytes], None],
) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise TransferError(f"the pod sent {member.name!r} without content")
    with content, place.open("xb") as file:
        while chunk := content.read(CHUNK_BYTES):
            on_content(chunk)
            file.write(chunk)
    _set_facts(place, member)


def _hard_link(original: Path, place: Path, links: list[tuple[Path, str]]) -> None:
    for link, target in links:
        if link == original:
            links.append((place, target))
            return
    place.hardlink_to(original)


def _note_content(place: Path, on_content: Callable[[bytes], None]) -> None:
    """Count a hard link's content as the pod's digest does: by reading the file."""
    with contextlib.suppress(FileNotFoundError), place.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            on_content(chunk)


def _set_facts(place: Path, member: tarfile.TarInfo) -> None:
    place.chmod(member.mode & 0o777)
    os.utime(place, (member.mtime, member.mtime))


def _local_error(verb: str, path: Path, error: Exception) -> TransferError:
    named = getattr(error, "filename", None) or path
    reason = getattr(error, "strerror", None) or str(error)
    return TransferError(f"cannot {verb} {named}: {reason}", path=str(named))
