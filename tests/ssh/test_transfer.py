"""Copies both ways against a real sshd: equal, whole or absent, and verified."""

import asyncio
import hashlib
import os
import random
import stat
from collections.abc import AsyncIterator, Callable
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
    download,
    upload,
)
from support.slow_link import slow_link
from support.sshd import Sshd, SshdFactory, find_program
from support.waiting import wait_for

ODD_NAMES = [
    "plain",
    "with space",
    "-dash",
    "quote'\"",
    "new\nline",
    "ünïcode",
    "*?[a]",
    "$(id)",
    "back\\slash",
    ".hidden",
    "..dots",
    "x" * 200,
    os.fsdecode(b"latin-\xe9"),
]


@pytest.fixture
async def link(sshd: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        yield connection


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder that only the pod's side is told of."""
    folder = tmp_path / "there with space"
    folder.mkdir()
    return folder


def told(event: asyncio.Event) -> Callable[[int, int], None]:
    """Return a listener, for whatever thread, that sets the event."""
    loop = asyncio.get_running_loop()

    def tell(_done: int, _total: int) -> None:
        loop.call_soon_threadsafe(event.set)

    return tell


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_tree(root: Path) -> None:
    """Make a tree of everything that is copied, with odd names and facts."""
    noise = random.Random(4)  # noqa: S311  # the same every time
    (root / "deep" / "er" / "empty folder").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        file = root / ("deep" if number % 2 else ".") / name
        file.write_bytes(noise.randbytes(noise.choice([0, 1, 511, 512, 513, 300_000])))
        file.chmod(noise.choice([0o600, 0o644, 0o755, 0o664, 0o444]))
        os.utime(file, (1_600_000_000 + number, 1_600_000_000 + number))
    (root / "link").symlink_to("plain")
    (root / "broken link").symlink_to("/no/such/place")
    (root / "folder link").symlink_to("deep")
    (root / "deep" / "er").chmod(0o750)


def facts_of(root: Path) -> dict[str, tuple[str, int, int, str]]:
    """Return kind, mode, time and content of everything in a tree."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        if path.is_symlink():
            told = ("link", 0, 0, str(path.readlink()))
        elif path.is_dir():
            told = ("folder", stat.S_IMODE(facts.st_mode), 0, "")
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            mode = stat.S_IMODE(facts.st_mode)
            told = ("file", mode, int(facts.st_mtime), digest)
        found[str(path.relative_to(root))] = told
    return found


async def test_uploaded_tree_is_equal_and_verified(
    link: Connection, here: Path, there: Path
) -> None:
    (here / "tree").mkdir()
    make_tree(here / "tree")

    result = await upload(link, here / "tree", str(there))

    assert facts_of(here / "tree") == facts_of(there / "tree")
    assert len(ODD_NAMES) == result.file_count
    assert result.is_verified
    assert names_in(there) == ["tree"]


async def test_downloaded_tree_is_equal_and_verified(
    link: Connection, here: Path, there: Path
) -> None:
    (there / "tree").mkdir()
    make_tree(there / "tree")

    result = await download(link, f"{there}/tree", here)

    assert facts_of(there / "tree") == facts_of(here / "tree")
    assert len(ODD_NAMES) == result.file_count
    assert result.is_verified
    assert names_in(here) == ["tree"]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_file_of_any_name_goes_there_and_back(
    link: Connection, here: Path, there: Path, name: str
) -> None:
    content = bytes(range(256)) * 273 + b"rest"
    (here / name).write_bytes(content)
    (here / name).chmod(0o640)

    sent = await upload(link, here / name, f"{there}/")
    back = await download(link, f"{there}/{name}", here / "back")

    assert content == (there / name).read_bytes() == (here / "back").read_bytes()
    assert stat.S_IMODE((here / "back").stat().st_mode) == 0o640
    assert hashlib.sha256(content).hexdigest() == sent.sha256 == back.sha256


async def test_relative_path_starts_in_the_pods_home(
    link: Connection, sshd: Sshd, here: Path
) -> None:
    where = (await link.run("pwd")).stdout.decode().strip()
    name = f"runpod-ssh-test-{sshd.port}"
    (here / "a").write_text("x")

    result = await upload(link, here / "a", name)

    try:
        assert name == result.target
        assert (Path(where) / name).read_text() == "x"
    finally:
        (Path(where) / name).unlink()


async def test_copy_onto_a_tree_replaces_files_and_keeps_the_others(
    link: Connection, here: Path, there: Path
) -> None:
    for root, text in ((here, "new"), (there, "old")):
        (root / "tree" / "sub").mkdir(parents=True)
        (root / "tree" / "sub" / "same").write_text(text)
    (there / "tree" / "sub" / "other").write_text("kept")
    (there / "elsewhere").mkdir()
    (there / "tree" / "was link").symlink_to("../elsewhere")
    (here / "tree" / "was link").write_text("file now")

    await upload(link, here / "tree", str(there))
    await download(link, str(there / "tree"), here)

    for root in (here, there):
        assert (root / "tree" / "sub" / "same").read_text() == "new"
        assert (root / "tree" / "sub" / "other").read_text() == "kept"
        assert (root / "tree" / "was link").read_text() == "file now"
    assert list((there / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("{there}/none/x", "there is no folder"), ("{there}/taken/", "no folder")],
)
async def test_upload_without_a_place_is_refused_and_leaves_nothing(
    link: Connection, here: Path, there: Path, path: str, reason: str
) -> None:
    (here / "a").write_text("x")
    (there / "taken").write_text("")

    with pytest.raises(TransferError, match=reason):
        await upload(link, here / "a", path.format(there=there))

    assert names_in(there) == ["taken"]


async def test_file_is_never_put_in_place_of_a_folder(
    link: Connection, here: Path, there: Path
) -> None:
    (here / "a").write_text("x")
    (there / "a").mkdir()

    with pytest.raises(TransferError, match="is there and is a folder"):
        await upload(link, here / "a", str(there))

    assert names_in(there) == ["a"]


async def test_missing_source_is_named_on_either_side(
    link: Connection, here: Path, there: Path
) -> None:
    with pytest.raises(TransferError, match="No such file"):
        await upload(link, here / "none", str(there))
    with pytest.raises(TransferError, match=f"there is no {there}/none"):
        await download(link, f"{there}/none", here)

    assert names_in(here) + names_in(there) == []


async def test_socket_in_a_tree_is_refused_before_anything_is_sent(
    link: Connection, here: Path, there: Path
) -> None:
    os.mkfifo(here / "pipe")

    with pytest.raises(TransferError, match="pipe is no file, folder or link"):
        await upload(link, here, str(there))

    assert names_in(there) == []


async def test_cancelled_small_upload_leaves_nothing_on_the_pod(
    sshd: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path
) -> None:
    (here / "small").write_bytes(b"\0" * 7_000_000)
    moved = asyncio.Event()
    async with (
        slow_link(sshd.port, rtt_seconds=0.2) as port,
        connect(
            replace(sshd.address, port=port),
            host_keys=host_keys,
            credentials=Credentials(identity_file=sshd.identity_file),
        ) as link,
    ):
        task = asyncio.create_task(
            upload(link, here / "small", str(there), on_progress=told(moved))
        )
        await asyncio.wait_for(moved.wait(), 10)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        wait_for(lambda: not names_in(there), what="the pod's folder is empty again")


async def test_upload_cut_off_by_a_lost_connection_leaves_no_final_name(
    sshd: Sshd, link: Connection, here: Path, there: Path
) -> None:
    (here / "big").write_bytes(b"\0" * 60_000_000)
    moved = asyncio.Event()
    task = asyncio.create_task(
        upload(link, here / "big", str(there), on_progress=told(moved))
    )
    await asyncio.wait_for(moved.wait(), 10)

    sshd.stop()

    with pytest.raises(SSHUnreachableError, match="lost"):
        await task
    assert not (there / "big").exists()


async def test_pod_without_sha256sum_still_copies_and_says_it_is_not_verified(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    tmp_path: Path,
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "tar", "head", "mkdir", "mv", "rm"):
        (tools / name).symlink_to(find_program(name))
    sshd = sshd_factory(extra_config="", path=str(tools))
    (here / "tree").mkdir()
    make_tree(here / "tree")

    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        sent = await upload(link, here / "tree", str(there))
        back = await download(link, str(there / "tree"), here / "back")

    assert (
        facts_of(here / "tree") == facts_of(there / "tree") == facts_of(here / "back")
    )
    assert (sent.is_verified, back.is_verified) == (False, False)


async def test_source_that_shrinks_while_it_is_sent_fails_the_copy(
    link: Connection, here: Path, there: Path
) -> None:
    big = here / "big"
    big.write_bytes(b"\0" * 60_000_000)

    def shrink(done: int, total: int) -> None:
        assert done <= total
        os.truncate(big, 1000)

    with pytest.raises(TransferError, match="became shorter"):
        await upload(link, big, str(there), on_progress=shrink)

    wait_for(lambda: not names_in(there), what="the pod's folder is empty again")
