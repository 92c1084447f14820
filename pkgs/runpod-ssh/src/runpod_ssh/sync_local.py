"""Carrying out a sync's plan on this machine's side, as `apply.sh` does on a pod's.

Everything new stands in a stage within the folder first and gets its place by rename;
nothing is removed but what the plan names, and no folder with anything in it.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from runpod_ssh import archive
from runpod_ssh.manifests import FILE, FOLDER, Manifest, Plan
from runpod_ssh.sync_steps import late_modes, staged_mode


def make_folder(root: Path) -> None:
    """Make the target folder where only the one above it is there."""
    with _reported(root):
        root.mkdir(exist_ok=True)


def clear(root: Path, plan: Plan, target: Manifest) -> None:
    """Make way for what has another kind."""
    for path in plan.obstacles:
        place = root / path
        with _reported(place):
            if target[path].kind == FOLDER:
                place.rmdir()
            else:
                place.unlink(missing_ok=True)


def place(root: Path, stage: Path, paths: Sequence[str], source: Manifest) -> None:
    """Put files from the stage, new folders and links into their places."""
    for path in paths:
        final, entry = root / path, source[path]
        with _reported(final):
            if entry.kind == FOLDER:
                final.mkdir(staged_mode(path, source))
                final.chmod(staged_mode(path, source))
                continue
            staged = stage / path
            if entry.kind == FILE:
                staged.chmod(entry.mode)
                os.utime(staged, (entry.mtime, entry.mtime))
            else:
                staged.symlink_to(entry.link)
            staged.replace(final)


def finish(root: Path, plan: Plan, source: Manifest, target: Manifest) -> int:
    """Remove what is to go, set permissions and times; return how many stayed."""
    left = 0
    for path in plan.deletes:
        final = root / path
        with _reported(final):
            if target[path].kind != FOLDER:
                final.unlink(missing_ok=True)
                continue
            try:
                final.rmdir()
            except OSError:
                # it holds what is excluded
                left += final.is_dir()
    for path, mtime in plan.times:
        with _reported(root / path):
            os.utime(root / path, (mtime, mtime))
    for path, mode in late_modes(plan, source):
        with _reported(root / path):
            (root / path).chmod(mode)
    return left


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise archive.local_error("write", path, error) from error
