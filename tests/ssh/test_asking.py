"""RunPod is asked in a child; a place from before is used only if it agrees."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runpod_client import (
    AmbiguousPodError,
    NotFoundError,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
)
from runpod_ssh.asking import Asking
from runpod_ssh.errors import SSHUnreachableError
from runpod_ssh.target_cache import OutdatedError
from support.background import Desk, desk_of
from support.pod_world import PodWorld, pod_world
from support.waiting import wait_for

# the program has one thread when it forks; a process that runs tests may have more
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

POD = Pod(
    pod_id="pod1",
    name="train",
    status=PodStatus.RUNNING,
    gpu_type="L4",
    gpu_count=1,
    image="image",
    price_usd_per_hour=Decimal("0.4"),
    ports=(
        PortMapping(
            private_port=22,
            public_port=40022,
            ip="203.0.113.7",
            is_public=True,
            protocol=Protocol.TCP,
        ),
    ),
)
ELSEWHERE = replace(POD, ports=(replace(POD.ports[0], public_port=40023),))
HANGS = """
import sys, time
from pathlib import Path
from runpod_ssh.asking import Asking
def hang():
    Path(sys.argv[1]).write_text("asked")
    time.sleep(60)
with Asking(hang):
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
    print("over", flush=True)
    import os
    os._exit(0)
"""


class Place:
    """Somewhere to connect to; tells whether there is a link."""

    def __init__(
        self, *, after_seconds: float = 0.0, refusal: SSHUnreachableError | None = None
    ) -> None:
        self.is_linked = False
        self._after_seconds = after_seconds
        self._refusal = refusal

    @contextlib.asynccontextmanager
    async def open_link(self) -> AsyncIterator[Any]:
        await asyncio.sleep(self._after_seconds)
        if self._refusal is not None:
            raise self._refusal
        self.is_linked = True
        try:
            yield self
        finally:
            self.is_linked = False


def fail_with(error: BaseException) -> Callable[[], Pod]:
    def ask() -> Pod:
        raise error

    return ask


def test_what_was_asked_is_answered_by_a_child(tmp_path: Path) -> None:
    def ask() -> Pod:
        (tmp_path / "asked-by").write_text(str(os.getpid()))
        return POD

    with Asking(ask) as asking:
        answer = asking.answer()

    assert answer == POD
    assert (tmp_path / "asked-by").read_text() != str(os.getpid())


def test_failure_is_raised_as_if_asked_here() -> None:
    refused = NotFoundError("there is no pod 'train'", hint="List them.")

    with Asking(fail_with(refused)) as asking, pytest.raises(NotFoundError) as raised:
        asking.answer()

    assert (raised.value.message, raised.value.hint) == (refused.message, refused.hint)


@pytest.mark.parametrize(
    "fails_in_the_child",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        fail_with(ValueError("a bug")),
        fail_with(AmbiguousPodError("train", ("a", "b"))),
    ],
)
def test_child_that_cannot_tell_is_made_up_for(
    fails_in_the_child: Callable[[], Any],
) -> None:
    ours = os.getpid()

    def ask() -> Pod:
        if os.getpid() != ours:
            fails_in_the_child()
        return POD

    with Asking(ask) as asking:
        assert asking.answer() == POD


def test_child_ends_with_the_block(tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def ask() -> Pod:
        mark.write_text(str(os.getpid()))
        time.sleep(60)
        return POD

    with Asking(ask):
        pid = wait_for(
            lambda: mark.read_text() if mark.exists() else "", what="it asks"
        )

    assert not Path(f"/proc/{pid}").exists()


def test_reader_of_our_output_does_not_wait_for_the_child(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path / "mark")],
        stdout=subprocess.PIPE,
        timeout=20,
        check=False,
    )

    assert done.stdout == b"over\n"


async def test_link_is_lent_where_runpod_agrees() -> None:
    place: Any = Place()

    with Asking(lambda: POD) as asking:
        async with asking.confirm(place.open_link, POD) as link:
            was_linked = place.is_linked

    assert (link, was_linked, place.is_linked) == (place, True, False)


@pytest.mark.parametrize(
    "answer",
    [
        ELSEWHERE,
        replace(POD, pod_id="pod2"),
        replace(POD, status=PodStatus.STOPPED),
    ],
)
async def test_link_to_what_runpod_does_not_confirm_is_hung_up_unused(
    answer: Pod,
) -> None:
    place = Place()

    with Asking(lambda: answer) as asking, pytest.raises(OutdatedError):
        async with asking.confirm(place.open_link, POD):
            pytest.fail("the link was lent")

    assert not place.is_linked


async def test_connecting_to_the_wrong_place_is_given_up_at_once() -> None:
    with Asking(lambda: ELSEWHERE) as asking:
        async with asyncio.timeout(20):
            with pytest.raises(OutdatedError):
                async with asking.confirm(Place(after_seconds=60).open_link, POD):
                    pass


async def test_runpods_refusal_is_raised_in_place_of_running_anything() -> None:
    place = Place()

    with Asking(fail_with(NotFoundError("-"))) as asking, pytest.raises(NotFoundError):
        async with asking.confirm(place.open_link, POD):
            pytest.fail("the link was lent")

    assert not place.is_linked


async def test_failure_to_connect_does_not_wait_for_the_answer() -> None:
    place = Place(refusal=SSHUnreachableError("refused"))

    def never() -> Pod:
        time.sleep(60)
        return POD

    with Asking(never) as asking:
        async with asyncio.timeout(20):
            with pytest.raises(SSHUnreachableError):
                async with asking.confirm(place.open_link, POD):
                    pass


def test_answer_that_comes_after_the_attempt_is_still_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, writer = os.pipe()
    before = threading.active_count()

    def ask() -> Pod:
        os.read(reader, 1)
        return POD

    async def attempt(asking: Asking) -> None:
        place = Place(refusal=SSHUnreachableError("refused"))
        async with asking.confirm(place.open_link, POD):
            pass

    with Asking(ask) as asking:
        loop = asyncio.new_event_loop()
        with pytest.raises(SSHUnreachableError):
            loop.run_until_complete(attempt(asking))
        loop.close()
        os.write(writer, b"x")
        answer = asking.answer()
    wait_for(lambda: threading.active_count() <= before, what="its thread has ended")
    os.close(reader)
    os.close(writer)

    assert answer == POD
    assert caplog.text == ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodWorld]:
    with pod_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def desk(world: PodWorld, tmp_path: Path) -> Desk:
    """A desk where `train` was used an hour ago."""
    made = desk_of(world, tmp_path)
    quiet = {**made.environ, "RUNPOD_SSH_BACKGROUND": "false"}
    made = replace(made, environ=quiet)
    assert made.run("exec", "train", "true").returncode == 0
    for path in targets_of(made):
        entry = json.loads(path.read_text())
        path.write_text(json.dumps({**entry, "found_at": entry["found_at"] - 3600}))
    return made


def targets_of(desk: Desk) -> list[Path]:
    state = Path(desk.environ["RUNPOD_STATE_DIR"])
    return list((state / "ssh" / "targets").glob("*.json"))


def logins(world: PodWorld) -> int:
    return world.sshd.log_text.count("Accepted publickey")


def test_place_of_an_hour_ago_is_used_with_one_login_once_runpod_agreed(
    world: PodWorld, desk: Desk
) -> None:
    asked, before = world.script.counts.total(), logins(world)

    done = desk.run("exec", "train", "echo", "ok")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")
    assert world.script.counts.total() > asked
    assert logins(world) - before == 1


def test_place_of_an_hour_ago_gets_nothing_when_the_pod_is_gone(
    world: PodWorld, desk: Desk
) -> None:
    mark = desk.folder / "ran"
    gone = world.script.pods.pop(desk.pod_id)
    try:
        done = desk.run("exec", "train", f"touch {mark}")
    finally:
        world.script.pods[desk.pod_id] = gone

    assert (done.returncode, b"there is no pod" in done.stderr) == (255, True)
    assert not mark.exists()
