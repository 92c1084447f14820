"""From the words of a refusal to the type of an error: two tables and their reading.

RunPod answers 200 with `errors` for requests it refuses. The code alone does not tell:
several refusals come with INTERNAL_SERVER_ERROR, or with none, so a known message goes
before the code. Messages are compared in lower case and by their unchanging part.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from runpod_client.errors import (
    APIError,
    AuthenticationError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
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
    NotFoundError: "List your pods: runpod-client pods list",
}


class Refusal(msgspec.Struct):
    """One entry of `errors`."""

    message: str | None = None
    extensions: dict[str, Any] | None = None

    @property
    def code(self) -> str:
        """Return the machine's word for it, empty when there is none."""
        code = (self.extensions or {}).get("code")
        return code if isinstance(code, str) else ""


def classify(message: str, code: str) -> Kind:
    """Return the error type of a refusal."""
    lowered = message.casefold()
    for part, kind in BY_MESSAGE:
        if part in lowered:
            return kind
    return BY_CODE.get(code, RejectedError)


def render_error(
    refusals: list[Refusal],
    *,
    operation: str,
    http_status: int | None = None,
    request_id: str = "",
) -> APIError:
    """Return the error that a refused request deserves.

    Args:
        refusals: At least one; the first decides the type.
    """
    messages = tuple(r.message or r.code or "no reason given" for r in refusals)
    kind = classify(messages[0], refusals[0].code)
    sentence = f"RunPod refused {operation}: {messages[0]}"
    hint = _HINTS.get(kind, "")
    if kind is NoCapacityError:
        return NoCapacityError(sentence, operation=operation, hint=hint)
    if kind is RejectedError:
        return RejectedError(
            sentence,
            messages=messages,
            operation=operation,
            http_status=http_status,
            request_id=request_id,
        )
    return kind(
        sentence,
        operation=operation,
        http_status=http_status,
        request_id=request_id,
        hint=hint,
    )
