"""What a person sees of a copy: a bar with what moved, how fast, and how long it takes.

On a terminal only; it draws on stderr. Knows nothing of connections.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# told the bytes moved so far, and how many there are (0: not known)
Tell = Callable[[int, int], None]
_WIDTH = 40


def _ignore(_done: int, _total: int) -> None:
    """Tell nobody."""


@contextlib.contextmanager
def show_progress(text: str) -> Iterator[Tell]:
    """Draw a bar while the block runs; it is gone afterwards.

    Args:
        text: What is copied.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(_WIDTH),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(escape(text), total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield tell
