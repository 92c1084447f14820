"""What a pod sends is unpacked inside one folder and nowhere else."""

import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_ssh import TransferError
from runpod_ssh.archive import pack, plan, stream_end
from runpod_ssh.unpacking import PARTIAL_MODE, unpack


def stream_of(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


def link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def ignore(_done: int) -> None:
    pass


@pytest.mark.parametrize("name", ["/abs", "../up", "a/../../up", "./../up"])
def test_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferError, match="outside"):
        unpack(stream_of((tarfile.TarInfo(name), b"x")), tmp_path, ignore)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["/abs", "//abs", "../up", "a/../../up", "./../up", "a/..", "/.."]
)
def test_name_that_leads_outside_is_refused_among_small_files(
    tmp_path: Path, name: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    stream = stream_of((tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo(name), b"y"))

    with pytest.raises(TransferError, match="outside"):
        unpack(stream, inside, ignore)

    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in inside.iterdir()] == ["a"]


@pytest.mark.parametrize("at", [1024, 1024 + 150, 1024 + 130])
def test_header_that_was_changed_on_its_way_is_refused(tmp_path: Path, at: int) -> None:
    whole = bytearray(
        stream_of((tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("b"), b"y")).getvalue()
    )
    whole[at] ^= 1

    with pytest.raises(TransferError, match="no whole tar stream"):
        unpack(io.BytesIO(bytes(whole)), tmp_path, ignore)

    assert not (tmp_path / "b").exists()


def test_name_in_two_pieces_is_put_together_among_small_files(tmp_path: Path) -> None:
    long = "/".join(["f" * 60, "g" * 60, "name"])
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("a", long, "b"):
            archive.addfile(tarfile.TarInfo(name))
    stream.seek(0)

    unpacked = unpack(stream, tmp_path, ignore)

    assert unpacked.names == [b"a", long.encode(), b"b"]
    assert (tmp_path / long).exists()


def test_entry_behind_a_link_does_not_follow_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    stream = stream_of(
        link("a", str(outside), tarfile.SYMTYPE), (tarfile.TarInfo("a/x"), b"x")
    )

    with pytest.raises(TransferError):
        unpack(stream, inside, ignore)

    assert list(outside.iterdir()) == []


def test_hard_link_to_a_place_outside_is_refused(tmp_path: Path) -> None:
    stream = stream_of(link("a", "../../etc/passwd", tarfile.LNKTYPE))

    with pytest.raises(TransferError, match="outside"):
        unpack(stream, tmp_path, ignore)


def test_hard_link_inside_arrives_with_its_content(tmp_path: Path) -> None:
    stream = stream_of((tarfile.TarInfo("a"), b"text"), link("b", "a", tarfile.LNKTYPE))

    unpacked = unpack(stream, tmp_path, ignore)

    assert (tmp_path / "b").read_bytes() == b"text"
    assert (unpacked.names, unpacked.size_bytes) == ([b"a", b"b"], 8)


def test_stream_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    whole = stream_of((tarfile.TarInfo("a"), b"x" * 5000)).getvalue()

    with pytest.raises(TransferError):
        unpack(io.BytesIO(whole[:2000]), tmp_path, ignore)


def test_setuid_is_not_kept(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.mode = 0o4755

    unpack(stream_of((info, b"x")), tmp_path, ignore)

    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_arrive_in_either_format(tmp_path: Path, form: int) -> None:
    names = ["n" * 150, "f/" * 60 + "x", "ünï", os.fsdecode(b"lat-\xe9"), "new\nline"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 1, 1_600_000_000
            archive.addfile(info, io.BytesIO(b"x"))
        archive.addfile(link("l" * 120, "t" * 130, tarfile.SYMTYPE)[0])
    stream.seek(0)

    unpacked = unpack(stream, tmp_path, ignore)

    assert [os.fsdecode(name) for name in unpacked.names] == names
    assert all((tmp_path / name).read_bytes() == b"x" for name in names)
    assert (tmp_path / names[0]).stat().st_mtime == 1_600_000_000
    assert str((tmp_path / ("l" * 120)).readlink()) == "t" * 130


def test_archives_in_a_row_are_one(tmp_path: Path) -> None:
    first = stream_of((tarfile.TarInfo("a"), b"1")).getvalue()
    second = stream_of((tarfile.TarInfo("b"), b"2")).getvalue()

    unpacked = unpack(io.BytesIO(first + second), tmp_path, ignore)

    assert unpacked.names == [b"a", b"b"]
    assert unpacked.sha256 == hashlib.sha256(b"12").hexdigest()


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    with (source / "sparse").open("wb") as file:
        for number in range(30):
            file.seek(number * 1_000_000)
            file.write(b"data")
        file.truncate(40_000_000)
    packed = subprocess.run(
        ["tar", "-S", "-C", source, "-cf", "-", "sparse"],
        check=True,
        capture_output=True,
        timeout=20,
    ).stdout

    unpacked = unpack(io.BytesIO(packed), target, ignore)

    content = (source / "sparse").read_bytes()
    assert (target / "sparse").read_bytes() == content
    assert unpacked.sha256 == hashlib.sha256(content).hexdigest()
    assert len(packed) < 1_000_000
    assert (target / "sparse").stat().st_blocks * 512 < 1_000_000


def test_large_file_that_is_not_whole_is_known_by_its_permissions(
    tmp_path: Path,
) -> None:
    whole = stream_of(
        (tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("b"), b"y" * 900_000)
    )

    with pytest.raises(TransferError):
        unpack(io.BytesIO(whole.getvalue()[:500_000]), tmp_path, ignore)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "b").stat().st_mode & 0o777 == PARTIAL_MODE


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=240).filter(
                lambda name: not set(name) & {0, 0x2F} and name not in {b".", b".."}
            ),
            st.binary(max_size=2000),
            st.integers(0, 2**33),
        ),
        max_size=8,
        unique_by=lambda file: file[0],
    )
)
def test_what_is_packed_is_what_is_unpacked(
    files: list[tuple[bytes, bytes, int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source"), Path(name, "target")
        source.mkdir()
        target.mkdir()
        for file, content, mtime in files:
            path = source / os.fsdecode(file)
            path.write_bytes(content)
            os.utime(path, (mtime, mtime))
        pieces = pack(plan(source), lambda _chunk: None)

        unpack(io.BytesIO(b"".join(pieces) + stream_end()), target, ignore)

        arrived = target / "payload"
        assert {
            (os.fsencode(path.name), path.read_bytes(), int(path.stat().st_mtime))
            for path in arrived.iterdir()
        } == set(files)
