"""The console script: a command the background process takes, or the command line.

The second `exec` costs what starting Python costs, so nothing is imported here before
it is known to be needed. Which options there are is the background process' business:
it parses the words with the command line's own parser and declines what it does not do.
"""

import gc
import os
import sys

try:
    # signal itself loads enum, which takes a third as long as Python's own start
    import _signal as signal  # type: ignore[import-not-found]
except ImportError:
    import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_INTERRUPTED = 130


class _EndedError(BaseException):
    """A signal told us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> "NoReturn":
    """Run `runpod-ssh`."""
    words = sys.argv[1:]
    if words[:1] == ["exec"]:
        status = _try_background(words[1:])
        if status is not None:
            # nothing of ours is buffered or open: the system clears away faster
            os._exit(status)
    # nothing that modules make is garbage; `load_transport` switches it on again, and
    # what never connects is over soon
    gc.disable()
    from runpod_ssh.cli import main as run_command_line  # noqa: PLC0415  # loads click

    run_command_line()


def _try_background(words: "list[str]") -> int | None:
    from runpod_ssh import background  # noqa: PLC0415  # of no use to other commands

    caught = _catch_signals()
    try:
        return background.exec_there(words, os.environ)
    except KeyboardInterrupt:
        os.write(2, b"Interrupted.\n")
        return EXIT_INTERRUPTED
    except _EndedError as ended:
        return 128 + ended.number
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _catch_signals() -> "list[int]":
    """Have the pod told before we leave, and leave with the status a shell expects."""

    def end(number: int, _frame: object) -> None:
        raise _EndedError(number)

    # who was started with one ignored, as by nohup, wants it ignored
    caught = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL
    ]
    for number in caught:
        signal.signal(number, end)
    return caught


if __name__ == "__main__":
    main()
