"""The user's terminal as one end of a remote one: raw mode, size, and putting it back.

It knows nothing of SSH.
"""

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator

from runpod_ssh import streams
from runpod_ssh.model import Source


class LocalTerminal:
    """The terminal behind two descriptors of this process."""

    def __init__(self, *, stdin: int, stdout: int, kind: str) -> None:
        self.kind = kind
        self._stdin = stdin
        self._stdout = stdout
        self._write = streams.write_descriptor(stdout)

    def size(self) -> tuple[int, int]:
        """Return columns and rows; 80 by 24 where the terminal does not say."""
        try:
            size = os.get_terminal_size(self._stdout)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def keys(self) -> Source:
        """Return what is typed, key by key."""
        return streams.read_descriptor(self._stdin)

    async def show(self, chunk: bytes) -> None:
        """Write to the terminal."""
        await self._write(chunk)

    @contextlib.contextmanager
    def on_resize(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back whenever the terminal's window changes its size."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, callback)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Hand on every keystroke as it is; restore the terminal whatever happens."""
        if not os.isatty(self._stdin):
            yield
            return
        saved = termios.tcgetattr(self._stdin)
        try:
            # DRAIN, not the default FLUSH: what was typed ahead is kept
            tty.setraw(self._stdin, termios.TCSADRAIN)
            yield
        finally:
            termios.tcsetattr(self._stdin, termios.TCSADRAIN, saved)
