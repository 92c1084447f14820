"""What is planned of a local tree, and the stream it becomes, as a real tar reads it."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from runpod_ssh import TransferError
from runpod_ssh.archive import CHUNK_BYTES, pack, plan, stream_end


def stream_of(root: Path) -> bytes:
    return b"".join(pack(plan(root), lambda _chunk: None)) + stream_end()


def test_stream_is_one_a_strict_reader_takes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for size in (0, 1, 511, 512, 513, 600_000):
        (tmp_path / "sub" / f"{'n' * 150}{size}").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("sub")
    planned = plan(tmp_path)

    stream = stream_of(tmp_path)

    assert planned.content_bytes == 601_537
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        assert len(archive.getnames()) == len(planned.entries) == 9
        big = archive.extractfile(f"payload/sub/{'n' * 150}600000")
        assert big is not None
        assert big.read() == b"x" * 600_000


def test_header_is_the_standard_librarys(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "file").chmod(0o640)
    os.utime(tmp_path / "file", (1_600_000_000, 1_600_000_000))
    info = tarfile.TarInfo("payload")
    info.size, info.mode, info.mtime = 4, 0o640, 1_600_000_000

    stream = stream_of(tmp_path / "file")

    assert stream[:512] == info.tobuf(tarfile.GNU_FORMAT)


def test_header_of_the_largest_bytes_has_the_right_sum(tmp_path: Path) -> None:
    name = b"\xff" * (100 - len("payload/"))
    (tmp_path / "root").mkdir()
    largest = os.fsdecode(b"\xff" * 100)
    (tmp_path / "root" / os.fsdecode(name)).symlink_to(largest)

    stream = stream_of(tmp_path / "root")

    with tarfile.open(fileobj=io.BytesIO(stream), errorlevel=2) as archive:
        assert os.fsencode(archive.getnames()[1]) == b"payload/" + name


def test_many_empty_files_are_not_one_piece(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"{number}").touch()

    pieces = list(pack(plan(tmp_path), lambda _chunk: None))

    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert sum(map(len, pieces)) == 1201 * 512


@pytest.mark.parametrize("size", [4096, CHUNK_BYTES + 1])
def test_file_that_became_shorter_is_told(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    planned = plan(tmp_path)
    os.truncate(tmp_path / "file", size - 1)

    with pytest.raises(TransferError, match="became shorter"):
        list(pack(planned, lambda _chunk: None))


def test_hard_links_are_sent_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")

    planned = plan(tmp_path)

    assert (planned.file_count, planned.content_bytes) == (2, 1000)
    with tarfile.open(fileobj=io.BytesIO(stream_of(tmp_path))) as archive:
        assert archive.getmember("payload/b").linkname == "payload/a"


def test_file_in_place_of_which_a_link_stands_by_now_is_not_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("public")
    planned = plan(root)

    (root / "file").unlink()
    (root / "file").symlink_to("../secret")

    with pytest.raises(TransferError, match="file"):
        b"".join(pack(planned, lambda _chunk: None))
