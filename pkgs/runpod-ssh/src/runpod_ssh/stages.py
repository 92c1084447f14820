"""The hidden folder on this machine that a copy from a pod is put together in.

It lies beside its place, so that the last step is a rename. One that a copy left
behind is taken over by the next of the same copy, and removed by any after a day.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runpod_ssh.archive import PAYLOAD, local_error
from runpod_ssh.errors import TransferError

PREFIX = ".runpod-ssh-"
_LEFT_SECONDS = 24 * 3600.0


@dataclass(kw_only=True)
class Stage:
    """A folder to put a copy together in.

    Attributes:
        has_left: Something is in it from a copy that was cut off.
        is_kept: It is to stay when the copy does not come to its end.
    """

    folder: Path
    has_left: bool
    is_kept: bool = False

    @property
    def payload(self) -> Path:
        """Return where the copy itself is put together."""
        return self.folder / PAYLOAD

    def clear(self) -> None:
        """Begin anew."""
        _remove(self.payload)
        self.payload.mkdir()
        self.has_left = False


@contextlib.contextmanager
def open_stage(final: Path, key: str, now: float | None = None) -> Iterator[Stage]:
    """Yield the stage of a copy; it is gone after the block, unless it is to be kept.

    Args:
        key: Names the copy; a second one at the same time gets another stage.
        now: Seconds since 1970, for what counts as old.

    Raises:
        TransferError: Nothing can be written there.
    """
    parent = final.parent
    try:
        _remove_old(parent, time.time() if now is None else now)
        folder, lock = _take(parent, key)
    except OSError as error:
        raise local_error("write to", parent, error) from error
    try:
        has_left = _make_safe(folder / PAYLOAD)
        (folder / PAYLOAD).mkdir(exist_ok=True)
        stage = Stage(folder=folder, has_left=has_left)
    except OSError as error:
        os.close(lock)
        raise local_error("write to", parent, error) from error
    try:
        yield stage
        stage.is_kept = False
    finally:
        if not stage.is_kept:
            _remove(folder)
        os.close(lock)


def _take(parent: Path, key: str) -> tuple[Path, int]:
    folder = parent / f"{PREFIX}{key}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if (lock := _lock(folder)) is None:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        lock = _lock(folder)
    if lock is None:
        raise BlockingIOError(f"{folder} is in use")
    return folder, lock


def _lock(folder: Path) -> int | None:
    """Return what holds the folder's lock; None while another copy holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(folder / "lock", flags, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _make_safe(payload: Path) -> bool:
    """Make what was left fit to go on with; return whether there is anything.

    Links are removed: nothing is to be written through one that a pod sent.
    """
    if not payload.is_dir():
        return False
    for root, folders, files in os.walk(payload):
        Path(root).chmod(0o700)
        for name in [*folders, *files]:
            path = Path(root, name)
            if path.is_symlink():
                path.unlink()
            elif path.is_dir():
                # it is entered next
                path.chmod(0o700)
    return any(payload.iterdir())


def _remove_old(parent: Path, now: float) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            is_old = now - folder.lstat().st_mtime > _LEFT_SECONDS
            if not is_old or folder.is_symlink() or (lock := _lock(folder)) is None:
                continue
            _remove(folder)
            os.close(lock)


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        for root, folders, _files in os.walk(folder):
            for name in folders:
                path = Path(root, name)
                if not path.is_symlink() and not os.access(path, os.W_OK | os.X_OK):
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def adopt(partial: Path, key: str) -> None:
    """Make of a part of a file the stage that a copy of that file goes on with.

    Raises:
        OSError: It cannot be moved.
    """
    payload = partial.parent / f"{PREFIX}{key}" / PAYLOAD
    payload.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial.chmod(0o600)
    partial.replace(payload / partial.name)


def find_place(local: Path, name: str) -> Path:
    """Return the final path of what is called `name` at its source.

    Raises:
        TransferError: There is no folder for it.
    """
    try:
        is_folder, has_parent = local.is_dir(), local.absolute().parent.is_dir()
    except OSError as error:
        raise local_error("write to", local, error) from error
    if is_folder:
        return local.absolute() if name in {"", ".", "..", "~"} else local / name
    if str(local).endswith(os.sep):
        raise TransferError(f"there is no folder {local}", path=str(local))
    if not has_parent:
        raise TransferError(f"there is no folder {local.parent}", path=str(local))
    return local


def place(source: Path, final: Path) -> None:
    """Move a whole file or tree to its place; each file of a merge by rename.

    Raises:
        TransferError: Something there is in the way, or cannot be written.
    """
    try:
        if source.is_dir() and not source.is_symlink() and final.is_dir():
            for child in source.iterdir():
                place(child, final / child.name)
        elif final.is_dir() and not final.is_symlink():
            raise TransferError(f"{final} is there and is a folder", path=str(final))
        else:
            source.replace(final)
    except OSError as error:
        raise local_error("write", final, error) from error
