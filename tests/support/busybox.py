"""PATH folders that make an sshd's sessions as poor as a small image's.

`busybox_path` holds busybox's applets and nothing else, its `sh` among them;
`path_of` holds exactly the programs it is told. Both are given to `sshd_factory` as
`path`. What a session runs is still handed to the user's login shell first.
"""

import functools
import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.sshd import find_program


@functools.cache
def applets() -> tuple[str, ...]:
    """Return the names of the programs this busybox has in it."""
    done = subprocess.run(
        [find_program("busybox"), "--list"],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return tuple(done.stdout.split())


def busybox_path(folder: Path, *, without: Iterable[str] = ()) -> str:
    """Make a folder of applets and return it as a PATH."""
    folder.mkdir()
    program = find_program("busybox")
    for name in set(applets()) - set(without):
        (folder / name).symlink_to(program)
    return str(folder)


def path_of(folder: Path, programs: Iterable[str]) -> str:
    """Make a folder of these programs of this machine and return it as a PATH."""
    folder.mkdir()
    for name in programs:
        (folder / name).symlink_to(find_program(name))
    return str(folder)
