"""What a refusal of GitHub's means: an error of ours that names what to do.

Pure: it reads statuses, headers and GitHub's own words. The one place where a limit is
told from a lack of permission, both of which GitHub may answer with 403.
"""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import Any

from runner_installer.github_limits import (
    SERVICE,
    UNTOLD_WAIT_SECONDS,
    Told,
)
from runner_installer.github_needs import (
    Need,
    TokenKind,
    explain_headers,
    explain_need,
    name_permission,
)
from runner_installer.github_wire import Answer, parse_message
from runner_installer.model import Scope
from runpod_client import (
    APIError,
    AuthenticationError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

SKEW_WORTH_TELLING_SECONDS = 30.0
_LIMITED = {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
# GitHub documents that the message of a secondary limit says so; there is no other sign
# when it names no time
_SECONDARY_WORDS = "secondary rate limit"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a call was about, as far as errors tell.

    Attributes:
        scope: None where no credential is needed (a download).
    """

    operation: str
    scope: Scope | None = None
    need: Need = Need.RUNNERS
    kind: TokenKind = TokenKind.OTHER


def read_limits(answer: Answer, *, wall_now: float) -> Told:
    """Return what an answer says about rate limits."""
    headers = answer.headers
    after = _number(headers.get("retry-after"))
    remaining = _whole(headers.get("x-ratelimit-remaining"))
    reset = _number(headers.get("x-ratelimit-reset"))
    resets_in = None if reset is None else max(reset - wall_now, 1.0)
    wait = None if after is None else max(after, 1.0)
    if wait is None and remaining == 0:
        wait = resets_in
    return Told(
        refused=_is_limit(answer, after=after, remaining=remaining),
        wait_seconds=wait,
        limit=_whole(headers.get("x-ratelimit-limit")),
        remaining=remaining if _counts(headers) else None,
        resets_in_seconds=resets_in,
        is_unchanged=answer.status == HTTPStatus.NOT_MODIFIED,
    )


def _is_limit(answer: Answer, *, after: float | None, remaining: int | None) -> bool:
    if answer.status not in _LIMITED:
        return False
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or after is not None:
        return True
    return remaining == 0 or _SECONDARY_WORDS in parse_message(answer).lower()


def _counts(headers: Mapping[str, str]) -> bool:
    """Tell whether the figures are of the quota that our calls use."""
    return headers.get("x-ratelimit-resource", "core") == "core"


def check_answer(answer: Answer, asked: Asked, told: Told) -> None:
    """Raise the error that a status of GitHub stands for.

    Raises:
        APIError: The status is none of success.
    """
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _error(answer, asked, told)


def _error(answer: Answer, asked: Asked, told: Told) -> APIError:
    status, said = answer.status, parse_message(answer)
    facts: dict[str, Any] = {
        "service": SERVICE,
        "operation": asked.operation,
        "http_status": status,
        "request_id": answer.request_id,
    }
    if told.refused:
        wait = UNTOLD_WAIT_SECONDS if told.wait_seconds is None else told.wait_seconds
        return RateLimitedError(
            f"GitHub's rate limit is used up for {wait:.0f} s ({said})",
            retry_after_seconds=wait,
            hint=f"Repeat in {wait:.0f} s.",
            **facts,
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthenticationError(
            f"GitHub refuses the token ({said})",
            hint=f"Set GITHUB_TOKEN_FILE or GITHUB_TOKEN. {_needed(asked)}".strip(),
            **facts,
        )
    if status == HTTPStatus.FORBIDDEN:
        return AuthenticationError(
            f"GitHub does not permit {asked.operation}{_lacking(asked)} ({said})",
            hint=f"{_needed(asked)} {explain_headers(answer.headers)}".strip(),
            **facts,
        )
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return NotFoundError(
            f"GitHub finds nothing for {asked.operation} ({said})",
            hint="Check the name and that the token may see it. " + _needed(asked),
            **facts,
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(
            f"GitHub failed at {asked.operation} with status {status} ({said})",
            hint="Repeat later; https://www.githubstatus.com tells about outages.",
            **facts,
        )
    if status < HTTPStatus.BAD_REQUEST:
        said = f"redirected to {answer.headers.get('location', 'nowhere')}"
    return RejectedError(f"GitHub refuses {asked.operation} ({said})", **facts)


def _lacking(asked: Asked) -> str:
    if asked.scope is None:
        return ""
    return f": needs {name_permission(asked.scope, asked.need)}"


def _needed(asked: Asked) -> str:
    if asked.scope is None:
        return ""
    return explain_need(asked.scope, asked.need, asked.kind)


def find_clock_skew(answer: Answer, *, wall_now: float) -> float | None:
    """Return how many seconds this machine's clock is ahead of GitHub's.

    None where the answer has no readable date.
    """
    try:
        date = email.utils.parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return wall_now - date.replace(tzinfo=date.tzinfo or UTC).timestamp()


def explain_clock_skew(skew_seconds: float | None) -> str:
    """Say that a wrong clock is why a signature is refused; empty where it is right."""
    if skew_seconds is None or abs(skew_seconds) < SKEW_WORTH_TELLING_SECONDS:
        return ""
    where = "ahead of" if skew_seconds > 0 else "behind"
    return (
        f"This machine's clock is {abs(skew_seconds):.0f} s {where} GitHub's, and an "
        "App's signature is good for minutes only: set the clock."
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
