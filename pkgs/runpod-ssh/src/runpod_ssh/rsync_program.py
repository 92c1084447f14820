"""The rsync of this machine: whether it will do, what it is told, what it says.

Knows nothing of connections and pods. Other programs of the name, such as macOS's
openrsync, are left alone: they lack options and speak an old protocol.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

# what the pod's side calls its new file, and how it names the one it is asked for: no
# name of a user's ever stands in a command line of rsync
NEW = "payload"
OPENED = "/dev/fd/3"
_VERSION = re.compile(rb"rsync +version v?(\d+)\.(\d+)")
# the first with --info
_LEAST_VERSION = (3, 1)
_VERSION_SECONDS = 5.0
# silence after which rsync ends, on either side
_SILENCE_SECONDS = 60
_POSITION = re.compile(rb"(\d+) +\d+%")
_SAFE_WORD = re.compile(r"[A-Za-z0-9_./=,+-]+")


def find_rsync() -> str | None:
    """Return this machine's rsync; None where there is none that will do."""
    program = shutil.which("rsync")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if parse_version(done.stdout) >= _LEAST_VERSION else None


def parse_version(said: bytes) -> tuple[int, int]:
    """Return the version that `rsync --version` tells; 0.0 for another program."""
    found = _VERSION.match(said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def render_shell(descriptor: int) -> str:
    """Return the remote shell rsync is to start, as its `-e` takes it."""
    words = [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("rsync_shell.py")),
    ]
    # rsync knows quotes, and a quote within them is doubled
    quoted = ["'" + word.replace("'", "''") + "'" for word in words]
    return " ".join([*quoted, str(descriptor)])


def list_arguments(descriptor: int, source: str, target: str) -> list[str]:
    """Return what rsync is told to bring one file up to date.

    Size and time are not compared (they are known to differ), holes stay holes, and a
    link is followed, which the opened file on a pod looks like.
    """
    return [
        *("-I", "-S", "-L", "--no-h", "--info=progress2"),
        f"--timeout={_SILENCE_SECONDS}",
        *("-e", render_shell(descriptor), "--", source, target),
    ]


def parse_command(command: bytes) -> list[str] | None:
    """Return the arguments for the pod's rsync; None for what we did not expect."""
    words = command.decode("ascii", "replace").split("\0")
    is_known = words[:2] == ["rsync", "--server"] and words[-1] in {NEW, OPENED}
    if not is_known or not all(map(_SAFE_WORD.fullmatch, words)):
        return None
    return words[1:]


def parse_position(said: bytes) -> int | None:
    """Return how far in the file rsync says it is; None where it says nothing."""
    found = _POSITION.findall(said)
    return int(found[-1]) if found else None
