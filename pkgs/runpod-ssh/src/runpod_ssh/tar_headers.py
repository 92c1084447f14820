"""The headers of a tar stream, as GNU's and busybox's tar write them. Pure.

GNU's and pax' long names, sparse files, several archives in a row. Knows nothing of
what becomes of an entry.
"""

import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runpod_ssh.archive import BLOCK_BYTES, CHUNK_BYTES
from runpod_ssh.errors import TransferError

# the kinds that are a file with content of its own
FILE_KINDS = frozenset({b"0", b"\0", b"7", b"S"})
# name, mode, size, time, checksum, kind, format, beginning of the name
_FIELDS = struct.Struct("100s 7sx 16x 11sx 11sx 8s c 100x 6s 82x 155s 12x")
_NO_BLOCK = bytes(BLOCK_BYTES)
_HEADER_LIMIT = 1024 * 1024
_USTAR = b"ustar\0"
# zlib's sum of bytes is the quickest there is; it is one more, and modulo this
_ADLER_BASE = 65521


@dataclass(kw_only=True, slots=True)
class Member:
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


class Simple(NamedTuple):
    """A file whose one header says it all."""

    folder: bytes
    leaf: bytes
    mode: int
    size_bytes: int
    mtime: int


def find_simple(data: bytes, at: int) -> Simple | None:
    """Return the file whose header stands there; None for what `list_members` reads.

    There are many of these, and it takes a third of the general way's time.

    Raises:
        TransferError: It is no header.
    """
    fields = _FIELDS.unpack_from(data, at)
    name, mode, size, mtime, checksum, kind, form, prefix = fields
    folder, slash, leaf = name.partition(b"\0")[0].rpartition(b"/")
    if kind != b"0" or not leaf or (slash and not folder):
        return None
    if form == _USTAR and prefix[0]:
        return None
    # blanks before them, or what takes more than digits: there are other ways to read
    if not (mode + size + mtime).isdigit():
        return None
    # the sum counts its own eight bytes as spaces
    others = _sum(data[at : at + BLOCK_BYTES]) - _sum(checksum)
    if (others + 8 * 32 - _number(checksum)) % _ADLER_BASE:
        raise broken()
    try:
        return Simple(folder, leaf, int(mode, 8), int(size, 8), int(mtime, 8))
    except ValueError as error:
        raise broken() from error


def _sum(data: bytes) -> int:
    """Return the sum of the bytes, and one, modulo _ADLER_BASE."""
    return zlib.adler32(data) & 0xFFFF


def list_members(
    read: Callable[[int], bytes], take_simple: Callable[[], bool]
) -> Iterator[Member]:
    """Yield the headers; the caller reads an entry's content before the next.

    Args:
        read: Returns so many bytes, fewer at the end.
        take_simple: May take entries off the stream itself; says whether it did.

    Raises:
        TransferError: It is no whole tar stream.
    """
    said: dict[str, bytes] = {}
    has_ended = False
    while True:
        if not said and take_simple():
            has_ended = False
        if not (block := read(BLOCK_BYTES)):
            break
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
        if member.kind in FILE_KINDS and member.name.endswith(b"/"):
            # how a folder was told before there was a kind for it
            member.kind = tarfile.DIRTYPE
        has_ended = False
        yield member
        if member.kind not in FILE_KINDS:
            _skip(read, member.size_bytes)
        exactly(read, -member.size_bytes % BLOCK_BYTES)
    if not has_ended:
        raise broken()


def _parse(block: bytes) -> Member:
    if len(block) < BLOCK_BYTES:
        raise broken()
    # the sum counts its own eight bytes as spaces
    given = block[148:156]
    if sum(block) - sum(given) + 8 * 32 != _number(given):
        raise broken()
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    kind, size = block[156:157], _number(block[124:136])
    if size < 0:
        raise broken()
    return Member(
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
        raise broken() from error


def _parse_pax(content: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while content:
        digits, _space, _rest = content.partition(b" ")
        if not digits.isdigit() or not 0 < int(digits) <= len(content):
            raise broken()
        record, content = content[: int(digits)], content[int(digits) :]
        key, _equals, value = record[len(digits) + 1 : -1].partition(b"=")
        found[key.decode("ascii", "replace")] = value
    return found


def _apply(said: dict[str, bytes], member: Member) -> None:
    member.name = said.get("path", member.name)
    member.link = said.get("linkpath", member.link)
    try:
        member.size_bytes = int(said.get("size", member.size_bytes))
        member.mtime = int(float(said.get("mtime", member.mtime)))
    except ValueError as error:
        raise broken() from error


def _read_extents(read: Callable[[int], bytes], block: bytes, member: Member) -> None:
    """Take in where a sparse file of GNU's format has data."""
    member.whole_bytes = _number(block[483:495])
    extents = [block[386 + 24 * i : 386 + 24 * (i + 1)] for i in range(4)]
    has_more = block[482]
    while has_more:
        more = exactly(read, BLOCK_BYTES)
        extents += [more[24 * i : 24 * (i + 1)] for i in range(21)]
        has_more = more[504]
    member.extents = [
        (_number(pair[:12]), _number(pair[12:])) for pair in extents if pair[12] != 0
    ]


def _content_of(read: Callable[[int], bytes], member: Member) -> bytes:
    if member.size_bytes > _HEADER_LIMIT:
        raise broken()
    content = exactly(read, member.size_bytes)
    exactly(read, -member.size_bytes % BLOCK_BYTES)
    return content


def _skip(read: Callable[[int], bytes], size: int) -> None:
    while size > 0:
        size -= len(exactly(read, min(size, CHUNK_BYTES)))


def exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Return so many bytes of a stream; raises TransferError where it ends before."""
    chunk = read(size)
    if len(chunk) < size:
        raise broken()
    return chunk


def broken() -> TransferError:
    """Return the error for what is no tar stream."""
    return TransferError("what the pod sent is no whole tar stream")
