"""Large files that changed: rsync sends what differs, and nothing rests on its word."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_ssh import Connection, Credentials, HostKeyVerifier, SSHError, connect
from runpod_ssh.sync import sync_to_pod
from runpod_ssh.sync_model import SyncOptions
from runpod_ssh.sync_run import LARGE_BYTES
from support.busybox import busybox_path
from support.cut_link import CutLink, cut_link
from support.sshd import Sshd, SshdFactory, find_program
from support.transfers import Way, facts_of, login
from support.waiting import wait_for

SIZE_BYTES = LARGE_BYTES + 12_345
NAME = "-odd: 'na*me\n[x"
Change = Callable[[bytes], bytes]


def patched(content: bytes) -> bytes:
    changed = bytearray(content)
    for place in range(0, len(content), 1_000_000):
        changed[place + 500 : place + 504] = b"\0new"
    return bytes(changed)


def inserted(content: bytes) -> bytes:
    return os.urandom(100_001) + content


def grown(content: bytes) -> bytes:
    return content + os.urandom(100_001)


def cut_short(content: bytes) -> bytes:
    return content[:-10_000]


def rewritten(content: bytes) -> bytes:
    return os.urandom(len(content))


def rewritten_and_grown(content: bytes) -> bytes:
    return os.urandom(len(content) + 1)


class Wired:
    """A pod behind a link that counts, and one direction of sync."""

    def __init__(self, way: Way, wire: CutLink) -> None:
        self.way, self.wire = way, wire

    @property
    def went(self) -> int:
        return self.wire.up_bytes + self.wire.down_bytes


@pytest.fixture(params=["up", "down"])
def up(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "up")


@pytest.fixture
async def wired(
    sshd: Sshd, host_keys: HostKeyVerifier, here: Path, there: Path, *, up: bool
) -> AsyncIterator[Wired]:
    async with (
        cut_link(sshd.port) as wire,
        connect(
            replace(sshd.address, port=wire.port),
            host_keys=host_keys,
            credentials=Credentials(identity_file=sshd.identity_file),
        ) as link,
    ):
        yield Wired(Way(link, here, there, up=up), wire)


def make_versions(way: Way, change: Change = patched, name: str = NAME) -> None:
    """Have an old file in the target and a new one in the source."""
    old = os.urandom(SIZE_BYTES)
    (way.target / name).write_bytes(old)
    os.utime(way.target / name, (1_500_000_000, 1_500_000_000))
    (way.source / name).write_bytes(change(old))
    (way.source / name).chmod(0o640)
    os.utime(way.source / name, (1_600_000_000, 1_600_000_000))


@pytest.mark.parametrize("change", [patched, inserted, grown, cut_short])
async def test_only_what_differs_goes_over_the_link(
    wired: Wired, change: Change
) -> None:
    make_versions(wired.way, change)
    before = wired.went

    result = await wired.way.sync()

    assert facts_of(wired.way.target) == facts_of(wired.way.source)
    assert wired.went - before < 2_000_000
    assert (result.rsync_count, result.is_verified) == (1, True)
    assert result.saved_bytes > SIZE_BYTES - 2_000_000
    assert (result.sent_count, result.sent_bytes) == (
        1,
        (wired.way.source / NAME).stat().st_size,
    )


@pytest.mark.parametrize("change", [rewritten, rewritten_and_grown])
async def test_file_with_nothing_in_common_goes_the_ordinary_way(
    wired: Wired, change: Change
) -> None:
    make_versions(wired.way, change)

    result = await wired.way.sync()

    assert facts_of(wired.way.target) == facts_of(wired.way.source)
    assert (result.rsync_count, result.saved_bytes, result.is_verified) == (0, 0, True)


async def test_what_else_is_to_be_sent_goes_beside_it(wired: Wired) -> None:
    make_versions(wired.way)
    (wired.way.source / "small").write_bytes(b"x")
    (wired.way.source / "new").write_bytes(os.urandom(SIZE_BYTES))
    (wired.way.target / "gone").write_bytes(b"x")

    result = await wired.way.sync()

    assert facts_of(wired.way.target) == facts_of(wired.way.source)
    assert (result.sent_count, result.deleted_count, result.rsync_count) == (3, 1, 1)


async def test_progress_is_that_of_the_file_and_ends_at_its_size(
    link: Connection, here: Path, there: Path
) -> None:
    make_versions(Way(link, here, there, up=True))
    told: list[tuple[int, int]] = []

    await sync_to_pod(
        link, here, str(there), on_progress=lambda *step: told.append(step)
    )

    assert told == sorted(told)
    assert told[-1] == (SIZE_BYTES, SIZE_BYTES)


async def test_another_name_of_the_old_file_keeps_what_it_has(wired: Wired) -> None:
    make_versions(wired.way)
    old = (wired.way.target / NAME).read_bytes()
    (wired.way.target / "other").hardlink_to(wired.way.target / NAME)

    await wired.way.sync(SyncOptions())

    assert (wired.way.target / "other").read_bytes() == old


async def test_holes_stay_holes(wired: Wired) -> None:
    make_versions(wired.way, lambda old: bytes(16_000_000) + old[16_000_000:])

    result = await wired.way.sync()

    facts = (wired.way.target / NAME).stat()
    assert result.rsync_count == 1
    assert facts.st_blocks * 512 < facts.st_size - 15_000_000


async def test_rsync_is_not_used_when_it_is_not_wanted(wired: Wired) -> None:
    make_versions(wired.way)
    before = wired.went

    result = await wired.way.sync(SyncOptions(rsync=False))

    assert result.rsync_count == 0
    assert wired.went - before > SIZE_BYTES
    assert facts_of(wired.way.target) == facts_of(wired.way.source)


@pytest.mark.parametrize(
    "said", ["openrsync: protocol version 29", "rsync  version 3.0.9"]
)
async def test_rsync_here_that_will_not_do_is_left_alone(
    wired: Wired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    make_versions(wired.way)
    make_program(tmp_path / "programs", f"echo '{said}'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")

    result = await wired.way.sync()

    assert result.rsync_count == 0
    assert facts_of(wired.way.target) == facts_of(wired.way.source)


def make_program(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "rsync").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "rsync").chmod(0o755)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("exit 5", id="fails"),
        pytest.param("echo what is this; exec cat >/dev/null", id="talks nonsense"),
        pytest.param("exec head -c 4 >/dev/null", id="ends in the middle"),
        pytest.param('{real} "$@"; status=$?; {damage}; exit $status', id="damages"),
    ],
)
async def test_rsync_on_the_pod_that_fails_costs_time_alone(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    tmp_path: Path,
    *,
    up: bool,
    text: str,
) -> None:
    damage = "printf x | dd of=payload conv=notrunc bs=1 seek=7 2>/dev/null"
    text = text.replace("{real}", find_program("rsync")).replace(
        "{damage}", damage if up else "exit 3"
    )
    make_program(tmp_path / "programs", text)
    pod = sshd_factory(path=f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    async with login(pod, host_keys) as link:
        way = Way(link, here, there, up=up)
        make_versions(way)

        result = await way.sync()

        assert facts_of(way.target) == facts_of(way.source)
        assert (result.rsync_count, result.is_verified) == (0, True)


@pytest.mark.busybox
async def test_pod_without_rsync_is_served_as_ever(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    tmp_path: Path,
    *,
    up: bool,
) -> None:
    pod = sshd_factory(path=busybox_path(tmp_path / "applets"))
    async with login(pod, host_keys) as link:
        way = Way(link, here, there, up=up)
        make_versions(way)

        result = await way.sync()

        assert facts_of(way.target) == facts_of(way.source)
        assert (result.rsync_count, result.is_verified) == (0, True)


@pytest.mark.parametrize("cut", ["cancelled", "sshd killed"])
async def test_cut_in_the_middle_leaves_the_old_file_and_no_process(
    sshd_factory: SshdFactory,
    host_keys: HostKeyVerifier,
    here: Path,
    there: Path,
    tmp_path: Path,
    *,
    up: bool,
    cut: str,
) -> None:
    mark = tmp_path / "begun"
    make_program(tmp_path / "programs", f"touch {mark}; exec sleep 60")
    pod = sshd_factory(path=f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    async with login(pod, host_keys) as link:
        way = Way(link, here, there, up=up)
        make_versions(way)
        old = facts_of(way.target)
        task = asyncio.create_task(way.sync())
        await asyncio.to_thread(wait_for, mark.exists, what="the pod's rsync has begun")

        if cut == "cancelled":
            task.cancel()
        else:
            pod.stop()
        await asyncio.wait([task])

    assert task.cancelled() or isinstance(task.exception(), SSHError)
    left = {
        p: f for p, f in facts_of(way.target).items() if not p.startswith(".runpod")
    }
    assert left == old
    assert list_rsyncs(tmp_path) == []


def list_rsyncs(folder: Path) -> list[str]:
    """Return the commands of this machine's rsyncs that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            is_below = (entry / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if is_below and "rsync" in command.split("\0")[0]:
            found.append(command)
    return found


async def test_file_that_cannot_be_linked_goes_the_ordinary_way(
    link: Connection, here: Path, there: Path
) -> None:
    way = Way(link, here, there, up=False)
    make_versions(way, name="plain")
    (way.target / "plain").rename(way.target / "elsewhere")
    (way.target / "plain").symlink_to("elsewhere")

    result = await way.sync(SyncOptions())

    assert (result.rsync_count, result.sent_count) == (0, 1)
    assert (way.target / "plain").read_bytes() == (way.source / "plain").read_bytes()


@pytest.fixture
async def link(sshd: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with login(sshd, host_keys) as connection:
        yield connection
