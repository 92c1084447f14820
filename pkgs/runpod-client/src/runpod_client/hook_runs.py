"""One hook's child process: started, fed, listened to, ended in time.

Each run has a thread of its own, so whoever starts one goes on at once. The child leads
a process group, and the whole group is killed when the child has ended or its time is
up: nothing a hook starts outlives it. Knows nothing of events, pods or settings.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MAX_OUTPUT_BYTES = 64 * 1024
_CHUNK_BYTES = 16 * 1024
_POLL_SECONDS = 0.02
_REAP_SECONDS = 5.0  # what the kernel may need to end what was killed
_TAIL_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """How a hook ended.

    Attributes:
        exit_status: Negative for a signal; None where it never ran.
        start_error: Why it never ran.
        output: The beginning of what it wrote, stdout and stderr as they came.
    """

    exit_status: int | None = None
    start_error: str = ""
    is_late: bool = False
    output: str = ""
    is_output_cut: bool = False
    elapsed_seconds: float = 0.0

    def describe_failure(self) -> str:
        """Return what went wrong in words, empty if nothing did."""
        if self.start_error:
            return f"could not be started: {self.start_error}"
        if self.is_late:
            return f"did not end within {self.elapsed_seconds:.1f} s and was killed"
        if not self.exit_status:
            return ""
        how = (
            f"was ended by signal {-self.exit_status}"
            if self.exit_status < 0
            else f"failed with exit status {self.exit_status}"
        )
        said = self.output.strip().splitlines()
        return f"{how}: {said[-1][:_TAIL_CHARACTERS]}" if said else how


class HookRun:
    """A child process and the thread that looks after it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes,
        environ: Mapping[str, str],
        timeout_seconds: float,
        on_end: Callable[[EndedRun], None],
    ) -> None:
        self._argv = argv
        self._stdin = memoryview(stdin)
        self._environ = environ
        self._on_end = on_end
        self._output = bytearray()
        self._is_output_cut = False
        self._started = time.monotonic()
        self._deadline = self._started + timeout_seconds
        self._ended: EndedRun | None = None
        self._thread = threading.Thread(target=self._run, name="hook", daemon=True)

    @property
    def has_ended(self) -> bool:
        """Return whether the child has ended and was reported."""
        return self._ended is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Start the child; returns before it runs."""
        self._thread.start()

    def limit(self, seconds: float) -> None:
        """Let it end within so many seconds from now, or sooner."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def wait(self) -> EndedRun:
        """Return how it ended; within its time limit, and a little for the kill."""
        remaining = max(self._deadline - time.monotonic(), 0.0)
        self._thread.join(remaining + 2 * _REAP_SECONDS)
        return self._ended or EndedRun(is_late=True)

    def _run(self) -> None:
        ended = self._execute()
        self._ended = ended
        self._on_end(ended)

    def _execute(self) -> EndedRun:
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self._environ),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return EndedRun(start_error=reason.lower())
        try:
            is_late = not self._attend(process)
        finally:
            _end_group(process)
        self._drain(process)
        return EndedRun(
            exit_status=process.returncode,
            is_late=is_late,
            output=self._output.decode(errors="replace"),
            is_output_cut=self._is_output_cut,
            elapsed_seconds=time.monotonic() - self._started,
        )

    def _attend(self, process: "subprocess.Popen[bytes]") -> bool:
        """Feed the child and read it until it ends; False when its time is up."""
        assert process.stdin is not None  # noqa: S101  # as it was started
        assert process.stdout is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            for stream, event in (
                (process.stdin, selectors.EVENT_WRITE),
                (process.stdout, selectors.EVENT_READ),
            ):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, event)
            while time.monotonic() < self._deadline:
                for key, _ in selector.select(_POLL_SECONDS):
                    is_input = key.fileobj is process.stdin
                    goes_on = self._feed(key.fd) if is_input else self._hear(key.fd)
                    if not goes_on:
                        selector.unregister(key.fileobj)
                        if is_input:
                            process.stdin.close()
                if _has_exited(process.pid):
                    return True
        return False

    def _feed(self, descriptor: int) -> bool:
        """Write what the pipe takes; return whether there is more to write."""
        try:
            written = os.write(descriptor, self._stdin[:_CHUNK_BYTES])
        except BlockingIOError:
            return True
        except OSError:
            return False  # it does not care to read
        self._stdin = self._stdin[written:]
        return bool(self._stdin)

    def _hear(self, descriptor: int) -> bool:
        """Read what has come, and keep it while there is room; False at the end."""
        try:
            chunk = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        room = MAX_OUTPUT_BYTES - len(self._output)
        self._output += chunk[:room]
        # what goes beyond is read all the same: a full pipe would stop the child
        self._is_output_cut |= len(chunk) > room
        return bool(chunk)

    def _drain(self, process: "subprocess.Popen[bytes]") -> None:
        """Take what the dead left in the pipe, and close it."""
        for stream in (process.stdin, process.stdout):
            if stream is None or stream.closed:
                continue
            if stream is process.stdout:
                for _ in range(2 * MAX_OUTPUT_BYTES // _CHUNK_BYTES):
                    before = len(self._output)
                    if not self._hear(stream.fileno()) or len(self._output) == before:
                        break
            with contextlib.suppress(OSError):
                stream.close()


def end_runs(runs: list[HookRun], linger_seconds: float) -> None:
    """Wait for runs so long in all, kill those that are left, and empty the list."""
    for run in runs:
        run.limit(linger_seconds)
    for run in runs:
        run.wait()
    runs.clear()


def _has_exited(process_id: int) -> bool:
    """Return whether a child has ended; it stays a zombie, so its group stays its."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process_id, flags) is not None


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a child's group, and collect the child."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_SECONDS)
