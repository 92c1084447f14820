"""The SSH identity of each pod: an Ed25519 key pair of its own, gone when the pod is.

The pair is made before the pod exists, since the public half must travel with the
create; it is therefore filed under the intent's id, which the pod carries as a mark.
Files: `<state>/identities/<intent id>/id_ed25519{,.pub}`, folder 0700, key 0600.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from runpod_client.errors import ConfigError
from runpod_client.private_files import write_private

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A key pair; `public_key` is the authorized_keys line."""

    private_key_file: Path
    public_key: str


class IdentityStore:
    """Key pairs under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str) -> Identity:
        """Make a key pair, or return the one that is already there.

        Raises:
            ConfigError: The folder cannot be written.
        """
        existing = self.find(name)
        if existing is not None:
            return existing
        private, public = _generate(comment=f"runpod-{name}")
        folder = self._path(name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            public_file = folder / "id_ed25519.pub"
            write_private(public_file, public.encode() + b"\n", mode=0o644)
            # the private half last: find() sees the pair only when it is whole
            write_private(folder / "id_ed25519", private)
        except OSError as error:
            raise ConfigError(
                f"cannot write the SSH identity to {folder}: {error.strerror}",
                setting="state_dir",
                hint="Point RUNPOD_STATE_DIR at a folder that can be written.",
            ) from error
        return Identity(private_key_file=folder / "id_ed25519", public_key=public)

    def find(self, name: str) -> Identity | None:
        """Return the key pair of that name, None when there is none."""
        folder = self._path(name)
        try:
            public = (folder / "id_ed25519.pub").read_text().strip()
        except OSError:
            return None
        private = folder / "id_ed25519"
        if not private.exists():
            return None
        return Identity(private_key_file=private, public_key=public)

    def remove(self, name: str) -> None:
        """Destroy a key pair; silent when it is already gone."""
        shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, name: str) -> Path:
        # names come back from the API in a pod's env: never let one walk the tree
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name an SSH identity")
        return self._folder / name


def _generate(*, comment: str) -> tuple[bytes, str]:
    """Return a new private key in OpenSSH's format and its public line."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # 40 ms
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, f"{public.decode()} {comment}"
