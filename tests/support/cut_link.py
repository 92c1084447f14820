"""A TCP link that counts what goes over it and is cut after so many bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

CHUNK_BYTES = 64 * 1024


@dataclass(kw_only=True)
class CutLink:
    """What went over a link, and where to connect to it.

    Attributes:
        up_bytes: From the one who connects.
        down_bytes: To the one who connects.
        cut_after: Bytes of both directions together; 0 for no end.
    """

    port: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    cut_after: int = 0

    @property
    def is_cut(self) -> bool:
        return 0 < self.cut_after <= self.up_bytes + self.down_bytes

    def count(self, size: int, *, is_up: bool) -> None:
        if is_up:
            self.up_bytes += size
        else:
            self.down_bytes += size


@contextlib.asynccontextmanager
async def cut_link(port: int, *, cut_after: int = 0) -> AsyncIterator[CutLink]:
    """Yield a link to a port of this machine."""
    link = CutLink(cut_after=cut_after)
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        while not link.is_cut and (chunk := await reader.read(CHUNK_BYTES)):
            link.count(len(chunk), is_up=is_up)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, far_writer, is_up=True))
                group.create_task(pass_on(far_reader, writer, is_up=False))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
