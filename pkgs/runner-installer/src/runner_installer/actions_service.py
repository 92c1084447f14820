"""The Actions service behind GitHub, which only scale sets' readers speak to.

The one module that knows its wire: the exchange of a registration token for an admin's,
the version in every query, the byte order mark before every answer, the shape of its
refusals. GitHub documents none of it; its own client (actions/scaleset, public preview)
is the source. It must not know what a scale set is for.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
from urllib3.exceptions import HTTPError

from runner_installer.github import GitHub
from runner_installer.model import Scope
from runpod_client import (
    APIError,
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    Secret,
    TransportError,
    UnavailableError,
)

SERVICE = "GitHub Actions"
API_VERSION = "6.0-preview"
USER_AGENT = "runner-installer"
MAX_ANSWER_BYTES = 8 * 1024 * 1024
# a token is renewed so long before its end
SPARE_SECONDS = 60.0
_MARK = b"\xef\xbb\xbf"
_CHUNK_BYTES = 64 * 1024

_KINDS: Mapping[int, type[APIError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: RateLimitedError,
}

Wire = TypeVar("Wire")


class _Granted(msgspec.Struct):
    url: str
    token: str


class _Refusal(msgspec.Struct, rename="camel"):
    type_name: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class _Admin:
    """An admin's address and token, until `ends_at` in seconds of the epoch."""

    url: str
    token: Secret
    ends_at: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer that was no refusal."""

    status: int
    content: bytes


class ActionsService:
    """One scope's door to the Actions service; threads may share it.

    Args:
        timeout_seconds: For one call, its whole answer included.
    """

    def __init__(
        self,
        github: GitHub,
        scope: Scope,
        *,
        timeout_seconds: float = 30.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._github = github
        self.scope = scope
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._admin: _Admin | None = None
        self._lock = threading.Lock()
        self._http = requests.Session()
        self._http.headers["User-Agent"] = USER_AGENT

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        """Send a call as the scope's admin.

        Args:
            path: Below the service's `_apis`.

        Raises:
            APIError: It was refused, or no answer came: then it may have been done.
        """
        for is_last in (False, True):
            admin = self._find_admin(refresh=is_last)
            url = _url(admin, path, query)
            try:
                return self.send(method, url, operation, token=admin.token, body=body)
            except AuthenticationError:
                # refused for its token it was not done: once more with a fresh one
                if is_last:
                    raise
        raise AssertionError("unreachable")

    def call_with(
        self, token: Secret, method: str, path: str, operation: str, *, body: Any
    ) -> Reply:
        """Send a call with another token than the admin's.

        Raises:
            APIError: As for `call`.
        """
        url = _url(self._find_admin(refresh=False), path, None)
        return self.send(method, url, operation, token=token, body=body)

    def send(
        self,
        method: str,
        url: str,
        operation: str,
        *,
        token: Secret,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        scheme: str = "Bearer",
    ) -> Reply:
        """Send a call with a token of its own to an address the service named.

        Raises:
            APIError: As for `call`.
        """
        limit = timeout_seconds or self._timeout_seconds
        try:
            with self._http.request(
                method,
                url,
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json", **(headers or {})},
                auth=_Authorization(scheme, token),
                timeout=limit,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, time.monotonic() + limit)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _transport_error(error, operation, url) from error
        reply = Reply(status=response.status_code, content=content)
        if reply.status >= requests.codes.multiple_choices:
            raise _error(reply, operation, response.headers)
        return reply

    def _find_admin(self, *, refresh: bool) -> _Admin:
        with self._lock:
            admin = self._admin
            is_old = admin is None or admin.ends_at - self._now() < SPARE_SECONDS
            if admin is None or is_old or refresh:
                admin = self._admin = self._exchange()
            return admin

    def _exchange(self) -> _Admin:
        """Trade a fresh registration token for the right to administer scale sets."""
        token = self._github.create_registration_token(self.scope).token
        bases = self._github.bases
        reply = self.send(
            "POST",
            f"{bases.api_url}/actions/runner-registration",
            "registerScaleSetAdmin",
            token=token,
            scheme="RemoteAuth",
            body={
                "url": bases.render_runner_url(self.scope),
                "runner_event": "register",
            },
        )
        granted = decode(reply, _Granted, "registerScaleSetAdmin")
        return _Admin(
            url=granted.url,
            token=Secret(granted.token),
            ends_at=find_end(granted.token),
        )


def decode(reply: Reply, kind: type[Wire], operation: str) -> Wire:
    """Read an answer's JSON, a byte order mark or not.

    Raises:
        ProtocolError: It is not as expected.
    """
    try:
        return msgspec.json.decode(reply.content.removeprefix(_MARK), type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(
            f"the Actions service's answer to {operation} is not as expected: {error}",
            service=SERVICE,
            operation=operation,
            http_status=reply.status,
            hint="Scale sets are a preview at GitHub; use webhooks or polling instead.",
        ) from error


def find_end(token: str) -> float:
    """Return when a JSON web token ends, in seconds of the epoch; 0 where it says not.

    It is not verified: only its issuer can, and it is asked soon enough.
    """
    try:
        payload = token.split(".")[1]
        padded = payload + "=" * (-len(payload) % 4)
        return float(json.loads(base64.urlsafe_b64decode(padded))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return 0.0


def _url(admin: _Admin, path: str, query: Mapping[str, str] | None) -> str:
    words = urlencode({**(query or {}), "api-version": API_VERSION})
    return f"{admin.url.rstrip('/')}/_apis/{path}?{words}"


class _Authorization(requests.auth.AuthBase):
    """Send the token; being set explicitly it also keeps ~/.netrc out of it."""

    def __init__(self, scheme: str, token: Secret) -> None:
        self._scheme = scheme
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{self._scheme} {self._token}"
        return request


def _read(response: requests.Response, deadline: float) -> bytes:
    content = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too large")
        if time.monotonic() >= deadline:
            raise requests.exceptions.ReadTimeout("the answer did not end in time")
    return bytes(content)


def _error(reply: Reply, operation: str, headers: Mapping[str, str]) -> APIError:
    try:
        refusal = msgspec.json.decode(reply.content.removeprefix(_MARK), type=_Refusal)
    except msgspec.MsgspecError:
        refusal = _Refusal()
    kind = refusal.type_name.rpartition(".")[2]
    said = " ".join(refusal.message.split())[:300] or f"status {reply.status}"
    text = f"the Actions service refuses {operation}: {said}"
    request_id = headers.get("x-github-request-id", "")
    kind_of = _KINDS.get(reply.status, RejectedError)
    if reply.status >= requests.codes.internal_server_error:
        kind_of = UnavailableError
    if kind_of is RejectedError:
        return RejectedError(
            text,
            messages=(kind, said),
            service=SERVICE,
            operation=operation,
            http_status=reply.status,
            request_id=request_id,
        )
    return kind_of(
        text,
        service=SERVICE,
        operation=operation,
        http_status=reply.status,
        request_id=request_id,
    )


def _transport_error(error: Exception, operation: str, url: str) -> TransportError:
    reason = "timed out" if isinstance(error, requests.Timeout) else "cannot be reached"
    return TransportError(
        f"the Actions service at {urlsplit(url).netloc} {reason} ({operation})",
        service=SERVICE,
        operation=operation,
        hint="Check the network, and repeat.",
    )
