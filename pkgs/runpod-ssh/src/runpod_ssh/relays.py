"""Two streams of bytes joined: what one end takes in, the other gives out.

Both ends slow each other down, so that memory stays flat, and each hands on the end of
its input by itself: a tunnelled connection can be closed one way. It knows nothing of
SSH; an end is the protocol of any transport that is like asyncio's.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class RelayEnd(asyncio.Protocol):
    """One end of a relay.

    The first end waits: what arrives there stays in the kernel until a second end that
    was made with it as `peer` is connected.
    """

    def __init__(
        self,
        peer: "RelayEnd | None" = None,
        *,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.is_lost = False
        self._peer = peer
        self._on_lost = on_lost
        self._transport: Any = None
        self._had_eof = False
        self._ahead = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the second end sets both going."""
        self._transport = transport
        peer = self._peer
        if peer is None:
            self._transport.pause_reading()
        elif peer.is_lost:
            self.close()
        else:
            peer.meet(self)

    def meet(self, peer: "RelayEnd") -> None:
        """Begin to hand everything on to an end that is connected."""
        self._peer = peer
        ahead, self._ahead = self._ahead, b""
        if ahead:
            peer.write(ahead)
        self.resume_reading()

    def take_over(self, transport: asyncio.Transport, ahead: bytes) -> None:
        """Become the protocol of a transport that has said something already.

        Args:
            ahead: What it said; the other end gets it first.
        """
        self._ahead = ahead
        transport.set_protocol(self)
        self.connection_made(transport)

    def write(self, data: bytes) -> None:
        """Give out what the other end took in."""
        if not self.is_lost:
            self._transport.write(data)

    def resume_reading(self) -> None:
        """Take in more."""
        if not self.is_lost:
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        """Take in no more for now."""
        if not self.is_lost:
            self._transport.pause_reading()

    def write_eof(self) -> bool:
        """Say that nothing more comes; return whether this end may still say something."""
        if self.is_lost:
            return False
        if self._transport.can_write_eof():
            self._transport.write_eof()
        return not self._had_eof

    def data_received(self, data: bytes) -> None:
        """Hand on what arrived."""
        if self._peer is not None:
            self._peer.write(data)

    def eof_received(self) -> bool:
        """Hand on that nothing more arrives; the other direction may stay open."""
        self._had_eof = True
        return self._peer is not None and self._peer.write_eof()

    def pause_writing(self) -> None:
        """Stop the other end from taking in more."""
        if self._peer is not None:
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        """Let the other end take in more."""
        if self._peer is not None:
            self._peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other end as well, once it has given out what it has."""
        del exc
        self.is_lost = True
        if self._peer is not None:
            self._peer.close()
        self._on_lost()

    def close(self) -> None:
        """End this end, and with it the other."""
        if self._transport is not None and not self.is_lost:
            self._transport.close()
