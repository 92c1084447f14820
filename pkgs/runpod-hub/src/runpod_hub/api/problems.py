"""Errors as RFC 9457 problem documents: the one table from errors to HTTP statuses."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from runpod_client import (
    APIError,
    AuthenticationError,
    DeadlineError,
    Error,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from runpod_client.logs import get_logger, scrub
from runpod_hub.errors import (
    HubError,
    ListenError,
    StoreBusyError,
    StoreError,
    UnknownPodError,
)

_LOG = get_logger(__name__)
MEDIA_TYPE = "application/problem+json"

# The HTTP status of every error, by the most specific class named here.
HTTP_STATUSES: Mapping[type[Error], HTTPStatus] = {
    Error: HTTPStatus.INTERNAL_SERVER_ERROR,
    APIError: HTTPStatus.BAD_GATEWAY,
    AuthenticationError: HTTPStatus.BAD_GATEWAY,
    NotFoundError: HTTPStatus.NOT_FOUND,
    RejectedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NoCapacityError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimitedError: HTTPStatus.SERVICE_UNAVAILABLE,
    InsufficientBalanceError: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
    HubError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StoreBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    ListenError: HTTPStatus.INTERNAL_SERVER_ERROR,
    UnknownPodError: HTTPStatus.NOT_FOUND,
}


def http_status(error: Error) -> HTTPStatus:
    """Return the HTTP status that belongs to an error."""
    for kind in type(error).__mro__:
        if kind in HTTP_STATUSES:
            return HTTP_STATUSES[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def render_problem(
    status: int,
    detail: str,
    *,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    """Return a problem document as a response."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": scrub(detail),
        **({"hint": scrub(hint)} if hint else {}),
        **extra,
    }
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=dict(headers) if headers else None,
    )


def install(app: FastAPI) -> None:
    """Make every failing request of the app answer with a problem document."""
    app.add_exception_handler(Error, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, Error):
        raise error
    status = http_status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _LOG.error(
            "request_failed",
            operation=f"{request.method} {request.url.path}",
            error=type(error).__name__,
            error_detail=error.message,
        )
    return render_problem(
        status, error.message, hint=error.hint, error=type(error).__name__
    )


def _on_invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [
        {"where": ".".join(str(part) for part in each["loc"]), "what": each["msg"]}
        for each in error.errors()
    ]
    first = problems[0]
    return render_problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{first['where']}: {first['what']}",
        problems=problems,
    )


def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:
        detail = f"{request.method} {request.url.path}: {detail.lower()}"
    return render_problem(error.status_code, detail, headers=error.headers)


def _on_bug(request: Request, error: Exception) -> Response:
    _LOG.error(
        "request_failed",
        operation=f"{request.method} {request.url.path}",
        error=type(error).__name__,
        exc_info=error,
    )
    return render_problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "the hub met a bug; its log has the details"
    )
