"""A process whose children each run one create and are ended at a chosen step of it.

A step is a line of the modules that rent a pod and remember it, or something they ask
of the system (a file opened, a folder made, a byte sent): the child counts them and,
before the wanted one happens, signals itself. The product knows nothing of this.

Orders come on stdin and answers go to stdout, a JSON object a line: children are forked
so that a run costs milliseconds, not the start of Python.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from runpod_client import logs
from support.creations import open_desk

MODULES = {
    f"{name}.py"
    for name in ("creation", "intents", "journal_schema", "identities", "transport")
}
EVENTS = ("open", "os.", "sqlite3.", "socket.", "shutil.", "fcntl.")
RUN_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Order:
    """One create.

    Attributes:
        step: Before which of its steps it is signalled; 0 lets it end.
        signal_name: SIGKILL or SIGINT.
    """

    base_url: str
    key: str
    dialect: str
    state_dir: str
    name: str
    step: int = 0
    signal_name: str = "SIGKILL"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a create ended: by `signal_number`, or by itself after so many steps."""

    steps: int
    signal_number: int
    exit_status: int


class Steps:
    """Counts the steps of this process and signals it before a chosen one."""

    def __init__(self, wanted: int, signal_number: int) -> None:
        self.count = 0
        self._wanted = wanted
        self._signal_number = signal_number
        self._is_counting = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        sys.addaudithook(self._hear)
        self._is_counting = True
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            self._is_counting = False

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if os.path.basename(frame.f_code.co_filename) not in MODULES:  # noqa: PTH119  # it asks nothing of the system
            return None
        if event == "line":
            self._step()
        return self._trace

    def _hear(self, event: str, _arguments: Any) -> None:
        if event.startswith(EVENTS):
            self._step()

    def _step(self) -> None:
        if not self._is_counting:
            return
        self.count += 1
        if self.count == self._wanted:
            self._is_counting = False  # the kill is a step as well
            os.kill(os.getpid(), self._signal_number)


def run_create(order: Order) -> int:
    """Run one create in this process; return how many steps it took."""
    steps = Steps(order.step, signal.Signals[order.signal_name])
    desk = open_desk(
        order.base_url, Path(order.state_dir), key=order.key, dialect=order.dialect
    )
    with steps.counted():
        desk.create(order.name)
    return steps.count


def run_forked(order: Order) -> Ended:
    """Run one create in a child of this process."""
    reader, writer = os.pipe()
    process_id = os.fork()
    if not process_id:
        status = 1
        signal.alarm(RUN_SECONDS)  # no create takes that long
        try:
            os.write(writer, str(run_create(order)).encode())
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        steps = int(file.read() or 0)
    _, status = os.waitpid(process_id, 0)
    return Ended(
        steps=steps,
        signal_number=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        exit_status=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
    )


class Killer:
    """The other end: sends orders to such a process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, order: Order) -> Ended:
        """Run one create in a process of its own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks creates has died"
        return Ended(**json.loads(answer))


@contextmanager
def open_killer() -> Iterator[Killer]:
    """Give a process whose children can be killed, and end it."""
    tests = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "support.killed_create"],
        env={**os.environ, "PYTHONPATH": str(tests)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield Killer(process)
            assert process.stdin is not None
            process.stdin.close()
    finally:
        process.kill()


def main() -> None:
    """Carry out orders until stdin ends."""
    logs.configure(level="error")
    for line in sys.stdin:
        print(json.dumps(asdict(run_forked(Order(**json.loads(line))))), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
