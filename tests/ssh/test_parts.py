"""Which ranges of a large file go, as algebra, and holes and pieces of real files."""

import hashlib
import itertools
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh.parts import (
    MIB,
    PartFile,
    Range,
    digest_pieces,
    list_data,
    list_missing,
    piece_bytes,
    split,
)


@given(size=st.integers(0, 4000 * MIB), data=st.data())
def test_missing_ranges_are_exactly_the_pieces_that_differ(
    size: int, data: st.DataObject
) -> None:
    piece = piece_bytes(size)
    count = -(-size // piece)
    ours = [str(number) for number in range(count)]
    there = data.draw(st.integers(0, count + 2))
    wrong = data.draw(st.sets(st.integers(0, max(there, 1))))
    theirs = ["x" if number in wrong else str(number) for number in range(there)]

    missing = list_missing(size, ours, theirs)

    sent = {n for n in range(count) if n >= there or n in wrong}
    covered = {
        start // piece
        for each in missing
        for start in range(each.start, each.end, piece)
    }
    assert covered == sent
    assert all(first.end < then.start for first, then in itertools.pairwise(missing))
    assert all(each.end <= size for each in missing)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 200 * MIB)), max_size=5),
    st.integers(1, 8),
)
def test_split_keeps_the_bytes_and_begins_at_whole_mebibytes(
    pairs: list[tuple[int, int]], count: int
) -> None:
    ranges = [Range(start=gap * MIB, end=gap * MIB + size) for gap, size in pairs]

    found = split(ranges, count)

    assert sum(r.size_bytes for r in found) == sum(r.size_bytes for r in ranges)
    assert all(each.start % MIB == 0 and each.size_bytes > 0 for each in found)
    assert len(found) <= count + len(ranges)


def test_data_of_a_sparse_file_is_found_and_its_holes_are_not(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "sparse")
    with open(path, "wb") as file:  # noqa: PTH123  # bytes
        file.seek(10 * MIB + 5)
        file.write(b"x")
        file.truncate(50 * MIB)

    data = list_data(path, 50 * MIB)

    assert data == [Range(start=10 * MIB, end=11 * MIB)]


def test_pieces_are_digested_as_far_as_the_file_goes(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB + 1000)
    (tmp_path / "file").write_bytes(content)

    digests = digest_pieces(os.fsencode(tmp_path / "file"), 2 * MIB, 5)

    expected = [content[: 2 * MIB], content[2 * MIB :]]
    assert digests == [hashlib.sha256(piece).hexdigest() for piece in expected]


def test_zeros_make_a_hole_and_overwrite_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * MIB)
    file = PartFile(os.fsencode(path))

    file.write([bytes(MIB), b"new", bytes(100 * MIB)], 0)
    file.finish(102 * MIB, 0o640, 1_600_000_000)
    file.close()

    content = path.read_bytes()
    assert content[:MIB] == bytes(MIB)
    assert content[MIB : MIB + 3] == b"new"
    assert content[MIB + 3 :] == bytes(101 * MIB - 3)
    assert path.stat().st_size == 102 * MIB
    assert path.stat().st_mtime == 1_600_000_000
