"""What stands between a socket and asyncssh: it hears when the far side speaks.

It tells when sshd has greeted and when anything was heard last, has every packet
acknowledged at once, and sends what is written within one turn of the event loop as
one packet. It knows nothing of SSH but how a greeting begins.
"""

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Protocol

_GREETING = re.compile(rb"(?:^|\n)SSH-[^\n]*\n")
# more than asyncssh reads before it gives up
_MAX_GREETING_BYTES = 128 * 1024
# of what somebody says who does not greet
_MOST_SAID = 100
# written sooner than the turn's end: batching much costs more in copies than it saves
_BATCH_BYTES = 64 * 1024
# asyncssh copies what is left of its input for every packet: keep that short
_SLICE_BYTES = 64 * 1024
# sshd leaves Nagle's algorithm on until a session starts, so that an answer in two
# pieces waits for our acknowledgement, which the kernel would hold back for 40 ms
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# where linux/tcp.h has tcpi_rtt
_TCP_INFO = getattr(socket, "TCP_INFO", None)
_RTT_OFFSET = 68
# what may wait in the kernel: more would only be queued before what is urgent
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_UNSENT_BYTES = 128 * 1024


class Inner(Protocol):
    """The protocol that is listened to; asyncssh's connection is one."""

    def connection_made(self, transport: Any, /) -> None:
        """Take the transport."""

    def data_received(self, data: bytes, datatype: Any = None, /) -> None:
        """Take what arrived."""

    def eof_received(self) -> Any:
        """Hear of the end of input."""

    def connection_lost(self, exc: Exception | None = None, /) -> None:
        """Hear of the end."""


class Tap(asyncio.Protocol):
    """Hands everything on, both as a socket's protocol and as a tunnel's session."""

    def __init__(
        self,
        inner: Inner,
        *,
        on_open: Callable[[], None],
        on_greeting: Callable[[], None],
    ) -> None:
        self.heard_at = 0.0
        self._inner = inner
        self._on_open = on_open
        self._on_greeting = on_greeting
        self._greeting: bytes | None = b""
        self._socket: Any = None
        self._is_clear = asyncio.Event()
        self._is_clear.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on a transport that batches."""
        if isinstance(transport, asyncio.Transport):
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
                self._socket = sock
                if _NOTSENT_LOWAT is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)
        self._on_open()
        self._inner.connection_made(Batching(transport))

    def session_started(self) -> None:
        """Hear that a tunnel stands; `connection_made` said so."""

    def data_received(self, data: bytes, _datatype: object = None) -> None:
        """Note that something was heard, and hand it on."""
        self.heard_at = time.monotonic()
        if self._socket is not None and _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        if self._greeting is not None:
            self._look_for_greeting(data)
        if len(data) <= _SLICE_BYTES:
            self._inner.data_received(data)
            return
        for start in range(0, len(data), _SLICE_BYTES):
            self._inner.data_received(data[start : start + _SLICE_BYTES])

    def _look_for_greeting(self, data: bytes) -> None:
        seen = (self._greeting or b"") + data
        if _GREETING.search(seen):
            self._greeting = None
            self._on_greeting()
        else:
            self._greeting = seen[-_MAX_GREETING_BYTES:]

    @property
    def said_in_place_of_greeting(self) -> str:
        """Return the last line of a server that does not greet, fit for a message.

        sshd so says why it hangs up: `Exceeded MaxStartups`, `Not allowed at this time`.
        """
        lines = (self._greeting or b"").decode("ascii", "replace").strip().splitlines()
        last = "".join(filter(str.isprintable, lines[-1])) if lines else ""
        return last[:_MOST_SAID]

    def eof_received(self) -> bool | None:
        """Hand on the end of input; the transport closes itself."""
        self._inner.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on the end."""
        self._socket = None
        self._is_clear.set()
        self._inner.connection_lost(exc)

    @property
    def round_trip_seconds(self) -> float | None:
        """Return what the kernel measures between here and the next machine."""
        if self._socket is None or _TCP_INFO is None:
            return None
        info = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
        (microseconds,) = struct.unpack_from("I", info, _RTT_OFFSET)
        return float(microseconds) / 1e6

    async def wait_clear(self) -> None:
        """Wait until what was sent has left this process.

        asyncssh itself queues as much as SSH's windows allow, and a key that is typed
        would wait behind all of it.
        """
        await self._is_clear.wait()

    def pause_writing(self) -> None:
        """Hear that the transport has enough to send for now."""
        self._is_clear.clear()

    def resume_writing(self) -> None:
        """Hear that the transport can take more."""
        self._is_clear.set()


class Batching:
    """A transport that sends the small writes of one turn of the loop together."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def write(self, data: bytes) -> None:
        """Send soon, or at once when much has gathered."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._transport.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Return whether the transport has ended or is about to."""
        return bool(self._transport.is_closing())

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._pending.clear()
        self._transport.abort()
