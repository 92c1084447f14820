"""The keys a login offers: a file, a token's, an agent's; each read only when needed.

They are offered in that order. A key that cannot be used is told in one sentence that
names the file or the library and never what is in it. Keys of hardware (FIDO) come
through the agent, or through their file where the fido2 library is installed.

As for ssh, a file may hold the public half alone: that picks one key of the agent's,
which may hold more than a server has patience for.
"""

import asyncio
import base64
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncssh

from runpod_client import SSHAddress
from runpod_ssh.errors import SSHAuthenticationError
from runpod_ssh.model import Credentials
from runpod_ssh.ssh_failures import reason_of

Keys = Sequence[asyncssh.SSHKeyPair]

_AGENT_SECONDS = 5.0
# in the order OpenSSH has them today
_USUAL_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")


class KeyRing:
    """The keys for one login; `close` it when the login is over."""

    def __init__(self, credentials: Credentials, address: SSHAddress) -> None:
        self._credentials = credentials
        self._address = address
        self._agent: asyncssh.SSHAgentClient | None = None
        self._identity: Keys = ()
        self._groups = self._find_groups()

    async def prepare(self, own_files: Sequence[Path] = ()) -> None:
        """Read the identity now, so that an unusable one fails before all else.

        Args:
            own_files: Offered where the credentials name no identity; empty for the
                usual ones in ~/.ssh. Those that cannot be used are passed over.

        Raises:
            SSHAuthenticationError: The identity cannot be read.
        """
        path = self._credentials.identity_file
        if path is not None:
            self._identity = await self._read_identity(path)
        else:
            folder = Path.home() / ".ssh"
            files = own_files or [folder / name for name in _USUAL_NAMES]
            self._identity = [key for file in files for key in _read_if_usable(file)]

    async def next(self) -> Keys:
        """Return the next keys to offer, none at the end.

        Raises:
            SSHAuthenticationError: A token cannot be used.
        """
        async for keys in self._groups:
            if keys:
                return keys
        return ()

    def close(self) -> None:
        """Let the agent go."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    async def _find_groups(self) -> AsyncIterator[Keys]:
        yield self._identity
        if self._credentials.pkcs11_provider is not None:
            yield await self._read_token(self._credentials.pkcs11_provider)
        if self._credentials.agent_path:
            yield await self._ask_agent(self._credentials.agent_path)

    async def _read_identity(self, path: Path) -> Keys:
        try:
            public_file = _find_public_half(path)
            if public_file is not None:
                return await self._pick_from_agent(public_file)
            clear = _read_if_clear(path)
            if clear is not None:
                return clear
            # in a thread: the passphrase may come from a program, and its key
            # derivation is made to be slow
            return await asyncio.to_thread(self._decrypt, path)
        except (OSError, ValueError, asyncssh.KeyImportError) as error:
            raise SSHAuthenticationError(
                f"cannot use the private key {path}: {reason_of(error)}",
                address=self._address,
                hint="Name a readable private key, or use ssh-agent.",
            ) from error

    async def _pick_from_agent(self, public_file: Path) -> Keys:
        line = asyncssh.read_public_key(public_file).export_public_key()
        blob = base64.b64decode(line.split()[1])
        path = self._credentials.agent_path
        keys = await self._ask_agent(path, (blob,)) if path else ()
        if keys:
            return keys
        reason = "ssh-agent does not hold it" if path else "there is no ssh-agent"
        raise SSHAuthenticationError(
            f"cannot use the key {public_file}: {reason}, and its private half is "
            "nowhere else",
            address=self._address,
            hint="Load it into ssh-agent (ssh-add FILE), or name its private key.",
        )

    def _decrypt(self, path: Path) -> Keys:
        passphrase = self._credentials.read_passphrase()
        if passphrase is None:
            raise SSHAuthenticationError(
                f"the private key {path} is encrypted and there is no passphrase",
                address=self._address,
                hint=f"Load it into ssh-agent (ssh-add {path}) and leave --identity.",
            )
        return asyncssh.load_keypairs(str(path), passphrase)

    async def _read_token(self, provider: Path) -> Keys:
        return await asyncio.to_thread(self._open_token, provider)

    def _open_token(self, provider: Path) -> Keys:
        try:
            # the library's own errors; it is there only for who uses a token
            exceptions = importlib.import_module("pkcs11.exceptions")
        except ImportError as error:
            raise self._no_token(
                provider, "python-pkcs11 is not installed", "pip install python-pkcs11"
            ) from error
        if not provider.is_file():
            raise self._no_token(
                provider,
                "there is no such library",
                "Set [ssh] pkcs11_provider to the token's library, for instance "
                "/usr/lib/softhsm/libsofthsm2.so.",
            )
        pin = self._credentials.read_pkcs11_pin()
        try:
            keys = _load_token_keys(str(provider), pin)
        except (exceptions.PinIncorrect, exceptions.PinLenRange) as error:
            raise self._no_token(
                provider,
                "the PIN is wrong",
                "Correct it before the token locks: RUNPOD_SSH_PKCS11_PIN.",
            ) from error
        except exceptions.PinLocked as error:
            raise self._no_token(
                provider, "the PIN is locked", "Unlock it with the token's own tool."
            ) from error
        except (exceptions.PKCS11Error, RuntimeError, ValueError) as error:
            raise self._no_token(
                provider,
                reason_of(error),
                "Is the token plugged in, and [ssh] pkcs11_provider its library?",
            ) from error
        if not keys:
            raise self._no_token(
                provider,
                "it has no token with a key to sign with",
                "Is it plugged in? A token shows its keys only with the PIN: "
                "RUNPOD_SSH_PKCS11_PIN.",
            )
        return keys

    def _no_token(
        self, provider: Path, reason: str, hint: str
    ) -> SSHAuthenticationError:
        return SSHAuthenticationError(
            f"cannot use the token behind {provider}: {reason}",
            address=self._address,
            hint=hint,
        )

    async def _ask_agent(self, path: str, wanted: Sequence[bytes] = ()) -> Keys:
        """Return the agent's keys; one that does not answer has none, as for ssh.

        Args:
            wanted: Public halves; empty for all.
        """
        self.close()
        try:
            async with asyncio.timeout(_AGENT_SECONDS):
                self._agent = await asyncssh.connect_agent(path)
                return await self._agent.get_keys(wanted or None)
        except (OSError, ValueError, TimeoutError, asyncssh.Error):
            return ()


def _load_token_keys(provider: str, pin: str | None) -> Keys:
    """Return the keys of all tokens behind a library."""
    pkcs11 = importlib.import_module("pkcs11")
    return [
        key
        for token in pkcs11.lib(provider).get_tokens()
        # an empty slot shows a token without a serial number
        if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags
        for key in _load_keys_of(pkcs11, provider, token, pin)
    ]


def _load_keys_of(pkcs11: Any, provider: str, token: Any, pin: str | None) -> Keys:
    load = functools.partial(
        asyncssh.load_pkcs11_keys,
        provider,
        pin,
        load_certs=False,
        token_serial=token.serial,
    )
    hides_public_half = pkcs11.exceptions.AttributeTypeInvalid
    with contextlib.suppress(hides_public_half):
        return load()
    # SoftHSM does so with elliptic keys; the token's others are good all the same
    wanted = {
        pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
        pkcs11.Attribute.SIGN: True,
    }
    with token.open(user_pin=pin) as session:
        labels = {str(key.label) for key in session.get_objects(wanted)}
    found: list[asyncssh.SSHKeyPair] = []
    for label in sorted(labels):
        with contextlib.suppress(hides_public_half):
            found += load(key_label=label)
    return found


def _find_public_half(path: Path) -> Path | None:
    """Return the file of a key whose private half is in no file, else None."""
    beside = path.with_name(f"{path.name}.pub")
    if not path.exists() and beside.exists():
        return beside
    return path if path.suffix == ".pub" else None


def _read_if_clear(path: Path) -> Keys | None:
    """Return the keys of a file; None if they are encrypted."""
    try:
        return asyncssh.load_keypairs(str(path))
    except asyncssh.KeyImportError as error:
        # asyncssh has no class of its own for it; KeyEncryptionError is for writing
        if "assphrase" in str(error):
            return None
        raise


def _read_if_usable(path: Path) -> Keys:
    try:
        return asyncssh.load_keypairs(str(path))
    except (OSError, ValueError, asyncssh.KeyImportError):
        return ()
