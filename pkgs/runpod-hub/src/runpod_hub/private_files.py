"""Files that only their owner may read: made whole, 0600, in a 0700 folder."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from runpod_client import ConfigError, Secret


def ensure_folder(folder: Path) -> None:
    """Make the folder with mode 0700, or close an open one.

    Raises:
        ConfigError: It cannot be made or is not ours.
    """
    try:
        # mkdir's own `parents` would make those with the umask's mode
        for each in reversed([folder, *folder.parents]):
            if not each.exists():
                each.mkdir(mode=0o700, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot use the folder {folder}: {error.strerror}",
            setting="state_dir",
            hint="Point RUNPOD_HUB_STATE_DIR at a folder that can be written.",
        ) from error


def ensure_secret(path: Path) -> Secret:
    """Return the secret in the file, making a new random one the first time.

    Safe when two processes come at once: both return what the first one wrote.

    Raises:
        ConfigError: The file cannot be read or written.
    """
    ensure_folder(path.parent)
    try:
        if not path.exists():
            _create(path, secrets.token_urlsafe(32))
        text = path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot use the secret file {path}: {error.strerror}",
            setting="state_dir",
        ) from error
    if not text:
        raise ConfigError(
            f"the secret file {path} is empty",
            hint="Remove it; the hub makes a new one.",
        )
    return Secret(text)


def _create(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        # a link, unlike a rename, never replaces what another process has written
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
