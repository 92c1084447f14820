"""Ed25519 keys as OpenSSH's private key files: made, encrypted, looked at from outside.

Bytes in, bytes out: it must not know where keys lie or whose they are. The format is
OpenSSH's PROTOCOL.key: the public half and the cipher's name stand in the clear.
"""

import base64
import binascii
import struct
from typing import TYPE_CHECKING

from runpod_client.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAGIC = b"openssh-key-v1\0"
# the passphrase has 256 random bits: more rounds would slow logins and stop nobody
_KDF_ROUNDS = 1


def make_key(passphrase: str) -> bytes:
    """Return a new private key, encrypted."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    return _export(ed25519.Ed25519PrivateKey.generate(), passphrase)


def seal(key: bytes, passphrase: str) -> bytes:
    """Return a private key that is in the clear, encrypted.

    Raises:
        ConfigError: It is no such key.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # 40 ms
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        loaded = serialization.load_ssh_private_key(key, None)
    except (ValueError, TypeError):
        raise _not_a_key() from None
    if not isinstance(loaded, ed25519.Ed25519PrivateKey):
        raise _not_a_key()
    return _export(loaded, passphrase)


def unseal(key: bytes, passphrase: str) -> bytes | None:
    """Return an encrypted key in the clear; None if the passphrase is another."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # 40 ms

    try:
        loaded = serialization.load_ssh_private_key(key, passphrase.encode())
    except (ValueError, TypeError):
        return None
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def is_sealed(key: bytes) -> bool:
    """Return whether a private key is encrypted.

    Raises:
        ConfigError: It is no private key in OpenSSH's format.
    """
    return _read_envelope(key)[0] != b"none"


def read_public_key(key: bytes) -> str:
    """Return the public half, as `ssh-ed25519 AAAA...`, without the passphrase.

    Raises:
        ConfigError: It is no private key in OpenSSH's format.
    """
    blob = _read_envelope(key)[1]
    (length,) = struct.unpack_from(">I", blob)
    kind = blob[4 : 4 + length].decode("ascii", "replace")
    return f"{kind} {base64.b64encode(blob).decode()}"


def _export(key: "Ed25519PrivateKey", passphrase: str) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # 40 ms

    encryption = (
        serialization.PrivateFormat.OpenSSH.encryption_builder()
        .kdf_rounds(_KDF_ROUNDS)
        .build(passphrase.encode())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption
    )


def _read_envelope(key: bytes) -> tuple[bytes, bytes]:
    """Return the cipher's name and the public half of a private key."""
    lines = [line.strip() for line in key.splitlines()]
    try:
        begin = lines.index(b"-----BEGIN OPENSSH PRIVATE KEY-----")
        end = lines.index(b"-----END OPENSSH PRIVATE KEY-----")
        raw = base64.b64decode(b"".join(lines[begin + 1 : end]), validate=True)
        if not raw.startswith(_MAGIC):
            raise _not_a_key()
        cipher, offset = _read_string(raw, len(_MAGIC))
        for _field in ("kdf name", "kdf options"):
            _, offset = _read_string(raw, offset)
        public, _ = _read_string(raw, offset + 4)  # past the number of keys
    except (ValueError, binascii.Error, struct.error):
        raise _not_a_key() from None
    return cipher, public


def _read_string(raw: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", raw, offset)
    end = offset + 4 + length
    if end > len(raw):
        raise _not_a_key()
    return raw[offset + 4 : end], end


def _not_a_key() -> ConfigError:
    return ConfigError("this is no private Ed25519 key in OpenSSH's format")
