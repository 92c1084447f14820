"""The way to RunPod and back: the only importer of requests.

One `send`: key, time limit, bounded repetition of reads, and every failure of requests,
urllib3 or HTTP turned into an error of ours. It must not know what a pod is: the caller
names the operation, gives the body and reads the answer.

    HTTP        error                     asked again (reads only)
    401, 403    AuthenticationError       no
    402         InsufficientBalanceError  no
    404         NotFoundError             no
    410         CapabilityRetiredError    no
    429         RateLimitedError          yes, after Retry-After
    other 4xx   RejectedError, or what its `errors` say
    5xx         UnavailableError          yes
    3xx         ProtocolError             no
    no answer   TransportError            yes
"""

import importlib.metadata
import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
import stamina
import structlog
import urllib3
from requests import exceptions as lower
from requests.auth import AuthBase

from runpod_client import refusals
from runpod_client.errors import (
    APIError,
    AuthenticationError,
    CapabilityRetiredError,
    ConfigError,
    InsufficientBalanceError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    TransportError,
    UnavailableError,
)
from runpod_client.model import Secret

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_ATTEMPTS = 4
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_REPEATABLE = (TransportError, UnavailableError, RateLimitedError)

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder(decimal_format="number").encode

# Every exception class of requests by what it means; a test proves the table total.
FAILURES: Mapping[type[Exception], type[APIError] | type[ConfigError]] = {
    lower.ConnectionError: TransportError,
    lower.ConnectTimeout: TransportError,
    lower.ReadTimeout: TransportError,
    lower.Timeout: TransportError,
    lower.ProxyError: TransportError,
    lower.SSLError: TransportError,
    lower.RetryError: TransportError,
    lower.HTTPError: ProtocolError,
    lower.ChunkedEncodingError: TransportError,
    lower.ContentDecodingError: ProtocolError,
    lower.StreamConsumedError: ProtocolError,
    lower.TooManyRedirects: ProtocolError,
    lower.InvalidJSONError: ProtocolError,
    lower.JSONDecodeError: ProtocolError,
    lower.UnrewindableBodyError: TransportError,
    lower.URLRequired: ConfigError,
    lower.MissingSchema: ConfigError,
    lower.InvalidSchema: ConfigError,
    lower.InvalidURL: ConfigError,
    lower.InvalidProxyURL: ConfigError,
    lower.InvalidHeader: ConfigError,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call.

    Attributes:
        operation: Its name in errors and logs, for instance `podStop`.
        is_read: It changes nothing, so it may be asked again.
    """

    operation: str
    path: str
    method: str = "POST"
    body: Any = None
    is_read: bool = False


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How long to pause between the attempts of a read."""

    initial_seconds: float = 0.5
    jitter_seconds: float = 0.5
    max_seconds: float = 5.0


class Transport:
    """A connection pool to one base URL with one key; safe to share between threads."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret,
        timeout_seconds: float,
        repetition: Repetition | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._repetition = repetition or Repetition()
        is_loopback = _check_base_url(base_url)
        _check_key(api_key)
        self._session = requests.Session()
        # a proxy from the environment has no business on the way to loopback
        self._session.trust_env = not is_loopback
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # as an auth object, since a .netrc entry would replace a plain header
        self._session.auth = _BearerAuth(api_key)
        version = importlib.metadata.version("runpod-client")
        self._session.headers["User-Agent"] = f"runpod-client/{version}"

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def send(self, request: Request, parse: Callable[[bytes], Answer]) -> Answer:
        """Send a request and return its answer as `parse` reads it.

        A read is asked again after failures that pass, up to `MAX_ATTEMPTS` times and
        never beyond the time limit; anything else is sent exactly once.

        Raises:
            APIError: By the table above, or from `parse`.
        """
        deadline = time.monotonic() + self._timeout_seconds
        if not request.is_read:
            return parse(self._attempt(request, deadline))

        def pause(error: Exception) -> bool | float:
            if not isinstance(error, _REPEATABLE):
                return False
            wanted = getattr(error, "retry_after_seconds", None) or 0.0
            if time.monotonic() + wanted >= deadline:
                return False
            return wanted or True

        for attempt in stamina.retry_context(
            on=pause,
            attempts=MAX_ATTEMPTS,
            timeout=self._timeout_seconds,
            wait_initial=self._repetition.initial_seconds,
            wait_jitter=self._repetition.jitter_seconds,
            wait_max=self._repetition.max_seconds,
        ):
            with attempt:
                answer = parse(self._attempt(request, deadline))
        return answer

    def _attempt(self, request: Request, deadline: float) -> bytes:
        started = time.monotonic()
        remaining = max(deadline - started, 0.1)
        with (
            _translated(request.operation, self._base_url, self._timeout_seconds),
            self._session.request(
                request.method,
                self._base_url + request.path,
                data=None if request.body is None else _encode(request.body),
                headers={"Content-Type": "application/json"},
                timeout=(min(CONNECT_TIMEOUT_SECONDS, remaining), remaining),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            body = _read(response, deadline)
        _log.debug(
            "api_call_finished",
            operation=request.operation,
            http_status=response.status_code,
            elapsed_seconds=round(time.monotonic() - started, 3),
        )
        check_status(response.status_code, response.headers, body, request.operation)
        return body


def check_status(
    status: int, headers: Mapping[str, str], body: bytes, operation: str
) -> None:
    """Do nothing for a 2xx answer.

    Raises:
        APIError: By the table above.
    """
    if 200 <= status < 300:
        return
    facts: dict[str, Any] = {
        "operation": operation,
        "http_status": status,
        "request_id": headers.get("cf-ray", headers.get("x-request-id", "")),
    }
    if status == 401:
        raise AuthenticationError(
            "RunPod does not accept the API key", hint=refusals.KEY_HINT, **facts
        )
    if status == 403:
        raise AuthenticationError(
            f"the API key has no right to {operation}",
            hint="Give the key that right, or set another. " + refusals.KEY_HINT,
            **facts,
        )
    if status == 429:
        raise RateLimitedError(
            f"RunPod takes no more calls for now ({operation})",
            retry_after_seconds=parse_retry_after(headers.get("Retry-After")),
            hint="Try again in a minute.",
            **facts,
        )
    raise _status_error(status, body, facts)


def _status_error(status: int, body: bytes, facts: dict[str, Any]) -> APIError:
    """Return the error for the statuses that need no header."""
    operation = facts["operation"]
    if status >= 500:
        return UnavailableError(
            f"RunPod failed at {operation} (HTTP {status})",
            hint="Try again in a minute; https://uptime.runpod.io tells of outages.",
            **facts,
        )
    if status == 410:
        return CapabilityRetiredError(
            f"RunPod has withdrawn the interface behind {operation} (HTTP 410)",
            hint="Update runpod-client to a version that speaks the newer API.",
            **facts,
        )
    if status < 400:
        return ProtocolError(
            f"RunPod answered {operation} with a redirect (HTTP {status})",
            hint="Check RUNPOD_API_BASE_URL: the plain https address, without a path.",
            **facts,
        )
    refused = _find_refusals(body)
    if refused:
        return refusals.render_error(refused, **facts)
    kind = {402: InsufficientBalanceError, 404: NotFoundError}.get(
        status, RejectedError
    )
    hint = "Check RUNPOD_API_BASE_URL." if kind is NotFoundError else ""
    return kind(f"RunPod refused {operation} (HTTP {status})", hint=hint, **facts)


def parse_retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date; else None."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


class _BearerAuth(AuthBase):
    """Put the key on a request; its repr shows nothing."""

    def __init__(self, api_key: Secret) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


class _ErrorBody(msgspec.Struct):
    """The part of a refusing answer that is read."""

    errors: list[refusals.Refusal] | None = None


def _find_refusals(body: bytes) -> list[refusals.Refusal]:
    try:
        return msgspec.json.decode(body, type=_ErrorBody).errors or []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def _read(response: requests.Response, deadline: float) -> bytes:
    """Return the whole body, however slowly it drips, within the deadline."""
    chunks: list[bytes] = []
    size = 0
    # read1 returns what has arrived; a plain read would wait for whole chunks
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise lower.ContentDecodingError("the answer is too large")
        if time.monotonic() > deadline:
            raise lower.ReadTimeout("the answer did not end in time")
    return b"".join(chunks)


@contextmanager
def _translated(
    operation: str, base_url: str, timeout_seconds: float
) -> Iterator[None]:
    """Turn the lower libraries' exceptions into ours."""
    try:
        yield
    except (lower.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        kind = next((FAILURES[k] for k in type(error).__mro__ if k in FAILURES), None)
        if kind is ConfigError:
            raise ConfigError(
                f"{base_url!r} cannot be called",
                setting="api_url",
                hint="Set RUNPOD_API_BASE_URL to an address like https://api.runpod.io",
            ) from error
        if kind is ProtocolError:
            raise ProtocolError(
                f"RunPod's answer to {operation} cannot be read", operation=operation
            ) from error
        is_late = isinstance(
            error, (lower.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
        )
        reason = (
            f"no answer within {timeout_seconds:g} s" if is_late else _reason(error)
        )
        raise TransportError(
            f"RunPod at {base_url} cannot be reached for {operation}: {reason}",
            operation=operation,
            hint="Check the network and RUNPOD_API_BASE_URL.",
        ) from error


def _reason(error: Exception) -> str:
    """Return in a few words why no connection came about."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text)
    if found:
        return found.group(1).lower()
    if isinstance(error, lower.SSLError):
        return "its TLS certificate is not trusted or the TLS handshake failed"
    if isinstance(error, lower.ProxyError):
        return "the proxy refused"
    return "the connection was cut"


def _check_base_url(base_url: str) -> bool:
    """Return whether the URL is this machine's; refuse to send a key in the clear."""
    hint = "Set RUNPOD_API_BASE_URL to an address like https://api.runpod.io"
    try:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.username:
        raise ConfigError(
            "the RunPod API's base URL is no http(s) address",
            setting="api_url",
            hint=hint,
        )
    is_loopback = host == "localhost" or _is_loopback_address(host)
    if parts.scheme == "http" and not is_loopback:
        raise ConfigError(
            f"the API key is not sent to {host} over plain http",
            setting="api_url",
            hint=hint,
        )
    return is_loopback


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_key(api_key: Secret) -> None:
    """Refuse a key that cannot stand in a header, without showing it."""
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise ConfigError(
            "the RunPod API key holds characters that no key has",
            setting="api_key",
            hint=refusals.KEY_HINT,
        )
