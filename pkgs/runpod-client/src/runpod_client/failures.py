"""What the libraries below can throw, as errors of ours: one table, and its reading.

requests, urllib3, http.client, ssl and the sockets are tabled by class. stamina and
pybreaker are loaded only when needed, so theirs are tabled by name; they pass on the
failure of the call itself, and the table holds should that ever change. A test walks
all of them and fails on a class that is not here.
"""

import http.client
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from requests import exceptions as lower
from urllib3 import exceptions as lowest

from runpod_client.errors import (
    APIError,
    ConfigError,
    Error,
    ProtocolError,
    TransportError,
    UnavailableError,
)

Kind = type[APIError] | type[ConfigError]

_REQUESTS: Mapping[type[Exception], Kind] = {
    lower.RequestException: TransportError,
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
    # the answer's: ours are checked before they are set
    lower.InvalidHeader: ProtocolError,
}

_URLLIB3: Mapping[type[Exception], Kind] = {
    lowest.HTTPError: TransportError,
    lowest.PoolError: TransportError,
    lowest.RequestError: TransportError,
    lowest.SSLError: TransportError,
    lowest.ProxyError: TransportError,
    lowest.DecodeError: ProtocolError,
    lowest.ProtocolError: TransportError,
    lowest.MaxRetryError: TransportError,
    lowest.HostChangedError: TransportError,
    lowest.TimeoutStateError: TransportError,
    lowest.TimeoutError: TransportError,
    lowest.ReadTimeoutError: TransportError,
    lowest.ConnectTimeoutError: TransportError,
    lowest.NewConnectionError: TransportError,
    lowest.NameResolutionError: TransportError,
    lowest.EmptyPoolError: TransportError,
    lowest.FullPoolError: TransportError,
    lowest.ClosedPoolError: TransportError,
    lowest.LocationValueError: ConfigError,
    lowest.LocationParseError: ConfigError,
    lowest.URLSchemeUnknown: ConfigError,
    lowest.ResponseError: ProtocolError,
    lowest.ResponseNotChunked: ProtocolError,
    lowest.BodyNotHttplibCompatible: ProtocolError,
    lowest.IncompleteRead: TransportError,
    lowest.InvalidChunkLength: ProtocolError,
    lowest.InvalidHeader: ProtocolError,
    lowest.ProxySchemeUnknown: ConfigError,
    lowest.ProxySchemeUnsupported: ConfigError,
    lowest.HeaderParsingError: ProtocolError,
    lowest.UnrewindableBodyError: TransportError,
}

_STANDARD: Mapping[type[Exception], Kind] = {
    http.client.HTTPException: TransportError,
    http.client.NotConnected: TransportError,
    http.client.InvalidURL: ConfigError,
    http.client.UnknownProtocol: ProtocolError,
    http.client.UnknownTransferEncoding: ProtocolError,
    http.client.UnimplementedFileMode: ProtocolError,
    http.client.IncompleteRead: TransportError,
    http.client.ImproperConnectionState: TransportError,
    http.client.CannotSendRequest: TransportError,
    http.client.CannotSendHeader: TransportError,
    http.client.ResponseNotReady: TransportError,
    http.client.BadStatusLine: ProtocolError,
    http.client.LineTooLong: ProtocolError,
    http.client.RemoteDisconnected: TransportError,
    ssl.SSLError: TransportError,
    ssl.SSLZeroReturnError: TransportError,
    ssl.SSLWantReadError: TransportError,
    ssl.SSLWantWriteError: TransportError,
    ssl.SSLSyscallError: TransportError,
    ssl.SSLEOFError: TransportError,
    ssl.SSLCertVerificationError: TransportError,
    socket.gaierror: TransportError,
    socket.herror: TransportError,
    TimeoutError: TransportError,
    OSError: TransportError,
}

FAILURES: Mapping[type[Exception], Kind] = {**_REQUESTS, **_URLLIB3, **_STANDARD}

FAILURES_BY_NAME: Mapping[str, Kind] = {
    "tenacity.RetryError": TransportError,
    "tenacity.TryAgain": TransportError,
    "pybreaker.CircuitBreakerError": UnavailableError,
}

_ADDRESS_HINT = "Set RUNPOD_API_BASE_URL to an address like https://api.runpod.io"


def find_kind(error: BaseException) -> Kind | None:
    """Return what a lower library's exception means, None when it is none."""
    for kind in type(error).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        found = FAILURES.get(kind) or FAILURES_BY_NAME.get(name)
        if found is not None:
            return found
    return None


@contextmanager
def translated(
    *, operation: str, base_url: str, timeout_seconds: float
) -> Iterator[None]:
    """Turn the lower libraries' exceptions into ours; leave all others alone."""
    try:
        yield
    except Error:
        raise  # ours already, `DeadlineError` (a `TimeoutError`) among them
    except Exception as error:
        kind = find_kind(error)
        if kind is None:
            raise
        raise _render(kind, error, operation, base_url, timeout_seconds) from error


def _render(
    kind: Kind,
    error: Exception,
    operation: str,
    base_url: str,
    timeout_seconds: float,
) -> APIError | ConfigError:
    if kind is ConfigError:
        return ConfigError(
            f"{base_url!r} cannot be called", setting="api_url", hint=_ADDRESS_HINT
        )
    if kind is ProtocolError:
        return ProtocolError(
            f"RunPod's answer to {operation} cannot be read", operation=operation
        )
    if kind is UnavailableError:
        return UnavailableError(
            f"RunPod failed at {operation}",
            operation=operation,
            hint="Try again in a minute.",
        )
    is_late = isinstance(error, (lower.Timeout, lowest.TimeoutError, TimeoutError))
    reason = f"no answer within {timeout_seconds:g} s" if is_late else _reason(error)
    return TransportError(
        f"RunPod at {base_url} cannot be reached for {operation}: {reason}",
        operation=operation,
        hint="Check the network and RUNPOD_API_BASE_URL.",
    )


def _reason(error: Exception) -> str:
    """Return in a few words why no connection came about."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text)
    if found:
        return found.group(1).lower()
    if isinstance(error, (lower.SSLError, lowest.SSLError, ssl.SSLError)):
        return "its TLS certificate is not trusted or the TLS handshake failed"
    if isinstance(error, (lower.ProxyError, lowest.ProxyError)):
        return "the proxy refused"
    return "the connection was cut"
