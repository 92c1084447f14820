"""One link carries much without swelling, and stays quick for who types."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from runpod_ssh import Connection, Credentials, HostKeyVerifier, connect
from runpod_ssh.streams import discard, read_nothing
from support.sshd import Sshd, SshdFactory

MEBI = 1024 * 1024
# what a person who types does not notice
ECHO_P99_SECONDS = 0.02
# however busy the machine is
MOST_ECHO_P99_SECONDS = 0.05


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def opened(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> contextlib.AbstractAsyncContextManager[Connection]:
    return connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    )


@pytest.mark.parametrize("size_mebi", [64, pytest.param(1024, marks=pytest.mark.heavy)])
async def test_output_of_any_length_is_handed_on_in_flat_memory(
    sshd: Sshd, host_keys: HostKeyVerifier, size_mebi: int
) -> None:
    async with opened(sshd, host_keys) as link:
        before, most, total = resident_bytes(), 0, 0

        async def count(chunk: bytes) -> None:
            nonlocal most, total
            total += len(chunk)
            most = max(most, resident_bytes())

        result = await link.stream(
            f"head -c {size_mebi * MEBI} /dev/zero",
            stdin=read_nothing(),
            stdout=count,
            stderr=discard,
            timeout=100,
        )

    assert (result.exit_status, total) == (0, size_mebi * MEBI)
    assert most - before < 40 * MEBI


async def test_slow_reader_holds_the_pod_back_and_not_the_memory(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    async with opened(sshd, host_keys) as link:
        before, most = resident_bytes(), 0

        async def dawdle(_chunk: bytes) -> None:
            nonlocal most
            most = max(most, resident_bytes())
            await asyncio.sleep(0.01)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await link.stream(
                    "cat /dev/zero",
                    stdin=read_nothing(),
                    stdout=dawdle,
                    stderr=discard,
                )

    assert most - before < 40 * MEBI


async def test_new_keys_in_the_middle_of_a_stream_change_no_byte(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier
) -> None:
    sshd = sshd_factory(extra_config="RekeyLimit 1M")
    block = bytes(range(256)) * 4096
    sent, back = hashlib.sha256(), hashlib.sha256()

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(12):
            sent.update(block)
            yield block

    async def keep(chunk: bytes) -> None:
        back.update(chunk)

    async with opened(sshd, host_keys) as link:
        result = await link.stream(
            "cat", stdin=blocks(), stdout=keep, stderr=discard, timeout=60, bulk=True
        )

    assert result.exit_status == 0
    assert sent.digest() == back.digest()


class Keyboard:
    """A terminal at which a key is typed when told to, and echoes are heard."""

    kind = "xterm"

    def __init__(self) -> None:
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = asyncio.Event()
        self.shown = b""

    def size(self) -> tuple[int, int]:
        return 80, 24

    async def keys(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.typed.get()

    async def show(self, chunk: bytes) -> None:
        self.shown += chunk
        self.heard.set()

    @contextlib.contextmanager
    def on_resize(self, callback: Callable[[], None]) -> Iterator[None]:
        del callback
        yield

    async def echo_seconds(self) -> float:
        self.heard.clear()
        began = time.perf_counter()
        self.typed.put_nowait(b"x")
        await asyncio.wait_for(self.heard.wait(), 10)
        return time.perf_counter() - began

    async def p99_seconds(self, count: int = 200) -> float:
        """Type so many keys; return the echo that 99 of 100 are not slower than."""
        echoes = []
        for _ in range(count):
            echoes.append(await self.echo_seconds())
            await asyncio.sleep(0.002)
        return sorted(echoes)[count * 99 // 100 - 1]


@pytest.mark.parametrize(
    "of_idle",
    [
        # a busy machine is slow to echo on an idle link as well
        pytest.param(4, id="beside-others"),
        pytest.param(0, id="on-a-quiet-machine", marks=pytest.mark.heavy),
    ],
)
async def test_typing_is_echoed_at_once_while_much_is_sent_over_the_same_link(
    sshd: Sshd, host_keys: HostKeyVerifier, of_idle: int
) -> None:
    async with opened(sshd, host_keys) as link:
        await link.warm_up()
        keyboard = Keyboard()
        shell = asyncio.create_task(
            link.shell(keyboard, "stty -icanon; echo ready; cat >/dev/null")
        )
        async with asyncio.timeout(10):
            while b"ready" not in keyboard.shown:
                await keyboard.heard.wait()
                keyboard.heard.clear()
        idle_seconds = await keyboard.p99_seconds()
        sent, is_under_way = 0, asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            block = bytes(256 * 1024)
            while True:
                sent += len(block)
                yield block
                if sent > MEBI:
                    is_under_way.set()

        upload = asyncio.create_task(
            link.stream(
                "cat >/dev/null", stdin=endless(), stdout=discard, stderr=discard
            )
        )
        await asyncio.wait_for(is_under_way.wait(), 10)
        busy_seconds = await keyboard.p99_seconds()

        for task in (upload, shell):
            task.cancel()
        await asyncio.gather(upload, shell, return_exceptions=True)

    assert sent > 20 * MEBI
    allowed_seconds = ECHO_P99_SECONDS + of_idle * idle_seconds
    assert busy_seconds < min(allowed_seconds, MOST_ECHO_P99_SECONDS)
