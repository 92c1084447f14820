"""Servers that misbehave where an sshd would: silent, slow, cutting off, lying.

TCP servers for what happens before SSH speaks, an in-process asyncssh server for what
sshd cannot be told to do. Each takes a port of its own and ends with its block.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh

from runpod_client import SSHAddress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def _tcp_server(serve: Serve) -> AsyncIterator[SSHAddress]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield SSHAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def silent_server() -> contextlib.AbstractAsyncContextManager[SSHAddress]:
    """Accept and never say a word."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    return _tcp_server(serve)


def slow_banner_server() -> contextlib.AbstractAsyncContextManager[SSHAddress]:
    """Send a greeting that never ends, a byte at a time."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"S")
            await writer.drain()
            await asyncio.sleep(0.05)

    return _tcp_server(serve)


def tar_pit_server() -> contextlib.AbstractAsyncContextManager[SSHAddress]:
    """Greet as an sshd does, then keep the client waiting in the key exchange."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await writer.drain()
        while await reader.read(4096):
            pass

    return _tcp_server(serve)


def hanging_up_server() -> contextlib.AbstractAsyncContextManager[SSHAddress]:
    """Accept and close at once, as an sshd past MaxStartups does."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return _tcp_server(serve)


@contextlib.contextmanager
def black_hole() -> Iterator[SSHAddress]:
    """Answer no connection: the queue of this listener is full, the kernel drops."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        for _filler in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(place)
        yield SSHAddress(host=place[0], port=place[1])


class _Lenient(asyncssh.SSHServer):
    """Lets anybody in, or keeps everybody waiting at the login."""

    def __init__(self, *, holds_login: bool) -> None:
        self._holds_login = holds_login

    async def begin_auth(self, username: str) -> bool:
        """Return whether this user must log in."""
        del username
        if self._holds_login:
            await asyncio.sleep(3600)
        return False


@contextlib.asynccontextmanager
async def ssh_server(*, holds_login: bool = False) -> AsyncIterator[SSHAddress]:
    """Serve SSH with a fresh host key; a command gets half an answer, then a cut."""

    async def half_an_answer(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        process.stdout.write(b"half")
        await process.stdout.drain()
        connection = process.get_extra_info("connection")
        connection.abort()

    server = await asyncssh.create_server(
        lambda: _Lenient(holds_login=holds_login),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=half_an_answer,
        encoding=None,
    )
    try:
        yield SSHAddress(host="127.0.0.1", port=server.get_port())
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def runpod_proxy(
    account_keys: Path, host_key: "asyncssh.SSHKey | None" = None
) -> AsyncIterator[SSHAddress]:
    """Serve as RunPod's SSH proxy does: a shell in a terminal, and nothing else.

    Args:
        account_keys: The public keys of the account; no others get in.
    """

    async def serve(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        if process.term_type is None:
            process.stdout.write(b"Error: Your SSH client doesn't support PTY\n")
            process.exit(1)
            return
        size = process.term_size
        process.stdout.write(f"{process.term_type} {size[0]}x{size[1]}\r\n".encode())
        typed = await process.stdin.readexactly(5)
        process.stdout.write(b"typed " + typed)
        process.exit(3)

    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=[host_key or asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(account_keys),
        process_factory=serve,
        encoding=None,
        line_editor=False,
    )
    try:
        yield SSHAddress(host="127.0.0.1", port=server.get_port())
    finally:
        server.close()
        await server.wait_closed()
