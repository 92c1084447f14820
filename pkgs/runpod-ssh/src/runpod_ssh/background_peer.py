"""One client of the background process: its request, its descriptors, its answers."""

import array
import asyncio
import contextlib
import os
import socket
import stat

from runpod_ssh import background_wire as wire
from runpod_ssh import streams
from runpod_ssh.exec import Descriptors
from runpod_ssh.model import Source

_CHUNK_BYTES = 256 * 1024


class PeerGoneError(Exception):
    """The client hung up, or does not listen."""


class Peer:
    """A connected client.

    Attributes:
        descriptors: Those it passed; they are closed with it, or before.
    """

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)  # the method's own shape
        self._link = link
        self.descriptors: list[int] = []

    async def read_request(self) -> wire.Request:
        """Return what it wants.

        Raises:
            PeerGoneError, MalformedError: It wants nothing we understand.
        """
        return wire.parse_request(await self._read_frame())

    async def wait_for_go(self) -> None:
        """Return when it lets its command begin; keep the streams that come with it.

        Raises:
            PeerGoneError, MalformedError: It does not.
        """
        fields = wire.parse_fields(await self._read_frame())
        if fields != [wire.GO] or len(self.descriptors) != wire.DESCRIPTOR_COUNT:
            raise wire.MalformedError("no go, or without its streams")

    def send(self, *fields: str) -> None:
        """Send an answer, at once and whole: no other can get into it.

        Raises:
            PeerGoneError: Nobody will read it.
        """
        frame = wire.render_frame(fields)
        try:
            sent = self._link.send(frame)
        except OSError as error:
            raise PeerGoneError from error
        if sent < len(frame):
            raise PeerGoneError

    async def wait_gone(self) -> None:
        """Return when the client hangs up or shuts its side."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while await loop.sock_recv(self._link, _CHUNK_BYTES):
                pass

    def close_descriptors(self) -> None:
        """Close what the client passed: whoever reads its output sees the end."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()

    def close(self) -> None:
        """Hang up."""
        self.close_descriptors()
        self._link.close()

    async def _read_frame(self) -> bytes:
        header = await self._read_exactly(wire.HEADER_BYTES)
        return await self._read_exactly(wire.parse_length(header))

    async def _read_exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            chunk = await self._read(min(count - len(received), _CHUNK_BYTES))
            if not chunk:
                raise PeerGoneError
            received += chunk
        return bytes(received)

    async def _read(self, count: int) -> bytes:
        """Return some bytes, as soon as there are any."""
        room = socket.CMSG_SPACE(wire.DESCRIPTOR_COUNT * array.array("i").itemsize)
        while True:
            try:
                chunk, ancillary, _flags, _address = self._link.recvmsg(
                    count, room, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await _until_readable(self._link)
            except OSError as error:
                raise PeerGoneError from error
            else:
                for level, kind, content in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        passed = array.array("i")
                        whole = len(content) - len(content) % passed.itemsize
                        passed.frombytes(content[:whole])
                        self.descriptors += passed
                return chunk


class PassedDescriptors(Descriptors):
    """A client's streams, its input read without ever waiting in the kernel.

    Several clients may share a pipe: what one saw coming another may have taken. Opened
    anew the pipe can be told not to wait, which nobody else notices.
    """

    def source(self) -> Source:
        """Return the input; a terminal's is at its end, as in `Descriptors`."""
        if stat.S_ISFIFO(os.fstat(self.stdin).st_mode):
            return _read_pipe(self.stdin)
        return super().source()


async def _read_pipe(descriptor: int) -> Source:
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # another user made the pipe
        async for chunk in streams.read_descriptor(descriptor):
            yield chunk
        return
    try:
        while True:
            try:
                chunk = os.read(own, _CHUNK_BYTES)
            except BlockingIOError:
                await _until_readable(own)
                continue
            if not chunk:
                return
            yield chunk
    finally:
        os.close(own)


async def _until_readable(link: socket.socket | int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(link, on_ready)
    try:
        await ready
    finally:
        loop.remove_reader(link)
