"""A TCP link with a round-trip time: a proxy that holds every chunk back for a while.

The kernels tests run on do not all have netem. A link delays and does not limit: any
number of bytes may be under way. As a program, `slow_link.py PORT RTT_MS` serves until
its standard input ends, and prints the port to connect to.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

CHUNK_BYTES = 256 * 1024
# what one direction may have under way: 400 MB/s over 50 ms, more than SSH asks for
IN_FLIGHT_BYTES = 20 * 1024 * 1024


class _Direction:
    """One direction of one connection: read, wait, write, in order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delay_seconds: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._delay = delay_seconds
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._room = IN_FLIGHT_BYTES
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_room.wait()
            chunk = await self._reader.read(CHUNK_BYTES)
            self._queue.put_nowait((loop.time() + self._delay, chunk))
            self._room -= len(chunk)
            if self._room <= 0:
                self._has_room.clear()
            if not chunk:
                return

    async def give(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await self._queue.get()
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if not chunk:
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                return
            self._writer.write(chunk)
            await self._writer.drain()
            self._room += len(chunk)
            if self._room > 0:
                self._has_room.set()


@contextlib.asynccontextmanager
async def slow_link(port: int, *, rtt_seconds: float) -> AsyncIterator[int]:
    """Yield a port behind which 127.0.0.1:`port` is that far away."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", port, limit=4 * CHUNK_BYTES
            )
            there = _Direction(reader, far_writer, rtt_seconds / 2)
            back = _Direction(far_reader, writer, rtt_seconds / 2)
            await asyncio.gather(there.take(), there.give(), back.take(), back.give())
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    end.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=4 * CHUNK_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _main(port: int, rtt_ms: float) -> None:
    async with slow_link(port, rtt_seconds=rtt_ms / 1000) as near:
        print(near, flush=True)  # noqa: T201  # what the program is for
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
