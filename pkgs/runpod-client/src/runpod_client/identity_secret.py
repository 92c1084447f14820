"""The secret that SSH keys are encrypted with on disk, and what is derived from it.

It comes from the settings (a secret store), else from a file that is made up on first
use. That file lies outside the state folder, so that a copy or a backup of the state
folder holds no key anybody can use. It does not protect against who can read all files
of the user: for that, configure the secret.

It must not know keys or pods.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from runpod_client.errors import ConfigError
from runpod_client.logs import get_logger
from runpod_client.model import Secret

# a key's file costs a guesser one round of bcrypt: the secret itself must be long
MIN_LENGTH = 20
_MAKE_ONE = "Make one of at least 20 characters: openssl rand -hex 32"

_log = get_logger(__name__)


class IdentitySecret:
    """The secret of one user: configured, or kept in a file of its own.

    Args:
        configured: From the settings; None where none is set.
        places: Files it is looked for in, and made up in: the first that can be
            written.
    """

    def __init__(self, configured: Secret | None, places: Sequence[Path]) -> None:
        self._configured = configured
        self._places = tuple(places)

    def list_known(self) -> list[Secret]:
        """Return the secrets there are: the configured one, then those in files.

        What was encrypted before a secret was configured stays readable this way.

        Raises:
            ConfigError: One is too short, or a file cannot be read.
        """
        found = [self._configured] if self._configured else []
        found += [text for place in self._places if (text := _read(place))]
        for secret in found:
            _check(secret)
        return list(dict.fromkeys(found))

    def ensure(self) -> Secret:
        """Return the secret to encrypt with, made up where there is none.

        Raises:
            ConfigError: It is too short, or none can be kept.
        """
        known = self.list_known()
        return known[0] if known else self._make_up()

    @property
    def file(self) -> Path | None:
        """Return the file that holds it, None where it is configured or not made."""
        if self._configured:
            return None
        return next((place for place in self._places if place.exists()), None)

    def _make_up(self) -> Secret:
        failures: list[OSError] = []
        for place in self._places:
            try:
                _write_first(place, f"{secrets.token_hex(32)}\n")
            except OSError as error:
                failures.append(error)
                continue
            if failures:
                _log.warning("identity_secret_displaced", path=str(place))
            made = _read(place)
            if made:
                return made
        raise ConfigError(
            f"cannot keep the secret for SSH keys in {self._places[0]}: "
            f"{failures[0].strerror if failures else 'it is empty'}",
            setting="identity_secret",
            hint="Set RUNPOD_IDENTITY_SECRET_FILE to a file that holds one. "
            + _MAKE_ONE,
        )


def derive_passphrase(secret: Secret, name: str) -> str:
    """Return the passphrase of one key, which tells nothing of the others'."""
    return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()


def _check(secret: Secret) -> None:
    if len(secret) < MIN_LENGTH:
        raise ConfigError(
            f"the secret for SSH keys is too short ({len(secret)} characters)",
            setting="identity_secret",
            hint=_MAKE_ONE,
        )


def _read(place: Path) -> Secret | None:
    try:
        text = place.read_text().strip()
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        if not os.access(place.parent, os.X_OK):
            return None  # a service has no home: the next place is for it
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ConfigError(
            f"cannot read the secret for SSH keys in {place}: {reason}",
            setting="identity_secret",
            source=str(place),
            hint="Make it readable for you alone (chmod 600), or put back the one it "
            "was: keys that were encrypted with it open with no other.",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the secret for SSH keys, {place}, is open to other users "
            f"(mode {mode & 0o777:o})",
            setting="identity_secret",
            source=str(place),
            hint=f"Close it: chmod 600 {place}",
        )
    return Secret(text) if text else None


def _write_first(path: Path, text: str) -> None:
    """Write a file whole unless somebody else has written it meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            # keys are encrypted with it at once: it must survive the machine's death
            os.fsync(file.fileno())
        # link, not rename: of two first runs one secret must win for both
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
