"""Which token a call carries: one that was given, or an App's, made for the purpose.

A GitHub App signs a statement of who it is (a JWT, good for minutes) and gets for it an
installation token, good for an hour. Here each such token is narrowed to the one
permission and the one repository it is used for, is kept in memory alone, and is
renewed before its end. It must not know how calls are sent: it is handed an `Exchange`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol

from runner_installer.github_needs import (
    Need,
    TokenKind,
    explain_need,
    find_permission,
    find_token_kind,
    name_permission,
)
from runner_installer.github_refusals import (
    Asked,
    check_answer,
    explain_clock_skew,
    find_clock_skew,
    read_limits,
)
from runner_installer.github_wire import (
    Answer,
    InstallationWire,
    TokenWire,
    decode,
    parse_message,
)
from runner_installer.model import Scope, ScopeKind
from runpod_client import (
    APIError,
    AuthenticationError,
    ConfigError,
    NotFoundError,
    Secret,
)
from runpod_client.logs import get_logger

# GitHub refuses a statement from the future and one that ends in over ten minutes;
# clocks differ, so it is dated back and ends early
_BACKDATED_SECONDS = 60
_STATEMENT_SECONDS = 9 * 60
_RENEW_BEFORE_SECONDS = 300.0
_RENEW_AGAIN_SECONDS = 30.0
_TOKEN_SECONDS = 3600.0
_KEY_HINT = (
    "Point GITHUB_APP_PRIVATE_KEY_FILE at the .pem file that GitHub gave for the App."
)

log = get_logger(__name__)


class Exchange(Protocol):
    """Sends one call as the App itself and returns whatever GitHub answers."""

    def __call__(
        self, method: str, path: str, operation: str, *, token: Secret, body: Any = None
    ) -> Answer:
        """Send it; repeated by itself where no answer came."""


class Authority(Protocol):
    """Whoever has the tokens."""

    @property
    def identity(self) -> str:
        """Tell credentials apart; it may be a secret."""

    @property
    def kind(self) -> TokenKind:
        """Return what sort of token it gives, for explanations."""

    def find_token(self, scope: Scope, need: Need, exchange: Exchange) -> Secret:
        """Return the token for calls of this sort."""

    def forget(self, scope: Scope, need: Need, token: Secret) -> bool:
        """Drop a token that was refused; tell whether there may be a better one."""


class TokenAuthority:
    """One token for everything: a personal one, or a workflow's own."""

    def __init__(self, token: Secret) -> None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            what = "holds characters that no token has" if token else "is empty"
            raise ConfigError(
                f"the GitHub token {what}",
                setting="token",
                source="GITHUB_TOKEN",
                hint="Set GITHUB_TOKEN_FILE or GITHUB_TOKEN to the token alone.",
            )
        self._token = token

    @property
    def identity(self) -> str:
        """Return what tells this credential from others."""
        return self._token

    @property
    def kind(self) -> TokenKind:
        """Return what sort of token it is."""
        return find_token_kind(self._token)

    def find_token(self, scope: Scope, need: Need, exchange: Exchange) -> Secret:
        """Return the token, whatever it is for."""
        del scope, need, exchange
        return self._token

    def forget(self, scope: Scope, need: Need, token: Secret) -> bool:
        """Say that there is no other."""
        del scope, need, token
        return False


@dataclass(frozen=True, kw_only=True)
class _Minted:
    token: Secret
    renew_at: float
    ends_at: float


class _Purpose:
    """The token for one purpose, and the threads that wait while it is made."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.minted: _Minted | None = None
        self.failure: APIError | None = None
        self.failures = 0


class AppAuthority:
    """A GitHub App: its tokens are made as they are needed, one per purpose.

    Args:
        app_id: The App's id, or its client id.
        private_key: In PEM, as GitHub gives it.
        installation_id: Where it is known; else, and when GitHub does not know it any
            more, it is found by the scope.
        now: Seconds since 1970.

    Raises:
        ConfigError: The key is no RSA key in PEM.
    """

    def __init__(
        self,
        *,
        app_id: str,
        private_key: Secret,
        installation_id: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app_id = app_id
        self._key = _parse_key(private_key)
        self._given_installation = installation_id
        self._now = now
        self._lock = threading.Lock()
        self._purposes: dict[tuple[str, Need], _Purpose] = {}
        self._installations: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"AppAuthority(app_id={self._app_id!r})"

    @property
    def identity(self) -> str:
        """Return what tells this App from others."""
        return f"app {self._app_id} {self._given_installation or ''}"

    @property
    def kind(self) -> TokenKind:
        """Return what sort of token it gives."""
        return TokenKind.OTHER

    def find_token(self, scope: Scope, need: Need, exchange: Exchange) -> Secret:
        """Return a token for this scope and purpose, made now where there is none.

        Raises:
            AuthenticationError: GitHub does not know the App, its key or its rights.
            NotFoundError: The App is not installed there.
            ConfigError: It is an enterprise, whose runners no App may administer.
        """
        if scope.kind is ScopeKind.ENTERPRISE:
            raise ConfigError(
                f"a GitHub App cannot administer the runners of {scope}",
                setting="app_id",
                source="GITHUB_APP_ID",
                hint=explain_need(scope, need),
            )
        key = (str(scope).lower(), need)
        with self._lock:
            purpose = self._purposes.setdefault(key, _Purpose())
            seen = purpose.failures
        # of many threads that find a token at its end one renews it, and the others wait
        with purpose.busy:
            held = purpose.minted
            if held is not None and self._now() < held.renew_at:
                return held.token
            if purpose.failure is not None and purpose.failures > seen:
                # it failed while this thread waited: asking again at once does not help
                raise purpose.failure
            return self._renew(purpose, scope, need, exchange).token

    def forget(self, scope: Scope, need: Need, token: Secret) -> bool:
        """Drop a refused token, so that the next call makes another."""
        key = (str(scope).lower(), need)
        with self._lock:
            purpose = self._purposes.get(key)
            if purpose and purpose.minted and purpose.minted.token == token:
                purpose.minted = None
        return True

    def _renew(
        self, purpose: _Purpose, scope: Scope, need: Need, exchange: Exchange
    ) -> _Minted:
        held = purpose.minted
        try:
            purpose.minted = self._mint(scope, need, exchange)
        except APIError as error:
            purpose.failure = error
            purpose.failures += 1
            if held is None or self._now() >= held.ends_at or _is_refusal(error):
                raise
            log.warning(
                "github_token_renewal_failed",
                error=type(error).__name__,
                error_detail=str(error),
            )
            again_at = min(self._now() + _RENEW_AGAIN_SECONDS, held.ends_at)
            purpose.minted = replace(held, renew_at=again_at)
            return held
        purpose.failure = None
        return purpose.minted

    def _mint(self, scope: Scope, need: Need, exchange: Exchange) -> _Minted:
        owner = scope.owner.lower()
        known = self._installations.get(owner) or self._given_installation
        if known is not None:
            try:
                return self._mint_at(known, scope, need, exchange)
            except NotFoundError:
                # installed anew, it has another id: looked for once
                log.info("github_installation_lost", installation_id=known)
        found = self._find_installation(scope, need, exchange)
        self._installations[owner] = found
        return self._mint_at(found, scope, need, exchange)

    def _mint_at(
        self, installation_id: int, scope: Scope, need: Need, exchange: Exchange
    ) -> _Minted:
        name, level = find_permission(scope, need)
        body: dict[str, Any] = {"permissions": {name: level}}
        if scope.repository:
            body["repositories"] = [scope.repository]
        path = f"/app/installations/{installation_id}/access_tokens"
        operation = "create_installation_token"
        answer = self._ask("POST", path, operation, exchange, body)
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise AuthenticationError(
                f"the GitHub App may not do this on {scope} ({parse_message(answer)})",
                hint=f"Give the App {name_permission(scope, need)}, accept that for "
                f"its installation, and let it see {scope}.",
                **_facts(answer, operation),
            )
        self._check(answer, operation, scope, need)
        minted = decode(answer, TokenWire, operation)
        now = self._now()
        life = min(max(minted.expires_at.timestamp() - now, 0.0), _TOKEN_SECONDS)
        log.info(
            "github_token_created",
            installation_id=installation_id,
            repository=str(scope),
            permission=f"{name}: {level}",
        )
        return _Minted(
            token=Secret(minted.token),
            renew_at=now + life - min(_RENEW_BEFORE_SECONDS, life / 2),
            ends_at=now + life,
        )

    def _find_installation(self, scope: Scope, need: Need, exchange: Exchange) -> int:
        operation = "find_installation"
        path = f"{scope.api_path}/installation"
        answer = self._ask("GET", path, operation, exchange)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise NotFoundError(
                f"the GitHub App is not installed on {scope}",
                hint=f"Install it there with {name_permission(scope, need)}, or check "
                "the name and GITHUB_APP_ID.",
                **_facts(answer, operation),
            )
        self._check(answer, operation, scope, need)
        return decode(answer, InstallationWire, operation).id

    def _ask(
        self,
        method: str,
        path: str,
        operation: str,
        exchange: Exchange,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a call as the App; explain a refused signature."""
        answer = exchange(
            method, path, operation, token=self._sign_statement(), body=body
        )
        if answer.status == HTTPStatus.UNAUTHORIZED:
            skew = find_clock_skew(answer, wall_now=self._now())
            raise AuthenticationError(
                f"GitHub refuses the App's signature ({parse_message(answer)})",
                hint=explain_clock_skew(skew)
                or f"Check GITHUB_APP_ID and that the key is this App's. {_KEY_HINT}",
                **_facts(answer, operation),
            )
        return answer

    def _check(self, answer: Answer, operation: str, scope: Scope, need: Need) -> None:
        told = read_limits(answer, wall_now=self._now())
        check_answer(answer, Asked(operation=operation, scope=scope, need=need), told)

    def _sign_statement(self) -> Secret:
        import jwt  # noqa: PLC0415  # only Apps need it

        issued = int(self._now()) - _BACKDATED_SECONDS
        claims = {
            "iat": issued,
            "exp": issued + _STATEMENT_SECONDS,
            "iss": self._app_id,
        }
        return Secret(jwt.encode(claims, self._key, algorithm="RS256"))


def _facts(answer: Answer, operation: str) -> dict[str, Any]:
    return {
        "service": "GitHub",
        "operation": operation,
        "http_status": answer.status,
        "request_id": answer.request_id,
    }


def _is_refusal(error: APIError) -> bool:
    return isinstance(error, AuthenticationError | NotFoundError)


def _parse_key(private_key: Secret) -> Any:
    """Return the key, ready to sign; nothing of it stands in an error."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # slow
    from cryptography.hazmat.primitives.asymmetric.rsa import (  # noqa: PLC0415
        RSAPrivateKey,
    )

    # a variable often holds the lines with \n written out
    text = private_key if "\n" in private_key else private_key.replace("\\n", "\n")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        # from None: the parser's message may quote what it was given
        raise _no_key() from None
    if not isinstance(key, RSAPrivateKey):
        raise _no_key()
    return key


def _no_key() -> ConfigError:
    return ConfigError(
        "the GitHub App's private key is no RSA key in PEM without a passphrase",
        setting="app_private_key",
        source="GITHUB_APP_PRIVATE_KEY",
        hint=_KEY_HINT,
    )
