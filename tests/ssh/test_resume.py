"""A copy that is cut off, wherever and by whatever, is gone on with by the next one."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_ssh import (
    Connection,
    Credentials,
    HostKeyVerifier,
    SSHUnreachableError,
    TransferResult,
    connect,
    download,
    upload,
)
from support import copy_program
from support.busybox import busybox_path
from support.cut_link import CutLink, cut_link
from support.sshd import Sshd, SshdFactory
from support.waiting import wait_for

MB = 1_000_000
BIG_BYTES = 40 * MB
# what a copy may send twice: one piece, and what was on its way in each channel
TWICE_BYTES = 16 * MB


@pytest.fixture(params=["gnu", "busybox"])
def pod(
    request: pytest.FixtureRequest, sshd_factory: SshdFactory, tmp_path: Path
) -> Sshd:
    """A pod with everything, and one with busybox alone."""
    if request.param == "gnu":
        return sshd_factory()
    return sshd_factory(path=busybox_path(tmp_path / "applets"))


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


@contextlib.asynccontextmanager
async def linked(
    pod: Sshd, host_keys: HostKeyVerifier, *, cut_after: int = 0
) -> AsyncIterator[tuple[Connection, CutLink]]:
    async with (
        cut_link(pod.port, cut_after=cut_after) as wire,
        connect(
            # one name for the pod whatever the way to it
            replace(pod.address, port=wire.port),
            host_keys=host_keys,
            credentials=Credentials(identity_file=pod.identity_file),
        ) as link,
    ):
        link.address = pod.address
        yield link, wire


def make_big(path: Path, seed: int = 1) -> None:
    path.write_bytes(random.Random(seed).randbytes(BIG_BYTES))  # noqa: S311  # noise


def make_tree(root: Path) -> None:
    """Make 30 MB of small files and one large one."""
    noise = random.Random(2)  # noqa: S311
    for number in range(30):
        folder = root / f"f{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number} a").write_bytes(noise.randbytes(MB))
    (root / "f0" / "large").write_bytes(noise.randbytes(12 * MB))
    (root / "f1" / "link").symlink_to("../f0/large")
    (root / "empty").mkdir()


def content_of(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes()
        )
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def move(
    link: Connection, way: str, source: Path, folder: Path
) -> TransferResult:
    if way == "up":
        return await upload(link, source, f"{folder}/")
    return await download(link, str(source), folder)


def moved_bytes(wire: CutLink, way: str) -> int:
    return wire.up_bytes if way == "up" else wire.down_bytes


def has_ended(folder: Path) -> bool:
    """Whether nothing is written below a folder any more."""

    def sizes() -> list[int]:
        return [p.lstat().st_size for p in sorted(folder.rglob("*")) if p.is_file()]

    before = sizes()
    time.sleep(0.05)
    return before == sizes()


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("cut_after", [22 * MB, 38 * MB])
async def test_large_file_goes_on_where_the_link_was_cut(
    pod: Sshd,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    way: str,
    cut_after: int,
) -> None:
    source, folder = (here, there) if way == "up" else (there, here)
    make_big(source / "big")

    async with linked(pod, host_keys, cut_after=cut_after) as (link, _wire):
        with pytest.raises(SSHUnreachableError, match="lost") as failed:
            await move(link, way, source / "big", folder)
    assert "goes on where it was" in failed.value.hint
    assert not (folder / "big").exists()
    wait_for(lambda: has_ended(folder), what="the pod has written what it got")
    async with linked(pod, host_keys) as (link, wire):
        result = await move(link, way, source / "big", folder)

    assert (folder / "big").read_bytes() == (source / "big").read_bytes()
    assert result.is_verified
    assert moved_bytes(wire, way) < BIG_BYTES - cut_after + TWICE_BYTES
    assert names_in(folder) == ["big"]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_files_of_a_tree_that_have_arrived_are_not_sent_again(
    pod: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, way: str
) -> None:
    source, folder = (here, there) if way == "up" else (there, here)
    make_tree(source / "tree")

    async with linked(pod, host_keys, cut_after=32 * MB) as (link, _wire):
        with pytest.raises(SSHUnreachableError, match="lost"):
            await move(link, way, source / "tree", folder)
    assert not (folder / "tree").exists()
    wait_for(lambda: has_ended(folder), what="the pod has written what it got")
    async with linked(pod, host_keys) as (link, wire):
        result = await move(link, way, source / "tree", folder)

    assert content_of(folder / "tree") == content_of(source / "tree")
    assert (folder / "tree" / "empty").is_dir()
    assert result.is_verified
    assert result.file_count == 31
    assert moved_bytes(wire, way) < 42 * MB - 32 * MB + TWICE_BYTES
    assert names_in(folder) == ["tree"]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_source_that_changed_meanwhile_arrives_as_it_is_now(
    pod: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, way: str
) -> None:
    source, folder = (here, there) if way == "up" else (there, here)
    make_big(source / "big")
    async with linked(pod, host_keys, cut_after=30 * MB) as (link, _wire):
        with pytest.raises(SSHUnreachableError):
            await move(link, way, source / "big", folder)
    wait_for(lambda: has_ended(folder), what="the pod has written what it got")
    make_big(source / "big", seed=7)
    os.truncate(source / "big", 20 * MB + 1)

    async with linked(pod, host_keys) as (link, _wire):
        await move(link, way, source / "big", folder)

    assert (folder / "big").read_bytes() == (source / "big").read_bytes()
    assert names_in(folder) == ["big"]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_copy_whose_process_was_killed_goes_on(
    sshd: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, way: str
) -> None:
    source, folder = (here, there) if way == "up" else (there, here)
    make_big(source / "big")
    async with cut_link(sshd.port) as first:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            copy_program.__file__,
            *(way, str(sshd.port), str(sshd.identity_file)),
            *(str(source / "big"), str(folder)),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while int(await process.stdout.readline()) < 20 * MB:
                pass
        process.kill()
        await process.wait()
    del first
    wait_for(lambda: has_ended(folder), what="the pod has written what it got")

    async with linked(sshd, host_keys) as (link, wire):
        await move(link, way, source / "big", folder)

    assert (folder / "big").read_bytes() == (source / "big").read_bytes()
    assert moved_bytes(wire, way) < BIG_BYTES - 20 * MB + TWICE_BYTES
    assert names_in(folder) == ["big"]


async def test_cancelled_download_of_little_leaves_nothing_here(
    sshd: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path
) -> None:
    make_big(there / "big")
    os.truncate(there / "big", 7 * MB)
    async with linked(sshd, host_keys, cut_after=3 * MB) as (link, _wire):
        with pytest.raises(SSHUnreachableError):
            await download(link, f"{there}/big", here)

    assert names_in(here) == []


@pytest.mark.parametrize("way", ["up", "down"])
async def test_stage_that_nobody_came_back_to_is_removed_after_a_day(
    pod: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, way: str
) -> None:
    source, folder = (here, there) if way == "up" else (there, here)
    (source / "small").write_text("x")
    for name, days in ((".runpod-ssh-old.part", 2.1), (".runpod-ssh-new.part", 0.5)):
        (folder / name / "payload" / "closed").mkdir(parents=True)
        (folder / name / "payload" / "closed").chmod(0o500)
        then = time.time() - days * 86400
        os.utime(folder / name, (then, then))

    async with linked(pod, host_keys) as (link, _wire):
        await move(link, way, source / "small", folder)

    assert names_in(folder) == [
        ".runpod-ssh-new.part",
        "small",
    ]


async def test_pod_cannot_have_a_download_go_on_through_a_link(
    sshd: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, tmp_path: Path
) -> None:
    make_tree(there / "tree")
    async with linked(sshd, host_keys, cut_after=20 * MB) as (link, _wire):
        with pytest.raises(SSHUnreachableError):
            await download(link, f"{there}/tree", here)
    outside = tmp_path / "outside"
    outside.mkdir()
    stage = here / names_in(here)[0]
    for folder in list((stage / "payload").iterdir()):
        folder.rename(outside / folder.name)
        folder.symlink_to(outside / folder.name)
    before = content_of(outside)

    async with linked(sshd, host_keys) as (link, _wire):
        await download(link, f"{there}/tree", here)

    assert content_of(outside) == before
    assert content_of(here / "tree") == content_of(there / "tree")
