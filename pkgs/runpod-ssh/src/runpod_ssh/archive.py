"""A local file or tree as a tar stream: planned whole, then packed.

Written in GNU's format, which every tar reads, busybox's too, with names of any length
and encoding. Times are kept to the second, permissions without setuid; ownership is
not kept. Knows nothing of connections; `unpacking` is the way back.
"""

import errno
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from runpod_ssh.errors import TransferError

CHUNK_BYTES = 256 * 1024
PAYLOAD = "payload"
BLOCK_BYTES = tarfile.BLOCKSIZE
# the kinds of entries that have content
FILE_KINDS = frozenset({tarfile.REGTYPE, tarfile.LNKTYPE})
_PAYLOAD = PAYLOAD.encode()
_NAME_BYTES = 100
# what eleven octal digits hold; a header for more is left to the standard library
_OCTAL_LIMIT = 8**11
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_PADDING = bytes(BLOCK_BYTES)
_NO_NAMES: frozenset[bytes] = frozenset()


class Entry(NamedTuple):
    """One file, folder or link as it stands in the stream.

    There may be very many: a tuple is made in a third of a dataclass' time.

    Attributes:
        kind: Tar's letter: `0` file, `1` hard link, `2` link, `5` folder.
        size_bytes: Length of a file's content, else 0.
        mtime: Seconds since 1970.
        name: Its name in the stream.
        link: Where a link leads; for a hard link the name of its first entry.
    """

    path: bytes
    kind: bytes
    size_bytes: int
    mode: int
    mtime: int
    name: bytes
    link: bytes = b""

    @property
    def is_file(self) -> bool:
        """Return whether it has content of its own."""
        return self.kind == tarfile.REGTYPE


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that will be sent, known before the first byte is."""

    entries: tuple[Entry, ...]

    @cached_property
    def files(self) -> tuple[Entry, ...]:
        """Return the regular files in order; of hard links the first."""
        return tuple(entry for entry in self.entries if entry.is_file)

    @cached_property
    def file_count(self) -> int:
        """Return how many names have content, hard links among them."""
        return sum(entry.kind in FILE_KINDS for entry in self.entries)

    @cached_property
    def content_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(entry.size_bytes for entry in self.files)


def plan(root: Path) -> Plan:
    """Return what sending a file or tree will take; the top entry is `payload`.

    A link given as the root is followed, links inside are kept as links.

    Raises:
        TransferError: Something cannot be read, or is a device, pipe or socket.
    """
    entries: list[Entry] = []
    try:
        top = os.fsencode(root.resolve(strict=True))
        facts = os.lstat(top)
        entries.append(_entry(top, _PAYLOAD, facts))
        if stat.S_ISDIR(facts.st_mode):
            _walk(top, _PAYLOAD, {}, entries)
    except (OSError, RuntimeError) as error:
        raise local_error("read", root, error) from error
    return Plan(entries=tuple(entries))


def _walk(
    folder: bytes,
    name: bytes,
    linked: dict[tuple[int, int], bytes],
    entries: list[Entry],
) -> None:
    """Append what a folder holds, in the order of names."""
    with os.scandir(folder) as found:
        children = sorted(found, key=lambda child: child.name)
    for child in children:
        facts = child.stat(follow_symlinks=False)
        entry = _entry(child.path, name + b"/" + child.name, facts, linked)
        entries.append(entry)
        if entry.kind == tarfile.DIRTYPE:
            _walk(child.path, entry.name, linked, entries)


def _entry(
    path: bytes,
    name: bytes,
    facts: os.stat_result,
    linked: dict[tuple[int, int], bytes] | None = None,
) -> Entry:
    kind, size, link = stat.S_IFMT(facts.st_mode), 0, b""
    if kind == stat.S_IFREG:
        letter, size = tarfile.REGTYPE, facts.st_size
        if facts.st_nlink > 1 and linked is not None:
            link = linked.setdefault((facts.st_dev, facts.st_ino), name)
            if link == name:
                link = b""
            else:
                letter, size = tarfile.LNKTYPE, 0
    elif kind == stat.S_IFDIR:
        letter = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        letter = tarfile.SYMTYPE
        link = os.readlink(path)  # noqa: PTH115  # keeps odd bytes and dots
    else:
        shown = os.fsdecode(path)
        raise TransferError(
            f"{shown} is no file, folder or link and cannot be copied", path=shown
        )
    return Entry(
        path=path,
        kind=letter,
        size_bytes=size,
        mode=facts.st_mode & 0o777,
        mtime=int(facts.st_mtime),
        name=name,
        link=link,
    )


def pack(
    planned: Plan,
    on_content: Callable[[bytes], None],
    *,
    without: Container[bytes] = _NO_NAMES,
) -> Iterator[bytes]:
    """Yield the tar stream without its end, in pieces of about CHUNK_BYTES.

    Args:
        on_content: Sees the files' contents in passing.
        without: Names of files that are left out; the rest refers to them as before.

    Raises:
        TransferError: A file changed its size or vanished since it was planned.
    """
    parts: list[bytes] = []
    contents: list[bytes] = []
    waiting = 0
    for entry in planned.entries:
        if entry.name in without:
            continue
        size = entry.size_bytes
        parts.append(render_header(entry))
        waiting += BLOCK_BYTES + size
        if 0 < size <= CHUNK_BYTES:
            content = _read_small(entry)
            contents.append(content)
            parts += (content, _PADDING[: -size % BLOCK_BYTES])
        if waiting < CHUNK_BYTES:
            continue
        on_content(b"".join(contents))
        yield b"".join(parts)
        parts, contents, waiting = [], [], 0
        if size > CHUNK_BYTES:
            for chunk in read_content(entry):
                on_content(chunk)
                yield chunk
            parts.append(_PADDING[: -size % BLOCK_BYTES])
    on_content(b"".join(contents))
    yield b"".join(parts)


def pack_bytes(name: str, content: bytes) -> bytes:
    """Return a file of its own that is nowhere on disk, as a piece of a stream."""
    entry = Entry(
        path=b"",
        kind=tarfile.REGTYPE,
        size_bytes=len(content),
        mode=0o600,
        mtime=0,
        name=name.encode(),
    )
    return render_header(entry) + content + bytes(-len(content) % BLOCK_BYTES)


def stream_end() -> bytes:
    """Return what ends a stream."""
    # two blocks end it; a whole record keeps a tar quiet that reads by records
    return bytes(tarfile.RECORDSIZE)


def read_content(entry: Entry) -> Iterator[bytes]:
    """Yield a file's content, exactly as long as it was planned.

    Raises:
        TransferError: It cannot be read, or became shorter.
    """
    left = entry.size_bytes
    try:
        file = os.open(entry.path, _READ)
        try:
            while left:
                chunk = os.read(file, min(CHUNK_BYTES, left))
                if not chunk:
                    raise became_shorter(os.fsdecode(entry.path))
                left -= len(chunk)
                yield chunk
        finally:
            os.close(file)
    except OSError as error:
        raise local_error("read", os.fsdecode(entry.path), error) from error


def _read_small(entry: Entry) -> bytes:
    try:
        file = os.open(entry.path, _READ)
        try:
            content = os.read(file, entry.size_bytes)
            while len(content) < entry.size_bytes:
                more = os.read(file, entry.size_bytes - len(content))
                if not more:
                    raise became_shorter(os.fsdecode(entry.path))
                content += more
        finally:
            os.close(file)
    except OSError as error:
        raise local_error("read", os.fsdecode(entry.path), error) from error
    return content


def became_shorter(path: str) -> TransferError:
    """Return the error for a source that shrank under the copy."""
    return TransferError(
        f"{path} became shorter while it was copied",
        path=path,
        hint="Copy it again when nothing writes to it.",
    )


def render_header(entry: Entry) -> bytes:
    """Return the block, or blocks, that announce an entry."""
    is_plain = (
        len(entry.name) <= _NAME_BYTES
        and len(entry.link) <= _NAME_BYTES
        and entry.size_bytes < _OCTAL_LIMIT
        and 0 <= entry.mtime < _OCTAL_LIMIT
    )
    if not is_plain:
        return _render_rare(entry)
    # many files are sent: this takes a fifth of the standard library's time
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        entry.name.ljust(_NAME_BYTES, b"\0"),
        entry.mode,
        0,
        0,
        entry.size_bytes,
        entry.mtime,
    )
    tail = entry.kind + entry.link.ljust(_NAME_BYTES, b"\0") + b"ustar  \0"
    # The sum counts its own eight bytes as spaces. zlib's, the quickest there is, counts
    # one more each time, and these bytes are too few for it to begin again.
    checksum = (zlib.adler32(head + tail) & 0xFFFF) - 1 + 8 * 32
    return (b"%b%06o\0 %b" % (head, checksum, tail)).ljust(BLOCK_BYTES, b"\0")


def _render_rare(entry: Entry) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(entry.name))
    info.type = entry.kind
    info.mode = entry.mode
    info.mtime = entry.mtime
    info.size = entry.size_bytes
    info.linkname = os.fsdecode(entry.link)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def local_error(verb: str, path: Path | str, error: Exception) -> TransferError:
    """Return our error for one of this machine's file system."""
    named = getattr(error, "filename", None) or path
    reason = getattr(error, "strerror", None) or str(error)
    shown = os.fsdecode(named)
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        reason += _render_free(Path(shown))
    return TransferError(f"cannot {verb} {shown}: {reason}", path=shown)


def _render_free(path: Path) -> str:
    """Return how much room there is where a path is, for a message."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            free = shutil.disk_usage(folder).free
            return f"; {free // 1024} KiB are free in {folder}"
    return ""
