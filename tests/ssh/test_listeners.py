"""Ports and streams over one connection, in both directions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from runpod_ssh import Connection, Credentials, ForwardError, HostKeyVerifier, connect
from support.sshd import Sshd, SshdFactory, free_port


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        with contextlib.closing(writer):
            while data := await reader.read(4096):
                writer.write(data.upper())
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await asyncio.sleep(0)  # a closed transport leaves the loop a turn later


@pytest.fixture
async def link(sshd: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        yield connection


async def ask(port: int, text: bytes) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


async def test_local_port_leads_to_a_port_of_the_pod(link: Connection) -> None:
    async with echo_server() as port:
        listener = await link.listen_local("127.0.0.1", 0, "127.0.0.1", port)

        answer = await ask(listener.port, b"hello")

        await listener.close()
    assert answer == b"HELLO"
    with pytest.raises(OSError, match="Connect call failed"):
        await ask(listener.port, b"x")


async def test_port_of_the_pod_leads_here(link: Connection) -> None:
    async with echo_server() as port:
        listener = await link.listen_remote("127.0.0.1", 0, "127.0.0.1", port)

        assert await ask(listener.port, b"hello") == b"HELLO"

        await listener.close()


async def test_socks_port_leads_anywhere_from_the_pod(link: Connection) -> None:
    async with echo_server() as port, asyncio.timeout(10):
        listener = await link.listen_dynamic("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        writer.write(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        assert (await reader.readexactly(10))[1] == 0

        writer.write(b"hello")

        assert await reader.readexactly(5) == b"HELLO"
        writer.close()
        await listener.close()


async def test_taken_port_is_told(link: Connection) -> None:
    async with echo_server() as port:
        with pytest.raises(ForwardError, match=f"listening on 127.0.0.1:{port} failed"):
            await link.listen_local("127.0.0.1", port, "127.0.0.1", 1)


async def test_pod_that_allows_no_forwarding_says_so(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier
) -> None:
    sshd = sshd_factory(extra_config="AllowTcpForwarding no")
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        with pytest.raises(ForwardError, match="of the pod"):
            await link.listen_remote("127.0.0.1", 0, "127.0.0.1", 1)


class Collecting(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.is_over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]  # a stream's
        transport.write_eof()  # type: ignore[attr-defined]  # a stream's

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_over.set()


async def test_single_stream_reaches_a_port_of_the_pod(link: Connection) -> None:
    protocol = Collecting()
    async with echo_server() as port:
        await link.open_stream(lambda: protocol, "127.0.0.1", port)
        await asyncio.wait_for(protocol.is_over.wait(), 10)

    assert protocol.got == b"HELLO"


async def test_stream_to_a_port_where_nobody_listens_is_told(link: Connection) -> None:
    port = free_port()

    with pytest.raises(ForwardError, match=f"connecting to 127.0.0.1:{port}"):
        await link.open_stream(Collecting, "127.0.0.1", port)


async def test_tunnels_of_a_lost_link_fail_at_once(
    sshd: Sshd, link: Connection
) -> None:
    sshd.stop()
    await asyncio.wait_for(link.wait_closed(), 5)

    with pytest.raises(ForwardError):
        await link.open_stream(Collecting, "127.0.0.1", 1)
