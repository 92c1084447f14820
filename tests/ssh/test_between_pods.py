"""Copies from pod to pod through this machine: equal, verified, nothing kept here."""

import asyncio
import hashlib
import os
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_ssh import (
    Connection,
    Credentials,
    HostKeyVerifier,
    SSHUnreachableError,
    TransferError,
    connect,
)
from runpod_ssh.transfer import PodPath, copy_between
from ssh.conftest import VerifierFactory
from support.busybox import busybox_path
from support.cut_link import cut_link
from support.sshd import Sshd, SshdFactory
from support.waiting import wait_for

MB = 1_000_000


pytestmark = pytest.mark.busybox


@pytest.fixture
async def links(
    sshd_factory: SshdFactory, verifier: VerifierFactory, tmp_path: Path
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two pods, one with GNU's tools and one with busybox."""
    first = sshd_factory()
    second = sshd_factory(path=busybox_path(tmp_path / "applets"))
    async with (
        connect(
            first.address,
            host_keys=verifier(pod_id="a"),
            credentials=Credentials(identity_file=first.identity_file),
        ) as one,
        connect(
            second.address,
            host_keys=verifier(pod_id="b"),
            credentials=Credentials(identity_file=second.identity_file),
        ) as two,
    ):
        yield one, two


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The source's folder and the target's."""
    source, target = tmp_path / "source side", tmp_path / "target side"
    source.mkdir()
    target.mkdir()
    return source, target


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_tree(root: Path) -> None:
    noise = random.Random(3)  # noqa: S311  # the same every time
    (root / "deep" / "empty").mkdir(parents=True)
    for name in ("plain", "new\nline", "-dash", os.fsdecode(b"lat-\xe9"), "x" * 200):
        (root / "deep" / name).write_bytes(noise.randbytes(70_000))
    (root / "big").write_bytes(noise.randbytes(9 * MB))
    (root / "big").chmod(0o750)
    (root / "link").symlink_to("deep/plain")


def content_of(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_tree_arrives_whole_and_verified(
    links: tuple[Connection, Connection],
    folders: tuple[Path, Path],
    *,
    is_reversed: bool,
) -> None:
    one, two = reversed(links) if is_reversed else links
    source, target = folders
    make_tree(source / "tree")

    result = await copy_between(
        PodPath(connection=one, path=str(source / "tree")),
        PodPath(connection=two, path=f"{target}/"),
    )

    assert content_of(target / "tree") == content_of(source / "tree")
    assert (target / "tree" / "big").stat().st_mode & 0o777 == 0o750
    assert result.is_verified
    assert result.file_count == 6
    assert names_in(target) == ["tree"]


@pytest.mark.parametrize("size", [0, 1, 100_000, 20 * MB + 17])
async def test_file_arrives_with_its_facts_under_the_name_asked_for(
    links: tuple[Connection, Connection], folders: tuple[Path, Path], size: int
) -> None:
    source, target = folders
    content = os.urandom(size)
    (source / "-odd name").write_bytes(content)
    (source / "-odd name").chmod(0o640)
    os.utime(source / "-odd name", (1_600_000_000, 1_600_000_000))

    result = await copy_between(
        PodPath(connection=links[0], path=str(source / "-odd name")),
        PodPath(connection=links[1], path=str(target / "other")),
    )

    arrived = target / "other"
    assert arrived.read_bytes() == content
    assert arrived.stat().st_mode & 0o777 == 0o640
    assert arrived.stat().st_mtime == 1_600_000_000
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    assert (result.is_verified, result.size_bytes) == (True, size)
    assert names_in(target) == ["other"]


async def test_large_file_goes_on_after_a_cut_and_nothing_is_kept_here(
    links: tuple[Connection, Connection],
    folders: tuple[Path, Path],
    sshd: Sshd,
    host_keys: HostKeyVerifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = folders
    (source / "big").write_bytes(os.urandom(40 * MB))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    credentials = Credentials(identity_file=sshd.identity_file)
    start = PodPath(connection=links[0], path=str(source / "big"))

    async with (
        cut_link(sshd.port, cut_after=25 * MB) as wire,
        connect(
            replace(sshd.address, port=wire.port),
            host_keys=host_keys,
            credentials=credentials,
        ) as link,
    ):
        with pytest.raises(SSHUnreachableError, match="lost"):
            await copy_between(start, PodPath(connection=link, path=str(target)))
    assert not (target / "big").exists()
    async with (
        cut_link(sshd.port) as wire,
        connect(
            replace(sshd.address, port=wire.port),
            host_keys=host_keys,
            credentials=credentials,
        ) as link,
    ):
        result = await copy_between(start, PodPath(connection=link, path=str(target)))

    assert (target / "big").read_bytes() == (source / "big").read_bytes()
    assert result.is_verified
    assert wire.up_bytes < 28 * MB
    assert names_in(target) == ["big"]
    assert names_in(tmp_path / "temporary") == []


async def test_missing_source_and_missing_place_are_named(
    links: tuple[Connection, Connection], folders: tuple[Path, Path]
) -> None:
    source, target = folders
    (source / "file").write_text("x")

    with pytest.raises(TransferError, match=f"there is no {source}/none"):
        await copy_between(
            PodPath(connection=links[0], path=f"{source}/none"),
            PodPath(connection=links[1], path=str(target)),
        )
    with pytest.raises(TransferError, match="there is no folder"):
        await copy_between(
            PodPath(connection=links[0], path=f"{source}/file"),
            PodPath(connection=links[1], path=f"{target}/none/x"),
        )

    assert names_in(target) == []


async def test_cancelled_copy_of_little_leaves_nothing(
    links: tuple[Connection, Connection], folders: tuple[Path, Path]
) -> None:
    source, target = folders
    (source / "tree").mkdir()
    (source / "tree" / "some").write_bytes(b"\1" * MB)
    moved = asyncio.Event()
    task = asyncio.create_task(
        copy_between(
            PodPath(connection=links[0], path=str(source / "tree")),
            PodPath(connection=links[1], path=str(target)),
            on_progress=lambda *_: moved.set(),
        )
    )
    await asyncio.wait_for(moved.wait(), 10)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    wait_for(lambda: not names_in(target), what="the pod's folder is empty again")


def make_long_tree(root: Path) -> None:
    """Make 26 MB: small files of odd names, closed folders, and one large file."""
    noise = random.Random(5)  # noqa: S311  # the same every time
    for number, name in enumerate(["plain", "new\nline", "-d", "it's", "\\n", "$(id)"]):
        folder = root / f"{number} {name}"
        folder.mkdir(parents=True)
        for count in range(3):
            (folder / f"{name}{count}").write_bytes(noise.randbytes(MB))
            os.utime(folder / f"{name}{count}", (1_600_000_000, 1_600_000_000))
        (folder / "link").symlink_to(f"{name}0")
        (folder / f"{name}0").chmod(0o444)
        folder.chmod([0o755, 0o700, 0o555][number % 3])
    (root / "empty").mkdir(mode=0o711)
    (root / "z large").write_bytes(noise.randbytes(9 * MB))
    root.chmod(0o750)


def modes_of(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.lstat().st_mode & 0o777
        for path in [root, *root.rglob("*")]
    }


@pytest.fixture(params=["gnu", "busybox"])
def goal(
    request: pytest.FixtureRequest, sshd_factory: SshdFactory, tmp_path: Path
) -> Sshd:
    """The pod that is copied to."""
    if request.param == "gnu":
        return sshd_factory()
    return sshd_factory(path=busybox_path(tmp_path / "poor"))


class Way:
    """A way to a pod that can be cut."""

    def __init__(self, pod: Sshd, keys: HostKeyVerifier, start: PodPath) -> None:
        self.pod, self.keys, self.start = pod, keys, start

    async def copy(self, target: Path, *, cut_after: int = 0) -> int:
        """Copy over a link that may be cut; return what went up it."""
        async with (
            cut_link(self.pod.port, cut_after=cut_after) as wire,
            connect(
                replace(self.pod.address, port=wire.port),
                host_keys=self.keys,
                credentials=Credentials(identity_file=self.pod.identity_file),
            ) as link,
        ):
            result = await copy_between(
                self.start, PodPath(connection=link, path=str(target))
            )
            assert result.is_verified
            return wire.up_bytes


@pytest.fixture
def way(
    goal: Sshd,
    links: tuple[Connection, Connection],
    folders: tuple[Path, Path],
    host_keys: HostKeyVerifier,
) -> Way:
    """The way of a long tree to a folder that is called by another name."""
    make_long_tree(folders[0] / "tree")
    start = PodPath(connection=links[0], path=str(folders[0] / "tree"), origin="one")
    return Way(goal, host_keys, start)


@pytest.mark.parametrize("cut_after", [12 * MB, 25 * MB])
async def test_tree_goes_on_after_a_cut_and_sends_no_file_again(
    way: Way, folders: tuple[Path, Path], cut_after: int
) -> None:
    source, target = folders

    with pytest.raises(SSHUnreachableError, match="lost") as caught:
        await way.copy(target / "copy", cut_after=cut_after)
    cut = names_in(target)
    sent = await way.copy(target / "copy")

    assert "it goes on where it was" in caught.value.hint
    assert len(cut) == 1
    assert cut[0].startswith(".runpod-ssh-")
    assert content_of(target / "copy") == content_of(source / "tree")
    assert modes_of(target / "copy") == modes_of(source / "tree")
    # what was on its way when the link was cut comes twice
    assert sent < 27 * MB - cut_after + 5 * MB
    assert names_in(target) == ["copy"]


async def test_tree_that_changed_meanwhile_arrives_as_it_is_now(
    way: Way, folders: tuple[Path, Path]
) -> None:
    source, target = folders
    with pytest.raises(SSHUnreachableError):
        await way.copy(target / "copy", cut_after=20 * MB)
    tree = source / "tree"
    (tree / "0 plain" / "plain1").unlink()
    (tree / "0 plain" / "plain2").unlink()
    (tree / "0 plain" / "plain2").mkdir()
    (tree / "0 plain" / "plain0").write_bytes(b"other")
    (tree / "1 new\nline" / "link").unlink()
    (tree / "1 new\nline" / "link").write_bytes(b"a file now")
    (tree / "new").mkdir()
    (tree / "new" / "file").write_bytes(b"new")

    await way.copy(target / "copy")

    assert content_of(target / "copy") == content_of(tree)
    assert names_in(target) == ["copy"]


async def test_tree_with_a_pipe_is_begun_anew(
    way: Way, folders: tuple[Path, Path]
) -> None:
    source, target = folders
    with pytest.raises(SSHUnreachableError):
        await way.copy(target / "copy", cut_after=20 * MB)
    os.mkfifo(source / "tree" / "pipe")

    await way.copy(target / "copy")

    assert (target / "copy" / "pipe").is_fifo()
    (target / "copy" / "pipe").unlink()
    (source / "tree" / "pipe").unlink()
    assert content_of(target / "copy") == content_of(source / "tree")
