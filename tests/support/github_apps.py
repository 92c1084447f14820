"""A GitHub App with a key pair of its own, known to a served forge."""

import base64
import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from runner_installer.github_auth import AppAuthority
from runpod_client import Secret

from .forge import ServedForge

APP_ID = 4711
CLIENT_ID = "Iv23simulated"
GRANTED = {
    "administration": "write",
    "actions": "write",
    "repository_hooks": "write",
    "organization_self_hosted_runners": "write",
}


@dataclass(frozen=True)
class KeyPair:
    """An RSA key pair in PEM."""

    private: str
    public: str


def key_pair(number: int = 0) -> KeyPair:
    """Return a key pair, the same for the same number."""
    return _made_key_pair(number)


@functools.cache
def _made_key_pair(number: int) -> KeyPair:
    del number
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(private.decode(), public.decode())


def traditional(private: str) -> str:
    """Return a private key in the form GitHub gives it: BEGIN RSA PRIVATE KEY."""
    key = serialization.load_pem_private_key(private.encode(), None)
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


def register_app(
    served: ServedForge,
    *,
    permissions: Mapping[str, str] | None = None,
    accounts: Sequence[str] | None = None,
    repositories: Sequence[str] | None = None,
) -> None:
    """Make the forge know the App."""
    body = {
        "app_id": APP_ID,
        "client_id": CLIENT_ID,
        "public_key": key_pair().public,
        "permissions": dict(GRANTED if permissions is None else permissions),
    }
    body |= {} if accounts is None else {"accounts": list(accounts)}
    body |= {} if repositories is None else {"repositories": list(repositories)}
    served.order("/apps", body)


def reinstall_app(served: ServedForge, account: str) -> int:
    """Install the App anew on an account; return the new installation's id."""
    body = {"app_id": APP_ID, "account": account}
    return int(served.order("/installations", body)["id"])


def app_authority(**changes: Any) -> AppAuthority:
    """Return the App as our client acts for it."""
    facts: dict[str, Any] = {
        "app_id": str(APP_ID),
        "private_key": Secret(key_pair().private),
    }
    return AppAuthority(**{**facts, **changes})


def _encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_statement(
    *, issued_in: float = -60, ends_in: float = 480, number: int = 0, **changes: Any
) -> str:
    """Return a JSON web token; `changes` are of its head and its claims."""
    now = time.time()
    head = {"alg": changes.get("alg", "RS256"), "typ": "JWT"}
    claims = {
        "iat": changes.get("iat", int(now + issued_in)),
        "exp": changes.get("exp", int(now + ends_in)),
        "iss": changes.get("iss", str(APP_ID)),
    }
    signed = f"{_encoded(head)}.{_encoded(claims)}"
    key = serialization.load_pem_private_key(key_pair(number).private.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_encoded(signature)}"
