"""Public SSH keys as authorized_keys lines: reading, checking, fingerprints; pure.

It must not know where keys are kept. No error repeats a line whole: people paste
private keys by mistake.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from runpod_client.errors import ConfigError

MAX_LINE_LENGTH = 16_384
MIN_RSA_BITS = 3072
# what has to stand where, RFC 4253, 5656 and 8709 and OpenSSH's PROTOCOL.u2f
_ED25519_BYTES = 32
_CURVE_BITS: Mapping[str, int] = {"nistp256": 256, "nistp384": 384, "nistp521": 521}
_SECURITY_KEYS = frozenset(
    {"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"}
)
_HINT = "Give the .pub file, for instance ~/.ssh/id_ed25519.pub."


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A checked public key.

    Attributes:
        key_type: As the line spells it, for instance `ssh-ed25519`.
        blob: The key itself in base64.
        bits: Its size as ssh-keygen counts it.
    """

    key_type: str
    blob: str
    comment: str
    bits: int

    @property
    def line(self) -> str:
        """Return the authorized_keys line."""
        return f"{self.key_type} {self.blob} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as OpenSSH writes it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def warning(self) -> str:
        """Return why the key should be replaced; empty when it need not be."""
        if self.key_type == "ssh-dss":
            return "DSA is broken, and OpenSSH no longer accepts it"
        if self.key_type == "ssh-rsa" and self.bits < MIN_RSA_BITS:
            return f"RSA with {self.bits} bits is weak; use ed25519, or 3072 bits"
        return ""


def parse_public_keys(text: str, *, source: str = "") -> list[PublicKey]:
    """Return the keys of an authorized_keys or .pub file; empty lines count as none.

    Raises:
        ConfigError: There is none, or a line is no public key.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [
        parse_public_key(line, source=source)
        for line in lines
        if line and not line.startswith("#")
    ]
    if not keys:
        raise ConfigError("there is no public key in it", source=source, hint=_HINT)
    return keys


def parse_public_key(
    line: str, *, comment: str | None = None, source: str = ""
) -> PublicKey:
    """Return the key of one line: its type, base64 and perhaps a comment.

    Args:
        comment: Takes the place of the line's own.
        source: Where the line came from, for errors.

    Raises:
        ConfigError: It is no public key, or is cut or damaged.
    """
    if "PRIVATE KEY" in line:
        raise ConfigError("this is a private key", source=source, hint=_HINT)
    words = line.split(None, 2)
    if len(words) < 2 or len(line) > MAX_LINE_LENGTH:
        raise ConfigError("this is no public SSH key", source=source, hint=_HINT)
    key_type, blob = words[:2]
    remark = words[2] if comment is None and len(words) == 3 else comment or ""
    if not remark.isprintable():
        raise ConfigError("the key's comment has control characters", source=source)
    try:
        bits = _measure(key_type, _decode(blob))
    except _NoKeyError as error:
        raise ConfigError(
            f"the public key is damaged: {error}", source=source, hint=_HINT
        ) from error
    return PublicKey(key_type=key_type, blob=blob, comment=remark.strip(), bits=bits)


class _NoKeyError(ValueError):
    """The bytes are no key; the message says why."""


def _decode(blob: str) -> bytes:
    try:
        return base64.b64decode(blob, validate=True)
    except ValueError as error:
        raise _NoKeyError("it is not whole base64") from error


def _measure(key_type: str, data: bytes) -> int:
    """Return a key's size in bits, having read it to its last byte."""
    fields = _split(data)
    if not fields or fields[0] != key_type.encode():
        raise _NoKeyError("it does not hold the type it says it is")
    rest = fields[1:]
    if key_type in _SECURITY_KEYS:
        *rest, _application = rest or [b""]
    if key_type in {"ssh-ed25519", "sk-ssh-ed25519@openssh.com"}:
        return _measure_ed25519(rest)
    if key_type == "ssh-rsa" and len(rest) == 2:
        return int.from_bytes(rest[1], "big").bit_length()
    if key_type == "ssh-dss" and len(rest) == 4:
        return int.from_bytes(rest[0], "big").bit_length()
    if key_type.removeprefix("sk-").startswith("ecdsa-sha2-"):
        return _measure_ecdsa(key_type, rest)
    raise _NoKeyError("its type is unknown, or parts of it are missing")


def _measure_ed25519(fields: list[bytes]) -> int:
    if [len(field) for field in fields] != [_ED25519_BYTES]:
        raise _NoKeyError(f"an ed25519 key has {_ED25519_BYTES} bytes")
    return _ED25519_BYTES * 8


def _measure_ecdsa(key_type: str, fields: list[bytes]) -> int:
    curve = key_type.removeprefix("sk-").removeprefix("ecdsa-sha2-").partition("@")[0]
    bits = _CURVE_BITS.get(curve)
    if bits is None or len(fields) != 2 or fields[0] != curve.encode():
        raise _NoKeyError("its curve is unknown, or not the one it says")
    # an uncompressed point: a 4, then both coordinates
    if len(fields[1]) != 1 + 2 * ((bits + 7) // 8) or fields[1][0] != 4:
        raise _NoKeyError(f"its point does not fit {curve}")
    return bits


def _split(data: bytes) -> list[bytes]:
    """Return the length-prefixed fields of a key; refuse a cut one."""
    fields = []
    offset = 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        offset += 4 + length
        if offset > len(data):
            raise _NoKeyError("it is cut short")
        fields.append(data[offset - length : offset])
    return fields
