"""The name that marks the pods this machine rents, made up once and kept."""

import os
import secrets
from pathlib import Path

from runpod_client.errors import ConfigError


def ensure_owner(state_dir: Path) -> str:
    """Return the name in `<state>/owner`, which is made up on first use.

    Raises:
        ConfigError: It cannot be kept, or the file holds none.
    """
    path = state_dir / "owner"
    try:
        if not path.exists():
            _write_first(path, f"owner-{secrets.token_hex(6)}\n")
        name = path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot keep this machine's owner name in {path}: {error.strerror}",
            setting="state_dir",
            hint="Point RUNPOD_STATE_DIR at a folder that can be written.",
        ) from error
    if not name:
        # with no name, everybody's unmarked pods would look like ours
        raise ConfigError(
            f"{path} holds no owner name",
            setting="owner",
            hint="Write the name into it that your pods carry, or remove it.",
        )
    return name


def _write_first(path: Path, text: str) -> None:
    """Write a file whole unless somebody else has written it meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            # pods are marked with it at once: it must survive the machine's death
            os.fsync(file.fileno())
        # link, not rename: of two first runs one name must win for both
        os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
