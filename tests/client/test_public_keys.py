import base64
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import ConfigError
from runpod_client.public_keys import parse_public_key, parse_public_keys


def make_line(comment: str = "") -> str:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return f"{render_line(public)} {comment}".rstrip()


def render_line(
    public: ed25519.Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> str:
    return public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode()


def pack(*fields: bytes) -> str:
    data = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return base64.b64encode(data).decode()


def make_security_key() -> str:
    kind = b"sk-ssh-ed25519@openssh.com"
    point = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return f"{kind.decode()} {pack(kind, point, b'ssh:')}"


LINES: Mapping[str, Callable[[], str]] = {
    "ed25519": make_line,
    "rsa-2048": lambda: render_line(rsa.generate_private_key(65537, 2048).public_key()),
    "rsa-3072": lambda: render_line(rsa.generate_private_key(65537, 3072).public_key()),
    "ecdsa-256": lambda: render_line(
        ec.generate_private_key(ec.SECP256R1()).public_key()
    ),
    "ecdsa-384": lambda: render_line(
        ec.generate_private_key(ec.SECP384R1()).public_key()
    ),
    "ecdsa-521": lambda: render_line(
        ec.generate_private_key(ec.SECP521R1()).public_key()
    ),
    "security-key": make_security_key,
}


@pytest.mark.parametrize("kind", LINES)
def test_fingerprint_and_size_are_those_of_ssh_keygen(
    kind: str, tmp_path: Path
) -> None:
    line = LINES[kind]()
    (tmp_path / "key.pub").write_text(line + "\n")

    key = parse_public_key(f"{line} me@example.com")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", "key.pub"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()

    assert [str(key.bits), key.fingerprint] == shown[:2]
    assert key.line == f"{line} me@example.com"


@pytest.mark.parametrize(
    ("kind", "is_warned"), [("rsa-2048", True), ("rsa-3072", False), ("ed25519", False)]
)
def test_weak_key_is_warned_of(kind: str, *, is_warned: bool) -> None:
    key = parse_public_key(LINES[kind]())

    assert bool(key.warning) is is_warned


# the library warns of DSA itself, which is what this test is about
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_dsa_is_warned_of() -> None:
    numbers = dsa.generate_private_key(2048).public_key().public_numbers()
    parameters = numbers.parameter_numbers
    fields = (parameters.p, parameters.q, parameters.g, numbers.y)
    blob = pack(
        b"ssh-dss", *(f.to_bytes(f.bit_length() // 8 + 1, "big") for f in fields)
    )

    key = parse_public_key(f"ssh-dss {blob}")

    assert key.bits == 2048
    assert "DSA" in key.warning


ED25519 = b"ssh-ed25519"
BAD_LINES = {
    "no-key": "hello",
    "type-alone": "ssh-ed25519",
    "unknown-type": f"ssh-kyber {pack(b'ssh-kyber', b'x' * 32)}",
    "other-type-inside": f"ssh-rsa {pack(ED25519, b'x' * 32)}",
    "no-base64": "ssh-ed25519 AAAA!!!!",
    "short": f"ssh-ed25519 {pack(ED25519, b'x' * 31)}",
    "cut": f"ssh-ed25519 {pack(ED25519, b'x' * 32)[:-8]}",
    "trailing": f"ssh-ed25519 {pack(ED25519, b'x' * 32, b'more')}",
    "rsa-without-modulus": f"ssh-rsa {pack(b'ssh-rsa', b'x')}",
    "wrong-curve": "ecdsa-sha2-nistp256 "
    + pack(b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"x" * 64),
    "compressed-point": "ecdsa-sha2-nistp256 "
    + pack(b"ecdsa-sha2-nistp256", b"nistp256", b"\x02" + b"x" * 32),
    "unknown-curve": "ecdsa-sha2-nistp1 "
    + pack(b"ecdsa-sha2-nistp1", b"nistp1", b"\x04"),
    "options-before": f'no-pty,command="x" {make_line()}',
    "escape-in-comment": f"{make_line()} \x1b[2J",
    "endless": f"{make_line()} {'x' * 20_000}",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_line_that_is_no_key_is_refused_without_being_repeated(name: str) -> None:
    line = BAD_LINES[name]

    with pytest.raises(ConfigError) as raised:
        parse_public_key(line)

    assert line.split()[-1] not in raised.value.message


def test_private_key_is_refused_and_not_repeated() -> None:
    text = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n"

    with pytest.raises(ConfigError, match="private key") as raised:
        parse_public_keys(text)

    assert "b3Bl" not in raised.value.message
    assert ".pub" in raised.value.hint


def test_file_of_several_keys_is_read_past_comments_and_empty_lines() -> None:
    lines = [make_line("a"), "", "# old ones", make_line("b c")]

    keys = parse_public_keys("\n".join(lines))

    assert [key.comment for key in keys] == ["a", "b c"]


def test_file_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError):
        parse_public_keys("# nothing\n\n")


@given(st.text(max_size=60), st.binary(max_size=80))
def test_any_text_is_a_key_or_refused(words: str, data: bytes) -> None:
    for line in (words, f"ssh-ed25519 {base64.b64encode(data).decode()} {words}"):
        try:
            key = parse_public_key(line)
        except ConfigError:
            continue
        assert key.bits == 256
