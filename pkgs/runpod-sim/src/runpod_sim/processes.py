"""Looking at processes through /proc alone: those below a root, those of a folder."""

import contextlib
import os
import signal
from pathlib import Path

from runpod_sim.container_init import descendants


def count_processes(roots: list[int]) -> int:
    """Return how many processes there are: the roots and all below them."""
    return sum(1 + len(descendants(root)) for root in roots)


def find_inhabitants(territory: Path) -> list[int]:
    """Return the processes that name a folder in command line or environment."""
    name = os.fsencode(territory) + b"/"
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if name in about and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def kill_inhabitants(territory: Path) -> None:
    """Kill the processes of a folder; twice, for what was forked meanwhile."""
    for _ in range(2):
        for pid in find_inhabitants(territory):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
