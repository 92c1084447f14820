"""The bar of `copy` and `sync`: on a terminal only, and drawn no oftener than seen."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runpod_ssh.transfer_streams import Progress

_DRAW_SECONDS = 0.1


@contextlib.contextmanager
def open_bar(text: str) -> Iterator["Progress"]:
    """Draw how far it is, how fast and how long it takes, while the block runs.

    Args:
        text: What is copied.
    """
    # asyncssh is slow to load, and rich is needed on a terminal alone
    from runpod_ssh.transfer_streams import no_progress  # noqa: PLC0415

    if not sys.stderr.isatty():
        yield no_progress
        return
    from runpod_ssh.transfer_progress import show_progress  # noqa: PLC0415

    drawn = 0.0
    with show_progress(text) as draw:

        def tell(done: int, total: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            # a sync tells of every file, and to draw takes longer than to send one
            if now - drawn >= _DRAW_SECONDS or done == total:
                drawn = now
                draw(done, total)

        yield tell
