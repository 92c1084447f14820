"""SSH identities: an Ed25519 key pair per pod, made before it and destroyed with it.

Private keys are encrypted from their first byte on disk; those of earlier versions,
in the clear, are encrypted when they are found. An identity is named by the intent it
was made for, which the pod carries as a mark. Files of `<state>/identities/<intent>/`,
a folder of mode 0700:

    id_ed25519, id_ed25519.pub   the pair to log in with now
    id_ed25519.next              made by a rotation, not yet proven
    id_ed25519.boot              once rotated: the first key, which the pod's environment
                                 names and every new start of it accepts again
    id_ed25519.rotated           the key that took its place, during one start
    rotation.json                that start, and public keys the pod may still accept

Every change is one rename, so that a process killed at any point leaves a key that the
pod accepts.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from runpod_client.errors import ConfigError
from runpod_client.identity_secret import IdentitySecret, derive_passphrase
from runpod_client.logs import get_logger
from runpod_client.model import Secret
from runpod_client.private_files import write_private
from runpod_client.rotation_record import RotationRecord
from runpod_client.sealed_keys import (
    is_sealed,
    make_key,
    read_public_key,
    seal,
    unseal,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY = "id_ed25519"
_PUBLIC = "id_ed25519.pub"
_NEXT = "id_ed25519.next"
_BOOT = "id_ed25519.boot"
_ROTATED = "id_ed25519.rotated"
_RECORD = "rotation.json"

_log = get_logger(__name__)


def _no_passphrase() -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A key pair; `public_key` is the authorized_keys line.

    Attributes:
        read_passphrase: Returns what the private key's file is encrypted with, None
            for a key in the clear. Raises `ConfigError` where it cannot be had.
    """

    private_key_file: Path
    public_key: str
    read_passphrase: Callable[[], str | None] = field(
        default=_no_passphrase, repr=False, compare=False
    )


class IdentityStore:
    """Key pairs under one folder.

    Args:
        secret: What the keys are encrypted with; None takes the one in a file, which
            is made up on first use.
        secret_file: That file. Beside the folder is one too, for where this one cannot
            be written, or is not named: a service has no home.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secret: Secret | None = None,
        secret_file: Path | None = None,
    ) -> None:
        self._folder = folder
        beside = folder.parent / "identity-secret"
        places = [secret_file, beside] if secret_file else [beside]
        self._secret = IdentitySecret(secret, places)

    @property
    def secret_file(self) -> Path | None:
        """Return the file with the secret; None where it is configured, or not made."""
        return self._secret.file

    def create(self, name: str) -> Identity:
        """Make a key pair, or return the one that is already there.

        Raises:
            ConfigError: The folder cannot be written, or there is no secret to
                encrypt the key with.
        """
        existing = self.find(name)
        if existing is not None:
            return existing
        self._write(name, _KEY, make_key(self._passphrase_for(name)))
        return self._open(name, _KEY)

    def find(self, name: str, *, start: str | None = None) -> Identity | None:
        """Return the key pair of that name, None when there is none.

        Args:
            start: The start of the pod that is to be logged in to; a key that was
                rotated in is good for one start only. None takes what is there.

        Raises:
            ConfigError: The key cannot be read.
        """
        path = self._path(name) / _KEY
        if not path.exists():
            return None
        if start is not None and (self._path(name) / _BOOT).exists():
            self._choose(name, start)
        self._seal_if_clear(name)
        return self._open(name, _KEY)

    def find_by_file(self, private_key_file: Path) -> Identity | None:
        """Return the identity whose private key is that file, None if none is."""
        folder = private_key_file.absolute().parent
        is_ours = folder.parent == self._folder.absolute()
        if not is_ours or private_key_file.name != _KEY:
            return None
        return self.find(folder.name) if _NAME.fullmatch(folder.name) else None

    def list_names(self) -> list[str]:
        """Return the names of all identities there are."""
        if not self._folder.is_dir():
            return []
        found = (path.name for path in self._folder.iterdir() if path.is_dir())
        return sorted(name for name in found if _NAME.fullmatch(name))

    def made_at(self, name: str) -> datetime | None:
        """Return when the key in use was made, None when there is none."""
        try:
            seconds = (self._path(name) / _KEY).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(seconds, UTC)

    def is_rotated(self, name: str) -> bool:
        """Return whether the key in use has taken the first one's place."""
        folder = self._path(name)
        return (folder / _BOOT).exists() and (
            _read(folder / _KEY) != _read(folder / _BOOT)
        )

    def is_unfinished(self, name: str) -> bool:
        """Return whether a rotation was cut short: the pod may accept old keys."""
        return bool(self._read_record(name).retired)

    def unseal(self, name: str) -> bytes:
        """Return the private key in the clear: for an agent's ears, never for a file.

        Raises:
            ConfigError: There is none, or it cannot be decrypted.
        """
        identity = self.find(name)
        if identity is None:
            raise ConfigError(f"there is no SSH identity {name!r}")
        passphrase = identity.read_passphrase()
        clear = unseal(identity.private_key_file.read_bytes(), passphrase or "")
        if clear is None:
            raise _wrong_secret(identity.private_key_file)
        return clear

    def remove(self, name: str) -> None:
        """Destroy a key pair; silent when it is already gone."""
        shutil.rmtree(self._path(name), ignore_errors=True)

    @contextlib.contextmanager
    def rotating(self, name: str) -> Iterator[None]:
        """Hold the right to rotate an identity.

        Raises:
            ConfigError: Somebody else holds it.
        """
        descriptor = os.open(self._path(name), os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"the SSH identity {name} is being rotated by another process",
                    hint="Wait for it to end.",
                ) from None
            yield
        finally:
            os.close(descriptor)

    def stage(self, name: str) -> Identity:
        """Make the key pair that is to take the present one's place.

        It counts as retired until it is adopted: the pod may have been told of it.
        """
        key = make_key(self._passphrase_for(name))
        record = self._read_record(name)
        retired = (*record.retired, read_public_key(key))
        self._write_record(name, replace(record, retired=retired))
        self._write(name, _NEXT, key)
        return self._open(name, _NEXT)

    def unstage(self, name: str) -> None:
        """Destroy what `stage` made."""
        (self._path(name) / _NEXT).unlink(missing_ok=True)

    def adopt(self, name: str, *, start: str) -> Identity:
        """Put the staged key in the present one's place, for this start of the pod.

        The present private key is destroyed, except for the first one: after the next
        start the pod accepts that one alone.
        """
        folder = self._path(name)
        present = (folder / _KEY).read_bytes()
        if not (folder / _BOOT).exists():
            self._write(name, _BOOT, present)
        record = self._read_record(name)
        retired = (*record.retired, read_public_key(present))
        # in this order: until the start is written, `_choose` keeps to the first key
        self._write_record(name, replace(record, retired=retired))
        (folder / _NEXT).replace(folder / _ROTATED)
        self._write_record(name, RotationRecord(start=start, retired=retired))
        self._choose(name, start)
        return self._open(name, _KEY)

    def list_retired(self, name: str) -> list[str]:
        """Return the public keys that the pod may still accept and must not."""
        current = read_public_key((self._path(name) / _KEY).read_bytes())
        boot = _read(self._path(name) / _BOOT)
        found = [*self._read_record(name).retired]
        found += [read_public_key(boot)] if boot else []
        return [key for key in dict.fromkeys(found) if key != current]

    def forget_retired(self, name: str) -> None:
        """Note that they have been taken off the pod."""
        self._write_record(name, replace(self._read_record(name), retired=()))

    def _choose(self, name: str, start: str) -> None:
        """Put in use the key that this start of the pod accepts."""
        folder = self._path(name)
        is_rotated = self._read_record(name).start == start
        wanted = _read(folder / (_ROTATED if is_rotated else _BOOT))
        if wanted and wanted != _read(folder / _KEY):
            self._write(name, _KEY, wanted)

    def _seal_if_clear(self, name: str) -> None:
        """Encrypt a key that an earlier version wrote in the clear."""
        path = self._path(name) / _KEY
        # a folder for reading only stays so; a key that cannot be read is told later
        with contextlib.suppress(ConfigError, OSError):
            key = path.read_bytes()
            if is_sealed(key):
                return
            self._write(name, _KEY, seal(key, self._passphrase_for(name)))
            _log.info("identity_sealed", path=str(path))

    def _open(self, name: str, file: str) -> Identity:
        path = self._path(name) / file
        try:
            key = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read the SSH key {path}: {error.strerror}",
                source=str(path),
            ) from error
        return Identity(
            private_key_file=path,
            public_key=f"{read_public_key(key)} runpod-{name}",
            read_passphrase=lambda: self._find_passphrase(name, path),
        )

    def _passphrase_for(self, name: str) -> str:
        return derive_passphrase(self._secret.ensure(), name)

    def _find_passphrase(self, name: str, path: Path) -> str | None:
        """Return what a key is encrypted with, whichever secret that was made from."""
        known = [derive_passphrase(s, name) for s in self._secret.list_known()]
        if len(known) == 1:
            return known[0]  # the usual case: who uses it will see whether it fits
        key = path.read_bytes()
        for passphrase in known:
            if unseal(key, passphrase) is not None:
                return passphrase
        raise _wrong_secret(path)

    def _read_record(self, name: str) -> RotationRecord:
        return RotationRecord.parse(_read(self._path(name) / _RECORD))

    def _write_record(self, name: str, record: RotationRecord) -> None:
        self._write(name, _RECORD, record.render())

    def _write(self, name: str, file: str, content: bytes) -> None:
        folder = self._path(name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file == _KEY:
                # the private half last: it is what tells that there is a pair
                line = f"{read_public_key(content)} runpod-{name}\n".encode()
                write_private(folder / _PUBLIC, line, mode=0o644)
            write_private(folder / file, content)
        except OSError as error:
            raise ConfigError(
                f"cannot write the SSH identity to {folder}: {error.strerror}",
                setting="state_dir",
                hint="Point RUNPOD_STATE_DIR at a folder that can be written.",
            ) from error

    def _path(self, name: str) -> Path:
        # names come back from the API in a pod's env: never let one walk the tree
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name an SSH identity")
        return self._folder / name


def _read(path: Path) -> bytes:
    """Return a file's content, nothing where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _wrong_secret(path: Path) -> ConfigError:
    return ConfigError(
        f"the SSH key {path} was encrypted with another identity secret",
        setting="identity_secret",
        source=str(path),
        hint="Put back the secret it was made with: RUNPOD_IDENTITY_SECRET_FILE, or "
        "the file identity-secret of the configuration folder.",
    )
