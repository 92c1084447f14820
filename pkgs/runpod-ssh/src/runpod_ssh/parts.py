"""Large files in parts: which ranges have to go, and this machine's side of moving them.

A range starts at a whole MiB, for the pod's dd counts in those. Knows no connections.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MIB = 1024 * 1024
# how many pieces a file is compared in when a copy is gone on with: each costs the pod
# two processes, and what is sent twice is at most one piece for each channel
_PIECES = 128
# a range is worth a command of its own from here on
_LEAST_BYTES = 8 * MIB
_READ_BYTES = 4 * MIB


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bytes from `start` up to, and without, `end`."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Return its length."""
        return self.end - self.start


def piece_bytes(size: int) -> int:
    """Return the size of the pieces that a file of this size is compared in."""
    return max(1, -(-size // (_PIECES * MIB))) * MIB


def list_missing(size: int, ours: Sequence[str], theirs: Sequence[str]) -> list[Range]:
    """Return what of a file has to be sent where its pieces have these digests.

    Args:
        ours: Digest of each piece of the source, in order, at least as many as theirs.
        theirs: Digest of each piece that the other side has.
    """
    missing: list[Range] = []
    piece = piece_bytes(size)
    for number in range(-(-size // piece)):
        if number < len(theirs) and ours[number] == theirs[number]:
            continue
        start = number * piece
        end = min(start + piece, size)
        if missing and missing[-1].end == start:
            start = missing.pop().start
        missing.append(Range(start=start, end=end))
    return missing


def split(ranges: Iterable[Range], count: int) -> list[Range]:
    """Return the same bytes as about `count` ranges of about one size."""
    ranges = list(ranges)
    total = sum(each.size_bytes for each in ranges)
    step = max(_LEAST_BYTES, -(-total // max(count, 1) // MIB) * MIB)
    found = []
    for each in ranges:
        found += [
            Range(start=start, end=min(start + step, each.end))
            for start in range(each.start, each.end, step)
        ]
    return found


def list_data(path: bytes, size: int) -> list[Range]:
    """Return where a file holds data and no hole, rounded outwards to whole MiB.

    Raises:
        OSError: It cannot be read.
    """
    whole = [Range(start=0, end=size)]
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_blocks * 512 >= size:
            return whole
        return _merge(_extents(file, size), size)
    except OSError as error:
        if error.errno == errno.EINVAL:
            # a file system that knows of no holes
            return whole
        raise
    finally:
        os.close(file)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


def _merge(extents: Iterable[tuple[int, int]], size: int) -> list[Range]:
    merged: list[Range] = []
    for data_start, data_end in extents:
        start, end = data_start // MIB * MIB, min(-(-data_end // MIB) * MIB, size)
        if merged and merged[-1].end >= start:
            start = merged.pop().start
        merged.append(Range(start=start, end=end))
    return merged


def digest_pieces(path: bytes, piece: int, count: int) -> list[str]:
    """Return the SHA-256 of a file's first `count` pieces, fewer where it ends.

    Args:
        piece: Size of one in bytes.

    Raises:
        OSError: It cannot be read.
    """
    digests: list[str] = []
    buffer = memoryview(bytearray(piece))
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # bytes: any name
        while len(digests) < count and (have := _read_into(file.fileno(), buffer)):
            digests.append(hashlib.sha256(buffer[:have]).hexdigest())
    return digests


def _read_into(file: int, buffer: memoryview) -> int:
    have = 0
    while have < len(buffer) and (count := os.readv(file, [buffer[have:]])):
        have += count
    return have


def feed_digest(digest: "hashlib._Hash", path: bytes, size: int) -> None:
    """Add a file's first `size` bytes to a digest; less where it is shorter.

    Raises:
        OSError: It cannot be read.
    """
    buffer = memoryview(bytearray(_READ_BYTES))
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # bytes: any name
        while size and (count := file.readinto(buffer[: min(size, _READ_BYTES)])):
            digest.update(buffer[:count])
            size -= count


class PartFile:
    """A local file that is written from several places, each piece where it belongs."""

    def __init__(self, path: bytes) -> None:
        """Open it, or make it.

        Raises:
            OSError: It cannot be.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)

    def write(self, chunks: Sequence[bytes | memoryview], at: int) -> None:
        """Write chunks one after the other from `at` on; zeros become a hole."""
        for chunk in chunks:
            if chunk[0] == 0 and bytes(chunk).count(0) == len(chunk):
                self._clear(at, len(chunk))
            else:
                done = os.pwrite(self._file, chunk, at)
                while done < len(chunk):
                    done += os.pwrite(self._file, chunk[done:], at + done)
            at += len(chunk)

    def _clear(self, at: int, size: int) -> None:
        """Have zeros in a place; what is past the end reads as such already."""
        if os.fstat(self._file).st_size > at:
            os.pwrite(self._file, bytes(size), at)

    def finish(self, size: int, mode: int, mtime: int) -> None:
        """Give it its length, permissions and time."""
        os.ftruncate(self._file, size)
        os.fchmod(self._file, mode)
        os.utime(self._file, (mtime, mtime))

    def close(self) -> None:
        """Close it."""
        os.close(self._file)
