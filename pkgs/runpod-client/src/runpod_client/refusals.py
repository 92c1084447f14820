"""From the words of a refusal to the type of an error: tables and their reading.

RunPod refuses in two ways. GraphQL answers 200 with `errors`, whose code alone does not
tell: several refusals come with INTERNAL_SERVER_ERROR, or with none. REST v2 answers
4xx with a problem (RFC 9457), where 400 stands for a broken rule and for no capacity
alike. Both use the same sentences, so a known sentence goes before code and status.
Sentences are compared in lower case and by their unchanging part.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from runpod_client.errors import (
    APIError,
    AuthenticationError,
    CapabilityMissingError,
    CapabilityRetiredError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

Kind = type[APIError]

BY_MESSAGE: tuple[tuple[str, Kind], ...] = (
    ("no longer any instances available", NoCapacityError),
    ("no instances currently available", NoCapacityError),
    ("no instances available", NoCapacityError),
    ("does not have the resources to deploy your pod", NoCapacityError),
    ("could not find any pods with required specifications", NoCapacityError),
    ("not enough free gpus on the host", NoCapacityError),
    ("over your current spending limit", InsufficientBalanceError),
    ("cannot resume a spot pod as an on demand pod", RejectedError),
    ("pod not found", NotFoundError),
    ("something went wrong. please try again", UnavailableError),
)

BY_CODE: Mapping[str, Kind] = {
    "SUPPLY_CONSTRAINT": NoCapacityError,
    "INSUFFICIENT_BALANCE": InsufficientBalanceError,
    "POD_NOT_FOUND": NotFoundError,
    "UNAUTHENTICATED": AuthenticationError,
    "FORBIDDEN": AuthenticationError,
    "INTERNAL_SERVER_ERROR": UnavailableError,
    # a document that does not fit the schema: what it asks for is not there (any more)
    "GRAPHQL_VALIDATION_FAILED": CapabilityMissingError,
}

# what a status says where the words say nothing; other 4xx: RejectedError
BY_STATUS: Mapping[int, Kind] = {
    401: AuthenticationError,
    402: InsufficientBalanceError,
    403: AuthenticationError,
    404: NotFoundError,
    410: CapabilityRetiredError,
    429: RateLimitedError,
    501: CapabilityMissingError,
}

KEY_HINT = (
    "Set RUNPOD_API_KEY_FILE (a file with the key, mode 600) or RUNPOD_API_KEY; "
    "keys are made at https://console.runpod.io/user/settings."
)

_HINTS: Mapping[Kind, str] = {
    AuthenticationError: KEY_HINT,
    NoCapacityError: "Try again later, name further GPU types, or use --cloud any.",
    InsufficientBalanceError: (
        "Add credit or raise the spending limit at "
        "https://console.runpod.io/user/billing."
    ),
    UnavailableError: "Try again in a minute.",
    RateLimitedError: "Try again in a minute.",
}
_POD_HINT = "List your pods: runpod-client pods list"
_STATE_HINT = "Look at the pod's state: runpod-client pods show POD"


# GraphQL repeats the whole input that it finds fault with, secrets of its env included
_ECHO = re.compile(
    r'(got invalid value)\b.*?((?:; Field "\w+" [^"{}]*"[\w!\[\]]+"[^"{}]*)?)\Z',
    re.DOTALL,
)
MAX_REASON_CHARACTERS = 500


class Refusal(msgspec.Struct):
    """One entry of GraphQL's `errors`."""

    message: str | None = None
    extensions: dict[str, Any] | None = None

    @property
    def code(self) -> str:
        """Return the machine's word for it, empty when there is none."""
        code = (self.extensions or {}).get("code")
        return code if isinstance(code, str) else ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal of REST v2 as RFC 9457 words it.

    Attributes:
        errors: What is wrong with the request, an entry per rule or key.
    """

    title: str = ""
    status: int = 0
    detail: str = ""
    errors: tuple[str, ...] = ()


def classify(message: str, code: str) -> Kind:
    """Return the error type of a refusal."""
    return _find_kind(message) or BY_CODE.get(code, RejectedError)


def render_error(
    refusals: list[Refusal],
    *,
    operation: str,
    http_status: int | None = None,
    request_id: str = "",
) -> APIError:
    """Return the error that a request refused over GraphQL deserves.

    Args:
        refusals: At least one; the first decides the type.
    """
    messages = tuple(_clean(r.message) or r.code or "no reason given" for r in refusals)
    return _render(
        classify(messages[0], refusals[0].code),
        messages,
        messages[0],
        operation=operation,
        http_status=http_status,
        request_id=request_id,
    )


def render_problem(
    problem: Problem, *, operation: str, http_status: int, request_id: str
) -> APIError:
    """Return the error that a request refused over REST deserves.

    Args:
        http_status: Of the answer itself; the problem's own is not believed.
    """
    reason = _clean(problem.detail) or problem.title or f"HTTP {http_status}"
    messages = (reason, *map(_clean, problem.errors))
    return _render(
        _find_kind(reason) or _kind_of_status(http_status),
        messages,
        # a 422 names each bad key in `errors`, and nothing useful in `detail`
        "; ".join(messages),
        operation=operation,
        http_status=http_status,
        request_id=request_id,
    )


def _clean(message: str | None) -> str:
    """Return a message without what it repeats of the request, and not without end."""
    return _ECHO.sub(r"\1\2", message or "")[:MAX_REASON_CHARACTERS]


def _find_kind(message: str) -> Kind | None:
    lowered = message.casefold()
    return next((kind for part, kind in BY_MESSAGE if part in lowered), None)


def _kind_of_status(status: int) -> Kind:
    if status >= 500:
        return BY_STATUS.get(status, UnavailableError)
    return BY_STATUS.get(status, RejectedError if status >= 400 else ProtocolError)


def _render(
    kind: Kind,
    messages: tuple[str, ...],
    reason: str,
    *,
    operation: str,
    http_status: int | None,
    request_id: str,
) -> APIError:
    sentence = f"RunPod refused {operation}: {reason}"
    hint = _HINTS.get(kind, "")
    if kind is NoCapacityError:
        return NoCapacityError(sentence, operation=operation, hint=hint)
    facts: dict[str, Any] = {
        "operation": operation,
        "http_status": http_status,
        "request_id": request_id,
    }
    if kind is RejectedError:
        hint = _STATE_HINT if http_status == 409 else ""
        return RejectedError(sentence, messages=messages, hint=hint, **facts)
    if kind is NotFoundError and "pod" in reason.casefold():
        hint = _POD_HINT
    return kind(sentence, hint=hint, **facts)
