"""Copies where something is in the way: full disks, closed files, names, holes."""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runpod_ssh import (
    Connection,
    Credentials,
    HostKeyVerifier,
    TransferError,
    connect,
    download,
    upload,
)
from support.busybox import busybox_path
from support.sshd import Sshd, SshdFactory
from support.waiting import wait_for

MB = 1_000_000
# a disk that is full, as far as a test can have one: no file may grow past 2 MB (a
# shell counts in units of 512 or of 1024 bytes)
FULL_DISK = (
    "ForceCommand trap '' XFSZ; ulimit -f 1900; exec sh -c \"$SSH_ORIGINAL_COMMAND\""
)


@pytest.fixture(params=["gnu", "busybox"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The PATH of a pod with everything, and of one with busybox alone."""
    if request.param == "gnu":
        return os.environ["PATH"]
    return busybox_path(tmp_path / "applets")


@pytest.fixture
def pod(sshd_factory: SshdFactory, path: str) -> Sshd:
    return sshd_factory(path=path)


@pytest.fixture
async def link(pod: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with connect(
        pod.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=pod.identity_file),
    ) as connection:
        yield connection


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Have this process unable to write a file past 2 MB; not those it has started."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MB, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [3 * MB, 30 * MB])
async def test_full_disk_on_the_pod_is_told_and_nothing_is_left(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    path: str,
    size: int,
) -> None:
    pod = sshd_factory(extra_config=FULL_DISK, path=path)
    (here / "big").write_bytes(b"\1" * size)

    async with connect(
        pod.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=pod.identity_file),
    ) as link:
        with pytest.raises(TransferError, match=r"big|there") as failed:
            await upload(link, here / "big", str(there))

        wait_for(lambda: not names_in(there), what="the pod's folder is empty again")
    assert "KiB are free" in str(failed.value)


@pytest.mark.parametrize("size", [3 * MB, 30 * MB])
async def test_full_disk_here_is_told_and_nothing_is_left(
    link: Connection, here: Path, there: Path, size: int
) -> None:
    (there / "big").write_bytes(b"\1" * size)

    with small_disk(), pytest.raises(TransferError, match="cannot write"):
        await download(link, f"{there}/big", here)

    assert names_in(here) == []


async def test_unreadable_file_in_a_tree_is_named(
    link: Connection, here: Path, there: Path
) -> None:
    (here / "tree").mkdir()
    (here / "tree" / "good").write_text("x")
    (here / "tree" / "gone").write_text("x" * 9 * MB)
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def vanish(_done: int, _total: int) -> None:
        (here / "tree" / "good").unlink(missing_ok=True)
        loop.call_soon_threadsafe(started.set)

    with pytest.raises(TransferError, match="tree/good: No such file"):
        await upload(link, here / "tree", str(there), on_progress=vanish)

    wait_for(lambda: not names_in(there), what="the pod's folder is empty again")


async def test_name_that_is_too_long_for_the_pod_fails_clearly(
    link: Connection, here: Path, there: Path
) -> None:
    (here / "a").write_text("x")

    with pytest.raises(TransferError, match="File name too long"):
        await upload(link, here / "a", f"{there}/{'n' * 256}")
    with pytest.raises(TransferError, match="File name too long"):
        await download(link, f"{here}/a", here / ("n" * 256))

    assert names_in(there) == []
    assert names_in(here) == ["a"]


async def test_holes_stay_holes_on_the_way_up(
    link: Connection, here: Path, there: Path
) -> None:
    with (here / "sparse").open("wb") as file:
        file.seek(20 * MB)
        file.write(b"data")
        file.truncate(200 * MB)

    result = await upload(link, here / "sparse", str(there))

    arrived = there / "sparse"
    assert arrived.stat().st_size == 200 * MB
    assert arrived.stat().st_blocks * 512 < 3 * MB
    assert result.is_verified


async def test_holes_stay_holes_on_the_way_down(
    link: Connection, here: Path, there: Path
) -> None:
    with (there / "sparse").open("wb") as file:
        file.seek(20 * MB)
        file.write(b"data")
        file.truncate(100 * MB)

    result = await download(link, f"{there}/sparse", here)

    arrived = here / "sparse"
    assert arrived.stat().st_size == 100 * MB
    assert arrived.stat().st_blocks * 512 < 3 * MB
    assert result.is_verified


@pytest.mark.parametrize("way", ["up", "down"])
async def test_hard_links_stay_links(
    link: Connection, here: Path, there: Path, way: str
) -> None:
    source, target = (here, there) if way == "up" else (there, here)
    (source / "tree").mkdir()
    (source / "tree" / "a").write_bytes(os.urandom(9 * MB))
    (source / "tree" / "b").hardlink_to(source / "tree" / "a")

    if way == "up":
        result = await upload(link, source / "tree", str(target))
    else:
        result = await download(link, f"{source}/tree", target)

    first, second = target / "tree" / "a", target / "tree" / "b"
    assert first.samefile(second)
    assert first.read_bytes() == (source / "tree" / "a").read_bytes()
    assert (result.file_count, result.is_verified) == (2, True)


@pytest.mark.parametrize("way", ["up", "down"])
async def test_large_file_keeps_its_facts_and_replaces_the_old_one(
    link: Connection, here: Path, there: Path, way: str
) -> None:
    source, target = (here, there) if way == "up" else (there, here)
    (source / "big").write_bytes(os.urandom(20 * MB + 3))
    (source / "big").chmod(0o641)
    os.utime(source / "big", (1_600_000_000, 1_600_000_000))
    (target / "big").write_text("old")
    calls: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        calls.append((done, total))

    if way == "up":
        result = await upload(link, source / "big", str(target), on_progress=note)
    else:
        result = await download(link, f"{source}/big", target, on_progress=note)

    facts = (target / "big").stat()
    assert (target / "big").read_bytes() == (source / "big").read_bytes()
    assert (facts.st_mode & 0o777, facts.st_mtime) == (0o641, 1_600_000_000)
    assert result.is_verified
    assert calls[-1] == (20 * MB + 3, 20 * MB + 3)
    assert names_in(target) == ["big"]


async def test_two_copies_of_one_source_at_once_do_not_mix(
    link: Connection, here: Path, there: Path
) -> None:
    (there / "big").write_bytes(os.urandom(12 * MB))

    first, second = await asyncio.gather(
        download(link, f"{there}/big", here), download(link, f"{there}/big", here)
    )

    assert first.sha256 == second.sha256
    assert (here / "big").read_bytes() == (there / "big").read_bytes()
    assert names_in(here) == ["big"]


async def test_merge_of_a_thousand_files_is_quick(
    link: Connection, here: Path, there: Path
) -> None:
    for root, text in ((here, "new"), (there, "old")):
        (root / "tree").mkdir()
        for number in range(1000):
            (root / "tree" / f"{number}").write_text(text)

    result = await upload(link, here / "tree", str(there))

    texts = {path.read_text() for path in (there / "tree").iterdir()}
    assert texts == {"new"}
    assert result.elapsed_seconds < 10
