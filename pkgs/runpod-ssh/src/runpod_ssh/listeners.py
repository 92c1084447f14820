"""Tunnels over a connection: ports that listen, and single streams to a port there.

What asyncssh raises leaves here as an error of ours. It knows nothing of what is worth
forwarding, and nothing of reconnecting.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncssh

from runpod_client import SSHAddress
from runpod_ssh.errors import ForwardError
from runpod_ssh.ssh_failures import LOST, reason_of

_CLOSE_SECONDS = 2.0


class Listener:
    """A port that listens until it is closed or its connection ends."""

    def __init__(self, raw: asyncssh.SSHListener) -> None:
        self._raw = raw

    @property
    def port(self) -> int:
        """Return the port, also where the system chose it."""
        return self._raw.get_port()

    async def close(self) -> None:
        """Stop listening; what came through it goes on. Safe to repeat."""
        self._raw.close()
        with contextlib.suppress(TimeoutError, *LOST):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._raw.wait_closed()


class _Session(asyncssh.SSHTCPSession[bytes]):
    """A stream's end that hands all on to an asyncio protocol."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._protocol.connection_made(chan)  # type: ignore[arg-type]  # alike enough

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self._protocol.data_received(data)

    def eof_received(self) -> bool:
        return bool(self._protocol.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class Tunnels:
    """What listens, here and there, over one connection."""

    def __init__(
        self, raw: asyncssh.SSHClientConnection, address: SSHAddress, seconds: float
    ) -> None:
        self._raw = raw
        self._address = address
        self._seconds = seconds

    async def listen_local(
        self, bind_host: str, port: int, to_host: str, to_port: int
    ) -> Listener:
        """Listen here for connections to an address there."""
        what = f"listening on {bind_host}:{port}"
        made = self._raw.forward_local_port(bind_host, port, to_host, to_port)
        return Listener(await self._bounded(made, what))

    async def listen_dynamic(self, bind_host: str, port: int) -> Listener:
        """Listen here as a SOCKS proxy into the pod's network."""
        what = f"listening on {bind_host}:{port}"
        return Listener(
            await self._bounded(self._raw.forward_socks(bind_host, port), what)
        )

    async def listen_remote(
        self, bind_host: str, port: int, to_host: str, to_port: int
    ) -> Listener:
        """Listen there for connections to an address here."""
        what = f"listening on {bind_host}:{port} of the pod"
        made = self._raw.forward_remote_port(bind_host, port, to_host, to_port)
        return Listener(await self._bounded(made, what))

    async def open_stream(
        self, make: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> None:
        """Connect a protocol to a port there; its transport says when it stands."""
        what = f"connecting to {host}:{port} from the pod"
        await self._bounded(
            self._raw.create_connection(lambda: _Session(make()), host, port), what
        )

    async def _bounded(self, work: Any, what: str) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                return await work
        except TimeoutError as error:
            raise ForwardError(
                f"{what} took longer than {self._seconds:g} s", address=self._address
            ) from error
        except (*LOST, asyncssh.ChannelListenError) as error:
            raise ForwardError(
                f"{what} failed: {reason_of(error)}", address=self._address
            ) from error
