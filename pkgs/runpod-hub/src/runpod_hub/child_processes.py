"""Programs that run beside this one and never outlive it."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runpod_hub.errors import DemoError

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 10.0
_HELD = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running program: its stdout is ours, its stderr goes to a log file."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def read_announcement(self, *, timeout: float) -> str:
        """Return the first line the program prints, when it is ready.

        Raises:
            DemoError: It ended, or said nothing within `timeout` seconds.
        """
        assert self.process.stdout is not None  # noqa: S101  # opened by start_child
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout
        received = b""
        while b"\n" not in received:
            left = deadline - time.monotonic()
            readable, _, _ = select.select([descriptor], [], [], max(left, 0.0))
            chunk = os.read(descriptor, 65536) if readable else b""
            if not chunk:
                raise DemoError(f"{self.name} did not start", hint=self.log_tail())
            received += chunk
        return received.split(b"\n", 1)[0].decode()

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of what the program wrote to stderr."""
        try:
            text = self.log_file.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def start_child(command: list[str], environ: Mapping[str, str], log: Path) -> Child:
    """Start a program in a session of its own: Ctrl-C reaches only its parent."""
    with log.open("wb") as stderr, _signals_held():
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # no threads run here
        )
    return Child(name=command[0], process=process, log_file=log)


def stop_child(child: Child) -> None:
    """End a program: ask, wait, kill."""
    child.process.terminate()
    try:
        child.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    if child.process.stdout is not None:
        child.process.stdout.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let an interrupt wait while a process is forked.

    Python calls the modules' fork hooks then and ignores what is raised in them, so
    that a Ctrl-C of that moment would be lost (seen in 4 of 120 runs).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def _end_with_parent() -> None:
    """Ask Linux to send SIGTERM when the parent dies, however it dies."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
