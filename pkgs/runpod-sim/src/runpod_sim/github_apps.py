"""GitHub Apps of the simulated GitHub: who signed a statement, and where it may act.

An App proves who it is with a JSON web token signed by its private key, and gets for it
tokens of one of its installations. It must not know HTTP. What GitHub documents:

- the signature is RS256 and must be sent as Bearer;
- `iat` may not lie in the future, `exp` not in the past nor over ten minutes ahead;
- a token is never allowed more than its installation, nor than it was narrowed to.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from runpod_sim.forge import Forge
from runpod_sim.forge_model import InstallationToken, RefusedError, Scope, ScopeKind

MAX_STATEMENT_LIFE = timedelta(minutes=10)
_NOT_DECODED = "A JSON web token could not be decoded"
_NOT_YET = (
    "'Issued at' claim ('iat') must be an Integer representing the time that the "
    "assertion was issued"
)
_OVER = (
    "'Expiration time' claim ('exp') must be a numeric value representing the future "
    "time at which the assertion expires"
)
_TOO_LONG = "'Expiration time' claim ('exp') is too far in the future"
_NOT_GRANTED = "The permissions requested are not granted to this installation."
_NO_SUCH_REPOSITORY = (
    "There is at least one repository that does not exist or is not accessible to the "
    "parent installation."
)
_LEVELS = {"read": 1, "write": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App.

    Args:
        accounts: Where it is installed, in lower case; None is everywhere.
        repositories: What its installations may see, in lower case; None is all.
    """

    id: int
    client_id: str
    key: RSAPublicKey = field(repr=False)
    permissions: tuple[tuple[str, str], ...]
    accounts: frozenset[str] | None = None
    repositories: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """An App on one account."""

    id: int
    app_id: int
    account: str


class Apps:
    """The Apps of one served forge."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._apps: dict[int, App] = {}
        self._installations: dict[int, Installation] = {}
        self._next_installation = 7001

    def create(self, app: App) -> App:
        """Register an App, or change it."""
        self._apps[app.id] = app
        return app

    def install(self, app: App, account: str) -> Installation:
        """Install an App anew: what it had there before is no longer valid."""
        for old in list(self._installations.values()):
            if (old.app_id, old.account) == (app.id, account.casefold()):
                del self._installations[old.id]
        made = Installation(self._next_installation, app.id, account.casefold())
        self._next_installation += 1
        self._installations[made.id] = made
        if app.accounts is not None:
            self.create(replace(app, accounts=app.accounts | {made.account}))
        return made

    def get(self, app_id: int) -> App:
        """Return the App of that id.

        Raises:
            RefusedError: 404: there is none.
        """
        if app_id not in self._apps:
            raise RefusedError(404, "Integration not found")
        return self._apps[app_id]

    def find_installation(self, app: App, scope: Scope) -> Installation:
        """Return where the App is installed for a scope.

        Raises:
            RefusedError: 404: it is not.
        """
        account = scope.key.partition("/")[0]
        if app.accounts is not None and account not in app.accounts:
            raise RefusedError(404, "Not Found")
        is_repository = scope.kind is ScopeKind.REPOSITORY
        if is_repository and not _covers(app, scope.key):
            raise RefusedError(404, "Not Found")
        for found in self._installations.values():
            if (found.app_id, found.account) == (app.id, account):
                return found
        return self.install(app, account)

    def create_token(
        self,
        app: App,
        installation_id: int,
        permissions: dict[str, str],
        repositories: Sequence[str],
    ) -> InstallationToken:
        """Mint a token, narrowed as asked.

        Raises:
            RefusedError: 404 for the installation, 422 for more than it may.
        """
        found = self._installations.get(installation_id)
        if found is None or found.app_id != app.id:
            raise RefusedError(404, "Not Found")
        granted = dict(app.permissions)
        for name, level in permissions.items():
            if _LEVELS.get(level, 9) > _LEVELS.get(granted.get(name, ""), 0):
                raise RefusedError(422, _NOT_GRANTED)
        for name in repositories:
            if not _covers(app, f"{found.account}/{name}".casefold()):
                raise RefusedError(422, _NO_SUCH_REPOSITORY)
        return self._forge.create_installation_token(
            permissions or granted, repositories, account=found.account
        )

    def authenticate(self, scheme: str, credential: str) -> App:
        """Return the App that signed a statement.

        Raises:
            RefusedError: 401 for the statement, 404 for an App that is not known.
        """
        if scheme != "bearer":
            raise RefusedError(401, _NOT_DECODED)
        signed, signature, claims = _parse(credential)
        app = self._find(claims.get("iss"))
        try:
            app.key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise RefusedError(401, _NOT_DECODED) from None
        _check_times(claims, self._forge.clock.now())
        return app

    def _find(self, issuer: Any) -> App:
        for app in self._apps.values():
            if str(issuer) in {str(app.id), app.client_id}:
                return app
        raise RefusedError(404, "Integration not found")


def parse_public_key(pem: str) -> RSAPublicKey:
    """Read an App's public key.

    Raises:
        RefusedError: 422: it is no RSA key in PEM.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        raise RefusedError(422, "'public_key' must be a PEM block") from None
    if not isinstance(key, RSAPublicKey):
        raise RefusedError(422, "'public_key' must be an RSA key")
    return key


def _covers(app: App, repository: str) -> bool:
    return app.repositories is None or repository in app.repositories


def _parse(credential: str) -> tuple[bytes, bytes, dict[str, Any]]:
    """Split a JSON web token into what is signed, the signature and the claims."""
    parts = credential.split(".")
    try:
        head, claims = (json.loads(_decode(part)) for part in parts[:2])
        signature = _decode(parts[2])
    except (ValueError, IndexError, binascii.Error):
        raise RefusedError(401, _NOT_DECODED) from None
    is_fit = isinstance(head, dict) and head.get("alg") == "RS256"
    if len(parts) != 3 or not is_fit or not isinstance(claims, dict):
        raise RefusedError(401, _NOT_DECODED)
    return ".".join(parts[:2]).encode(), signature, claims


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > now.timestamp():
        raise RefusedError(401, _NOT_YET)
    if not isinstance(expires, int | float) or expires <= now.timestamp():
        raise RefusedError(401, _OVER)
    if expires > (now + MAX_STATEMENT_LIFE).timestamp():
        raise RefusedError(401, _TOO_LONG)
