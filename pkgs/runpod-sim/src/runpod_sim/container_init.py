"""Process 1 of a simulated pod: nothing started in the pod outlives it.

Run as a script of its own with two inherited pipes. It starts the command it is given,
becomes the parent of every orphan below it (also of detached ones), and ends them all:

    on a `stop SECONDS` line      TERM to all but sshd, KILL after the grace
    when the control pipe closes  the same with no grace: the simulator is gone

It imports nothing but the standard library and knows nothing of the simulator.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import termios
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02
KILL_ROUNDS = 200
SSHD_NAMES = ("sshd", "sshd-session", "sshd-auth")


def descendants(root: int) -> dict[int, str]:
    """Return the process names of everything below `root`, by process id."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name is in parentheses and may itself hold any character.
            name, _, rest = (entry / "stat").read_text(errors="replace").rpartition(")")
            state, parent = rest.split()[:2]
            if state not in {"Z", "X"}:
                parents[int(entry.name)] = int(parent)
                names[int(entry.name)] = name.partition("(")[2]
    found: dict[int, str] = {}
    level = {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - set(found)
        found.update({pid: names[pid] for pid in level})
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Init:
    """One pod's first process and the state of its command."""

    def __init__(self, control_fd: int, status_fd: int) -> None:
        self._control_fd = control_fd
        self._status_fd = status_fd
        self._command_pid = 0
        self._control_text = b""
        self._is_told_to_stop = False
        self._grace_seconds = 0.0
        # A child's end must wake the select below, or each command ends late.
        self._wake_fd, self._waker_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, command: list[str], *, terminal: bool) -> None:
        """Start the command and return when nothing of the pod is left."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.signal(signal.SIGTERM, self._stop_on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waker_fd, warn_on_full_buffer=False)
        self._command_pid = self._spawn(command, terminal=terminal)
        # The command's own pipes must see their end when the command closes them.
        with Path(os.devnull).open("r+b") as nothing:
            for number in (0, 1, 2):
                os.dup2(nothing.fileno(), number)
        while not self._is_told_to_stop:
            self._reap()
            if not self._command_pid and not descendants(os.getpid()):
                return
            self._listen(0.1 if not self._command_pid else 5.0)
        self._end_all()

    def _stop_on_signal(self, _number: int, _frame: object) -> None:
        self._is_told_to_stop = True

    def _spawn(self, command: list[str], *, terminal: bool) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            os.set_inheritable(self._control_fd, False)
            os.set_inheritable(self._status_fd, False)
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
        except OSError as error:
            sys.stderr.write(f"{command[0]}: {error.strerror}\n")
            sys.stderr.flush()
        finally:
            os._exit(127)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, status = 0, 0
            if pid == self._command_pid and pid:
                self._command_pid = 0
                self._report(status)
            if not pid:
                return

    def _report(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._status_fd, f"{code}\n".encode())
        os.close(self._status_fd)

    def _listen(self, seconds: float) -> None:
        try:
            readable, _, _ = select.select(
                [self._control_fd, self._wake_fd], [], [], seconds
            )
        except InterruptedError:
            return
        if self._wake_fd in readable:
            os.read(self._wake_fd, 4096)
        if self._control_fd not in readable:
            return
        chunk = os.read(self._control_fd, 4096)
        self._control_text += chunk
        if not chunk:
            self._is_told_to_stop = True
        elif b"\n" in self._control_text:
            line = self._control_text.split(b"\n", 1)[0].split()
            self._grace_seconds = float(line[1]) if len(line) > 1 else 0.0
            self._is_told_to_stop = True

    def _is_abandoned(self) -> bool:
        readable, _, _ = select.select([self._control_fd], [], [], 0)
        return bool(readable) and not os.read(self._control_fd, 4096)

    def _end_all(self) -> None:
        """End what is left: politely within the grace, then for good."""
        deadline = time.monotonic() + self._grace_seconds
        # sshd goes last, so that whoever is logged in can finish within the grace.
        told: set[int] = set()
        while time.monotonic() < deadline and not self._is_abandoned():
            self._reap()
            below = descendants(os.getpid())
            working = [p for p, name in below.items() if name not in SSHD_NAMES]
            if not working:
                break
            signal_all([p for p in working if p not in told], signal.SIGTERM)
            told.update(working)
            time.sleep(POLL_SECONDS)
        for _ in range(KILL_ROUNDS):
            self._reap()
            left = descendants(os.getpid())
            if not left:
                return
            signal_all(list(left), signal.SIGKILL)
            time.sleep(POLL_SECONDS)


def main() -> None:
    """Run a command as the first process of a pod."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    Init(arguments.control_fd, arguments.status_fd).run(
        arguments.command, terminal=arguments.terminal
    )


if __name__ == "__main__":
    main()
