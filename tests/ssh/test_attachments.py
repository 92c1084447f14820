"""A terminal on a durable session: real tmux, real sshd, links that are cut."""

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from runpod_ssh import (
    Connection,
    ExecResult,
    HostKeyVerifier,
    SessionError,
    SSHUnreachableError,
)
from runpod_ssh.attachments import attach
from runpod_ssh.sessions import get_session, start_sessions
from runpod_ssh.tmux import SessionPlan
from support.sshd import Sshd, SshdFactory
from support.tmux_pods import EXTRA_CONFIG, end_tmux, own_tmux, point_at, visit

WAIT_SECONDS = 30.0
DETACH = (b"\x02", b"d")
RESET = b"\x1b[?1049l"
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?>]*[a-zA-Z]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)")


class Screen:
    """The user's end: keys that are pressed, and what is shown."""

    def __init__(self, size: tuple[int, int] = (80, 24), kind: str = "xterm") -> None:
        self.kind = kind
        self.is_raw = False
        self.shown = b""
        self.statuses: list[str] = []
        self._size = size
        self._keys: asyncio.Queue[bytes] = asyncio.Queue()
        self._news = asyncio.Event()
        self._resized: Callable[[], None] = lambda: None

    def size(self) -> tuple[int, int]:
        return self._size

    async def keys(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._keys.get()

    async def show(self, chunk: bytes) -> None:
        self.shown += chunk
        self._news.set()

    @contextlib.contextmanager
    def on_resize(self, callback: Callable[[], None]) -> Iterator[None]:
        self._resized = callback
        yield

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        self.is_raw = True
        try:
            yield
        finally:
            self.is_raw = False

    def tell(self, status: str) -> None:
        self.statuses.append(status)
        self._news.set()

    def press(self, keys: bytes) -> None:
        self._keys.put_nowait(keys)

    def resize(self, size: tuple[int, int]) -> None:
        self._size = size
        self._resized()

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"not within {WAIT_SECONDS:g} s: {what}; {self.shown[-900:]!r}")

    async def until_shown(self, text: bytes) -> None:
        """Wait for a text, and forget what was shown up to now."""
        await self.until(lambda: text in _ESCAPES.sub(b"", self.shown), repr(text))
        self.shown = b""

    async def until_told(self, status: str) -> None:
        await self.until(
            lambda: any(status in told for told in self.statuses), repr(status)
        )


@pytest.fixture
def tmux_folder() -> Iterator[Path]:
    with own_tmux() as folder:
        yield folder


@pytest.fixture
def pod(sshd_factory: SshdFactory, tmux_folder: Path) -> Sshd:
    return point_at(sshd_factory(extra_config=EXTRA_CONFIG), tmux_folder)


Links = Callable[[], contextlib.AbstractAsyncContextManager[Connection]]


@pytest.fixture
def links(pod: Sshd, host_keys: HostKeyVerifier) -> Links:
    return functools.partial(visit, pod, host_keys)


@pytest.fixture
async def a(links: Links) -> None:
    """The session `a`: a shell with a short prompt."""
    async with links() as link:
        plan = SessionPlan(name="a", command="env -i TERM=$TERM PS1='% ' sh -i")
        await start_sessions(link, [plan])


@contextlib.asynccontextmanager
async def attached(
    links: Links, screen: Screen, **given: bool
) -> AsyncIterator["asyncio.Task[ExecResult]"]:
    """Attach to the session `a`; ends with the block."""
    task = asyncio.create_task(
        attach(links, "a", screen, on_status=screen.tell, **given)
    )
    try:
        await screen.until_shown(b"% ")
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def detach(screen: Screen, task: "asyncio.Task[ExecResult]") -> ExecResult:
    """Leave the session; to tmux, keys within a millisecond are a paste: try again."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not task.done():
            for key in DETACH:
                screen.press(key)
                await asyncio.wait([task], timeout=0.2)
    return await task


async def until_sized(links: Links, size: bytes) -> None:
    """Wait until what runs in the session `a` has a terminal of that size."""
    ask = "stty size < $(tmux -L runpod display-message -p -t a '#{pane_tty}')"
    async with asyncio.timeout(WAIT_SECONDS), links() as link:
        while (await link.run(ask)).stdout.strip() != size:
            pass


@pytest.mark.usefixtures("a")
async def test_keys_reach_the_session_and_leaving_it_lets_it_go_on(
    links: Links,
) -> None:
    screen = Screen()
    async with attached(links, screen) as task:
        assert screen.is_raw
        screen.press(b"echo $((40+2)) ${TERM##*-}\r")
        await screen.until_shown(b"42 256color")
        result = await detach(screen, task)

    assert (result.exit_status, screen.is_raw, screen.statuses) == (0, False, [])
    async with links() as link:
        assert (await get_session(link, "a")).state == "running"


@pytest.mark.usefixtures("a")
async def test_session_takes_the_size_of_the_screen_and_follows_it(
    links: Links,
) -> None:
    screen = Screen(size=(100, 31))
    async with attached(links, screen):
        await until_sized(links, b"30 100")  # one row is tmux's own
        screen.resize((132, 44))
        await until_sized(links, b"43 132")


@pytest.mark.usefixtures("a")
async def test_two_screens_share_a_session_whose_size_is_that_of_who_types(
    links: Links,
) -> None:
    large, small = Screen(size=(120, 41)), Screen(size=(80, 21))
    async with attached(links, large), attached(links, small):
        small.press(b"echo $((40+2))\r")
        await large.until_shown(b"42")
        await until_sized(links, b"20 80")
        large.press(b"echo $((40+3))\r")
        await small.until_shown(b"43")
        await until_sized(links, b"40 120")
        async with links() as link:
            assert (await get_session(link, "a")).attached_count == 2


@pytest.mark.usefixtures("a")
async def test_who_looks_on_cannot_type_and_does_not_change_the_size(
    links: Links,
) -> None:
    typing, looking = Screen(size=(100, 31)), Screen(size=(60, 15))
    async with attached(links, typing), attached(links, looking, read_only=True):
        looking.press(b"echo from-the-looker\r")
        await until_sized(links, b"30 100")
        typing.press(b"echo $((40+2))-from-the-typer\r")
        await typing.until(lambda: b"42-from" in typing.shown, "what was typed")
        await looking.until(lambda: b"42-from" in looking.shown, "the same there")

    assert b"from-the-looker" not in typing.shown + looking.shown


@pytest.mark.usefixtures("a")
async def test_link_that_is_cut_is_made_again_to_the_same_session(
    links: Links, pod: Sshd
) -> None:
    screen = Screen()
    async with attached(links, screen) as task:
        screen.press(b"mine=kept; echo $((1+1))-before\r")
        await screen.until_shown(b"2-before")

        await asyncio.to_thread(pod.stop)
        await screen.until_told("link lost")
        assert RESET in screen.shown
        assert not screen.is_raw
        screen.shown = b""
        await asyncio.to_thread(pod.start)
        await screen.until_told("link is back")
        await screen.until_shown(b"2-before")
        screen.press(b"echo $mine-over-the-cut\r")
        await screen.until_shown(b"kept-over-the-cut")
        result = await detach(screen, task)

    assert result.exit_status == 0


@pytest.mark.usefixtures("a")
async def test_session_that_did_not_outlive_its_pod_is_said_to_be_gone(
    links: Links, pod: Sshd, tmux_folder: Path
) -> None:
    screen = Screen()
    async with attached(links, screen) as task:
        await asyncio.to_thread(pod.stop)
        await screen.until_told("link lost")
        end_tmux(tmux_folder)
        await asyncio.to_thread(pod.start)

        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(SessionError, match="there is no session a") as caught:
                await task

    assert "restarted" in caught.value.hint


@pytest.mark.usefixtures("a")
async def test_link_that_stays_away_is_given_up_in_time(
    links: Links, pod: Sshd
) -> None:
    screen = Screen()
    task = asyncio.create_task(
        attach(links, "a", screen, on_status=screen.tell, patience_seconds=0.3)
    )
    await screen.until_shown(b"% ")

    await asyncio.to_thread(pod.stop)

    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(SSHUnreachableError):
            await task
    assert not screen.is_raw


async def test_session_that_is_not_there_is_said_before_the_screen_is_taken(
    links: Links,
) -> None:
    screen = Screen()

    with pytest.raises(SessionError, match="there is no session a"):
        await attach(links, "a", screen)

    assert screen.shown == b""


@pytest.mark.usefixtures("a")
async def test_terminal_that_the_pod_does_not_know_is_served_all_the_same(
    links: Links,
) -> None:
    screen = Screen(kind="xterm-from-the-future")
    async with attached(links, screen):
        screen.press(b"echo $((20+3))\r")
        await screen.until_shown(b"23")


@pytest.mark.usefixtures("a")
async def test_being_ended_gives_the_screen_back(links: Links) -> None:
    screen = Screen()
    async with attached(links, screen) as task:
        task.cancel()
        await asyncio.wait([task], timeout=WAIT_SECONDS)

    assert task.cancelled()
    assert RESET in screen.shown
    assert not screen.is_raw
