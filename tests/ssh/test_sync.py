"""Syncs both ways against a real sshd, on GNU's tools and on busybox's."""

import asyncio
import os
import random
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runpod_ssh import (
    Connection,
    HostKeyVerifier,
    SSHError,
    TransferError,
)
from runpod_ssh.sync import sync_to_pod
from runpod_ssh.sync_model import SyncOptions, SyncResult
from runpod_ssh.sync_run import LARGE_BYTES
from support.busybox import busybox_path, path_of
from support.sshd import Sshd, SshdFactory
from support.transfers import Way, facts_of, login
from support.waiting import wait_for

ODD_NAMES = [
    "plain", "with space", "-dash", "quote'\"", "new\nline", "ünïcode", "*?[a]",
    "$(id)", "`id`", "back\\slash", "back\\nslash", ".hidden", "..dots", "x" * 200, "tab\tand\rmore",
    "\nf644 1 1.0 fake", os.fsdecode(b"latin-\xe9"), "steps", "payload", "\u2028",
]  # fmt: skip


@pytest.fixture(params=["gnu", "busybox"])
def pod(
    request: pytest.FixtureRequest, sshd_factory: SshdFactory, tmp_path: Path
) -> Sshd:
    if request.param == "gnu":
        return sshd_factory()
    return sshd_factory(path=busybox_path(tmp_path / "applets"))


@pytest.fixture
async def link(pod: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with login(pod, host_keys) as connection:
        yield connection


@pytest.fixture(params=["up", "down"])
def way(
    request: pytest.FixtureRequest, link: Connection, here: Path, there: Path
) -> Way:
    return Way(link, here, there, up=request.param == "up")


def make_tree(root: Path) -> None:
    """Make a tree of everything that is synced, with odd names and facts."""
    noise = random.Random(4)  # noqa: S311  # the same every time
    (root / "deep" / "er" / "empty folder").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        file = root / ("deep" if number % 2 else ".") / name
        file.write_bytes(noise.randbytes(noise.choice([0, 1, 511, 512, 513, 70_000])))
        file.chmod(noise.choice([0o600, 0o644, 0o755, 0o664, 0o444]))
        os.utime(file, (1_600_000_000 + number, 1_600_000_000.7 + number))
    for number, name in enumerate(ODD_NAMES[:8]):
        (root / "deep" / "er" / name).symlink_to(ODD_NAMES[number + 4])
    (root / "link").symlink_to("plain")
    (root / "broken link").symlink_to("/no/such/place")
    (root / "folder link").symlink_to("deep")
    (root / "deep" / "er").chmod(0o750)
    (root / "closed").mkdir()
    (root / "closed" / "inside").write_bytes(b"x")
    (root / "closed").chmod(0o500)


def counts(result: SyncResult) -> tuple[int, int, int, int]:
    return (
        result.sent_count,
        result.changed_count,
        result.deleted_count,
        result.unchanged_count,
    )


async def test_new_folder_becomes_equal_and_the_second_run_finds_nothing(
    way: Way,
) -> None:
    make_tree(way.source)
    names = len(ODD_NAMES) + 8 + 4

    first = await way.sync()
    second = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert counts(first) == (names, 0, 0, 0)
    assert first.is_verified
    assert counts(second) == (0, 0, 0, names)
    assert second.changes == ()


async def test_target_is_made_where_its_parent_is(way: Way) -> None:
    (way.source / "a").write_bytes(b"x")
    way.target.rmdir()

    await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert stat.S_IMODE(way.target.stat().st_mode) & 0o700 == 0o700


async def test_only_what_changed_is_sent(way: Way) -> None:
    make_tree(way.source)
    await way.sync()
    inode = (way.target / "plain").stat().st_ino
    (way.source / "deep" / "with space").write_bytes(b"longer than it was" * 5000)
    (way.source / "deep" / "new").write_bytes(b"new")
    (way.source / "link").unlink()
    (way.source / "link").symlink_to("deep")
    (way.source / "plain").chmod(0o640)
    (way.source / "deep").chmod(0o711)

    result = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert counts(result)[:3] == (3, 2, 0)
    assert result.sent_bytes == 18 * 5000 + 3
    assert (way.target / "plain").stat().st_ino == inode


async def test_nothing_is_removed_without_delete(way: Way) -> None:
    (way.source / "a").write_bytes(b"x")
    (way.target / "old").mkdir()
    (way.target / "old" / "b").write_bytes(b"y")

    result = await way.sync(SyncOptions())

    assert set(facts_of(way.target)) == {"a", "old", "old/b"}
    assert result.deleted_count == 0


async def test_delete_removes_what_the_source_lacks(way: Way) -> None:
    make_tree(way.source)
    (way.target / "old" / "er").mkdir(parents=True)
    for name in ODD_NAMES:
        (way.target / "old" / name).write_bytes(b"y")
    (way.target / "old" / "link").symlink_to(way.source)
    (way.target / "closed").mkdir()

    result = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert result.deleted_count == len(ODD_NAMES) + 3


async def test_delete_does_not_follow_links_out_of_the_target(
    way: Way, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    (way.source / "kept").write_bytes(b"x")
    (way.source / "data").mkdir()
    (way.source / "data" / "precious").write_bytes(b"other")
    (way.target / "gone").symlink_to(outside)
    (way.target / "data").symlink_to(outside)

    await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert (outside / "precious").read_bytes() == b"x"


async def test_one_kind_takes_the_place_of_another(way: Way, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kinds = ["file", "folder", "link", "folder link"]
    for new in kinds:
        for old in kinds:
            make_one(way.source / f"{old} to {new}", new, tmp_path)
            make_one(way.target / f"{old} to {new}", old, tmp_path)

    await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def make_one(path: Path, kind: str, tmp_path: Path) -> None:
    if kind == "file":
        path.write_bytes(b"content")
    elif kind == "folder":
        (path / "in").mkdir(parents=True)
        (path / "in" / "file").write_bytes(b"x")
    else:
        place = tmp_path / "elsewhere" if kind == "folder link" else "nowhere"
        path.symlink_to(place)


async def test_full_folder_in_the_way_is_refused_without_delete(way: Way) -> None:
    (way.source / "a").write_bytes(b"x")
    (way.source / "b").write_bytes(b"x")
    (way.target / "b").mkdir()
    (way.target / "b" / "precious").write_bytes(b"x")

    with pytest.raises(TransferError, match="b is a folder with something in it"):
        await way.sync(SyncOptions())

    assert set(facts_of(way.target)) == {"b", "b/precious"}


async def test_excluded_names_are_neither_sent_nor_removed(way: Way) -> None:
    for side, text in ((way.source, b"the source"), (way.target, b"target")):
        (side / "data").mkdir()
        (side / "data" / "set").write_bytes(text)
        (side / "src").mkdir()
        (side / "src" / "a.pyc").write_bytes(text)
        (side / "src" / "a.py").write_bytes(text)
    (way.target / "old").mkdir()
    (way.target / "old" / "b.pyc").write_bytes(b"target")
    (way.target / "old" / "b.py").write_bytes(b"target")

    result = await way.sync(SyncOptions(delete=True, excludes=("/data", "*.pyc")))

    assert (way.target / "data" / "set").read_bytes() == b"target"
    assert (way.target / "src" / "a.pyc").read_bytes() == b"target"
    assert (way.target / "src" / "a.py").read_bytes() == b"the source"
    assert set(facts_of(way.target / "old")) == {"b.pyc"}
    assert (result.deleted_count, result.kept_count) == (1, 1)


async def test_dry_run_tells_all_and_changes_nothing(way: Way) -> None:
    make_tree(way.source)
    (way.target / "old").write_bytes(b"123")
    (way.target / "plain").write_bytes(b"another")
    before = facts_of(way.target)

    result = await way.sync(SyncOptions(delete=True, dry_run=True))

    assert facts_of(way.target) == before
    told = {(change.action, change.path) for change in result.changes}
    sent = {("send", path) for path in facts_of(way.source)}
    assert told == sent | {("delete", "old")}
    assert result.is_dry_run


async def test_empty_source_does_not_empty_the_target_by_mistake(way: Way) -> None:
    (way.target / "a").write_bytes(b"x")

    with pytest.raises(TransferError, match="the source is empty"):
        await way.sync()
    assert (way.target / "a").exists()
    await way.sync(SyncOptions(delete=True, max_delete=1))

    assert list(way.target.iterdir()) == []


async def test_more_than_may_be_deleted_is_refused_before_anything_changes(
    way: Way,
) -> None:
    (way.source / "new").write_bytes(b"x")
    for number in range(3):
        (way.target / f"{number}").write_bytes(b"x")

    with pytest.raises(TransferError, match="3 would be deleted"):
        await way.sync(SyncOptions(delete=True, max_delete=2))

    assert set(facts_of(way.target)) == {"0", "1", "2"}


async def test_missing_source_is_an_error_and_touches_nothing(way: Way) -> None:
    (way.target / "a").write_bytes(b"x")
    way.source.rmdir()

    with pytest.raises(TransferError, match="there is no folder"):
        await way.sync()

    assert (way.target / "a").exists()


async def test_checksum_finds_a_change_that_size_and_time_hide(way: Way) -> None:
    for side, text in ((way.source, b"new"), (way.target, b"old")):
        for name in ("plain", "new\nline", "back\\slash"):
            (side / name).write_bytes(text)
            os.utime(side / name, (1_600_000_000, 1_600_000_000))

    blind = await way.sync(SyncOptions())
    seen = await way.sync(SyncOptions(checksum=True))

    assert (blind.sent_count, seen.sent_count) == (0, 3)
    assert facts_of(way.source) == facts_of(way.target)


async def test_equal_content_with_another_time_is_not_sent_again(way: Way) -> None:
    content = os.urandom(2_000_000)
    for side, time in ((way.source, 1_600_000_000), (way.target, 1_700_000_000)):
        for name in ("plain", "new\nline", "-dash"):
            (side / name).write_bytes(content)
            os.utime(side / name, (time, time))

    result = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert (result.sent_bytes, result.changed_count) == (0, 3)


async def test_special_files_are_left_out_and_told(way: Way) -> None:
    (way.source / "a").write_bytes(b"x")
    os.mkfifo(way.source / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(way.source, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)

    result = await way.sync()

    assert set(facts_of(way.target)) == {"a"}
    assert set(result.skipped) == {"pipe", "socket"}


async def test_random_trees_become_equal(way: Way) -> None:
    noise = random.Random(way.up)  # noqa: S311  # the same every time
    for _round in range(5):
        for side in (way.source, way.target):
            scramble(side, noise)

        await way.sync()

        assert facts_of(way.source) == facts_of(way.target)


def scramble(root: Path, noise: random.Random) -> None:
    """Add, change and remove things at random."""
    folders = [root]
    for _ in range(40):
        place = noise.choice(folders) / noise.choice("abcdefg")
        if place.is_dir() and not place.is_symlink():
            folders.append(place)
        elif place.is_symlink() or place.exists():
            place.unlink()
        elif noise.random() < 0.3:
            place.mkdir(mode=noise.choice([0o700, 0o755]))
        elif noise.random() < 0.2:
            place.symlink_to(noise.choice("abc"))
        else:
            place.write_bytes(noise.randbytes(noise.randrange(2000)))
            os.utime(place, (noise.randrange(10**9),) * 2)


async def test_hard_links_come_as_files_of_the_same_content(way: Way) -> None:
    (way.source / "a").write_bytes(b"shared" * 1000)
    (way.source / "b").hardlink_to(way.source / "a")

    await way.sync()
    again = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert again.sent_count == 0


async def test_large_file_goes_beside_the_small_ones(way: Way) -> None:
    (way.source / "new").mkdir()
    with (way.source / "new" / "large").open("wb") as file:
        file.write(os.urandom(1000))
        file.truncate(LARGE_BYTES)
    os.utime(way.source / "new" / "large", (1_600_000_000, 1_600_000_000))
    (way.source / "small").write_bytes(b"x")
    (way.target / "old").write_bytes(b"x")

    result = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert (result.sent_count, result.deleted_count) == (2, 1)


async def test_leftovers_of_a_killed_sync_are_neither_sent_nor_kept(way: Way) -> None:
    (way.source / "a").write_bytes(b"x")
    for side, age in ((way.source, 0), (way.target, 90_000)):
        (side / ".runpod-ssh-dead").mkdir()
        (side / ".runpod-ssh-dead" / "half").write_bytes(b"x")
        facts = (side / ".runpod-ssh-dead").stat()
        os.utime(side / ".runpod-ssh-dead", (facts.st_mtime - age,) * 2)

    await way.sync()

    assert set(facts_of(way.target)) == {"a"}


async def test_progress_ends_at_the_total(
    link: Connection, here: Path, there: Path
) -> None:
    (here / "a").write_bytes(b"x" * 600_000)
    (here / "b").write_bytes(b"y" * 5)
    told: list[tuple[int, int]] = []

    await sync_to_pod(
        link, here, str(there), on_progress=lambda *step: told.append(step)
    )

    assert told == sorted(told)
    assert told[-1] == (600_005, 600_005)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("cut", ["cancelled", "sshd killed"])
async def test_cut_sync_leaves_no_half_file_and_the_next_one_goes_on(
    pod: Sshd,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    *,
    up: bool,
    cut: str,
) -> None:
    source, target = (here, there) if up else (there, here)
    for number in range(40):
        (source / f"{number}").write_bytes(os.urandom(200_000))
    whole = facts_of(source)

    async with login(pod, host_keys) as link:
        task = asyncio.create_task(
            Way(link, here, there, up=up).sync(batch_bytes=400_000)
        )
        await asyncio.to_thread(
            wait_for,
            lambda: any((target / name).is_file() for name in whole),
            what="it has begun",
        )
        if cut == "cancelled":
            task.cancel()
        else:
            pod.stop()
        await asyncio.wait([task])
    half = {p: f for p, f in facts_of(target).items() if not p.startswith(".runpod")}
    pod.restart(with_new_host_key=False)
    async with login(pod, host_keys) as link:
        result = await Way(link, here, there, up=up).sync()

    assert task.cancelled() or isinstance(task.exception(), SSHError)
    assert half.items() <= whole.items()
    assert result.sent_count == len(whole) - len(half) < len(whole)
    left = {p: f for p, f in facts_of(target).items() if not p.startswith(".runpod")}
    assert left == whole


@pytest.mark.parametrize("up", [True, False])
async def test_pod_with_neither_find_nor_stat_nor_sha256sum_is_served_by_tar(
    sshd_factory: SshdFactory,
    tmp_path: Path,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    *,
    up: bool,
) -> None:
    tools = ["sh", "tar", "mkdir", "rmdir", "rm", "mv", "cat", "chmod", "touch"]
    poor = sshd_factory(path=path_of(tmp_path / "poor", tools))
    async with login(poor, host_keys) as link:
        way = Way(link, here, there, up=up)
        make_tree(way.source)
        (way.source / "twin").hardlink_to(way.source / "plain")
        make_tree(way.target)
        (way.target / "old").write_bytes(b"x" * 300_000)
        (way.target / "plain").write_bytes(b"another")

        first = await way.sync()
        second = await way.sync()

    assert facts_of(way.source) == facts_of(way.target)
    assert (first.sent_count, first.deleted_count, first.is_verified) == (2, 1, False)
    assert second.changes == ()
