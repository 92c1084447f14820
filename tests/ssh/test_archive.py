"""What a pod sends is unpacked inside one folder and nowhere else."""

import io
import tarfile
from pathlib import Path

import pytest

from runpod_ssh import TransferError
from runpod_ssh.archive import pack, plan, unpack


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
    assert (unpacked.names, unpacked.size_bytes) == (["a", "b"], 8)


def test_stream_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    whole = stream_of((tarfile.TarInfo("a"), b"x" * 5000)).getvalue()

    with pytest.raises(TransferError):
        unpack(io.BytesIO(whole[:2000]), tmp_path, ignore)


def test_setuid_is_not_kept(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.mode = 0o4755

    unpack(stream_of((info, b"x")), tmp_path, ignore)

    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


def test_planned_length_is_the_exact_length_of_the_stream(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for size in (0, 1, 511, 512, 513, 100_000):
        (tmp_path / "sub" / f"{'n' * 150}{size}").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("sub")
    planned = plan(tmp_path)

    stream = b"".join(pack(planned, lambda _chunk: None))

    assert len(stream) == planned.stream_bytes
    assert planned.content_bytes == 101_537
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        assert len(archive.getnames()) == len(planned.entries) == 9
