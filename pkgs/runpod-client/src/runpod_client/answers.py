"""What an HTTP answer means: its status, its headers, and the words of a refusal.

Pure: bytes and headers in, an error out. Two shapes of refusal are read: GraphQL's
`{"errors": [{"message": ...}]}` and REST v2's problem (RFC 9457).

    HTTP        error                     asked again (where that is safe)
    401, 403    AuthenticationError       no
    402         InsufficientBalanceError  no
    404         NotFoundError             no
    410         CapabilityRetiredError    no
    429         RateLimitedError          yes, after Retry-After
    other 4xx   RejectedError, or what the body says
    5xx         UnavailableError          yes
    3xx, 1xx    ProtocolError             no
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from runpod_client import refusals
from runpod_client.errors import (
    APIError,
    AuthenticationError,
    CapabilityRetiredError,
    InsufficientBalanceError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

# no pause is taken at its word beyond this; a typing error must not last for ever
MAX_RETRY_AFTER_SECONDS = 31 * 86_400.0


class _ErrorBody(msgspec.Struct):
    """The part of GraphQL's refusing answer that is read."""

    errors: list[refusals.Refusal] | None = None


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
        raise _render_rate_limit(parse_retry_after(headers.get("Retry-After")), facts)
    raise _render_status(status, body, facts)


def _render_rate_limit(
    retry_after_seconds: float | None, facts: dict[str, Any]
) -> RateLimitedError:
    when = (
        "in a minute"
        if retry_after_seconds is None
        else f"in {math.ceil(retry_after_seconds)} s"
    )
    return RateLimitedError(
        f"RunPod takes no more calls for now ({facts['operation']})",
        retry_after_seconds=retry_after_seconds,
        hint=f"Try again {when}.",
        **facts,
    )


def _render_status(status: int, body: bytes, facts: dict[str, Any]) -> APIError:
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
    if status < 200:
        return ProtocolError(
            f"RunPod answered {operation} with HTTP {status}, which ends nothing",
            **facts,
        )
    if status < 400:
        return ProtocolError(
            f"RunPod answered {operation} with a redirect (HTTP {status})",
            hint="Check RUNPOD_API_BASE_URL: the plain https address, without a path.",
            **facts,
        )
    return _render_refusal(status, body, facts)


def _render_refusal(status: int, body: bytes, facts: dict[str, Any]) -> APIError:
    """Return the error for a 4xx, by the words of its body where there are any."""
    operation = facts["operation"]
    refused = find_refusals(body)
    if refused:
        return refusals.render_error(refused, **facts)
    problem = find_problem(body)
    if problem is not None:
        return refusals.render_problem(problem, **facts)
    kind = {402: InsufficientBalanceError, 404: NotFoundError}.get(
        status, RejectedError
    )
    hint = "Check RUNPOD_API_BASE_URL." if kind is NotFoundError else ""
    return kind(f"RunPod refused {operation} (HTTP {status})", hint=hint, **facts)


def find_refusals(body: bytes) -> list[refusals.Refusal]:
    """Return GraphQL's refusals, none when the body holds none."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).errors or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def find_problem(body: bytes) -> refusals.Problem | None:
    """Return REST v2's problem, None when the body holds none."""
    try:
        found = msgspec.json.decode(body, type=refusals.Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.title or found.detail or found.errors else None


def parse_retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date; else None."""
    if not text:
        return None
    seconds = text.strip()
    if seconds.isdecimal():
        return min(float(seconds[:12]), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wanted = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(wanted, 0.0), MAX_RETRY_AFTER_SECONDS)
