"""What an sshd that hangs up before it greets is said to have said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from runpod_client import SSHAddress
from runpod_ssh import Bounds, HostKeyVerifier, SSHUnreachableError, connect


@contextlib.asynccontextmanager
async def saying(words: bytes) -> AsyncIterator[SSHAddress]:
    """Say something that is no greeting to whoever connects, and hang up."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield SSHAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])


async def refusal_after(words: bytes, host_keys: HostKeyVerifier) -> str:
    async with saying(words) as address:
        with pytest.raises(SSHUnreachableError) as caught:
            async with connect(
                address, host_keys=host_keys, bounds=Bounds(total_seconds=10)
            ):
                pass
    return caught.value.message


@pytest.mark.parametrize(
    "words", [b"Not allowed at this time\r\n", b"hello\r\nExceeded MaxStartups\r\n"]
)
async def test_reason_that_sshd_gives_before_hanging_up_is_handed_on(
    words: bytes, host_keys: HostKeyVerifier
) -> None:
    reason = words.decode().splitlines()[-1]

    message = await refusal_after(words, host_keys)

    assert message.endswith(f"before sshd's greeting and said: {reason}")


async def test_noise_in_place_of_a_greeting_does_no_harm_to_a_terminal(
    host_keys: HostKeyVerifier,
) -> None:
    message = await refusal_after(b"\x1b[2Jgone\x07" + b"x" * 5000, host_keys)

    assert message.isprintable()
    assert "gone" in message
    assert len(message) < 250


async def test_sshd_that_says_nothing_is_quoted_with_nothing(
    host_keys: HostKeyVerifier,
) -> None:
    assert (await refusal_after(b"", host_keys)).endswith("before sshd's greeting")
