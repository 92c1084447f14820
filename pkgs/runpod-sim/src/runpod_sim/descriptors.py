"""Reading and writing a pipe's or terminal's descriptor without blocking the loop."""

import asyncio
import os

CHUNK_BYTES = 65_536


class Descriptor:
    """One end of a pipe or a terminal, owned and closed by this object."""

    def __init__(self, number: int) -> None:
        self.number = number
        os.set_blocking(number, False)

    async def read(self) -> bytes:
        """Return what is there next; empty at the end."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.read(self.number, CHUNK_BYTES)
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_reader(self.number, _wake, ready)
                try:
                    await ready
                finally:
                    loop.remove_reader(self.number)
            except OSError:
                # A terminal whose last process has gone answers EIO, not an end.
                return b""

    async def write(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            OSError: Nobody reads any more.
        """
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self.number, left) :]
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_writer(self.number, _wake, ready)
                try:
                    await ready
                finally:
                    loop.remove_writer(self.number)

    def close(self) -> None:
        """Close the descriptor; safe to repeat."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
