import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.answers import (
    MAX_RETRY_AFTER_SECONDS,
    check_status,
    parse_retry_after,
)
from runpod_client.errors import (
    APIError,
    AuthenticationError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)


def problem(status: int, detail: str, **more: Any) -> bytes:
    document = {"title": "No", "status": status, "detail": detail, **more}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("soon", None),
        ("-1", None),
        ("9" * 500, MAX_RETRY_AFTER_SECONDS),
        ("Sun, 01 Nov 2020 00:00:00 GMT", 0.0),
        ("Sun, 01 Nov 9999 00:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    text: str | None, expected: float | None
) -> None:
    assert parse_retry_after(text) == expected


@given(st.text(max_size=80))
def test_senseless_retry_after_is_none_or_within_bounds(text: str) -> None:
    seconds = parse_retry_after(text)

    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_is_no_error(status: int) -> None:
    check_status(status, {}, b"", "o")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, problem(400, "There are no instances available"), NoCapacityError),
        (400, problem(400, "name is too long"), RejectedError),
        (402, problem(402, "balance too low"), InsufficientBalanceError),
        (404, problem(404, "pod not found"), NotFoundError),
        (409, problem(409, "the pod is not running"), RejectedError),
        (422, problem(422, "invalid", errors=["$: 'bogus' not allowed"]), RejectedError),
        (400, b'{"title": 3, "detail": []}', RejectedError),
        (404, b'{"x":' * 100_000, NotFoundError),
        (402, b"\xff\xfe", InsufficientBalanceError),
        (100, b"", ProtocolError),
        (308, b"", ProtocolError),
        (599, problem(599, "pod not found"), UnavailableError),
        (999, b"", UnavailableError),
        (401, problem(401, "missing bearer token"), AuthenticationError),
    ],
)  # fmt: skip
def test_refusal_is_told_by_its_words_or_its_status(
    status: int, body: bytes, expected: type[APIError]
) -> None:
    with pytest.raises(APIError) as caught:
        check_status(status, {"cf-ray": "r1"}, body, "getPod")

    assert type(caught.value) is expected
    assert caught.value.operation == "getPod"


def test_each_bad_key_of_a_body_is_named() -> None:
    body = problem(422, "Request validation failed.", errors=["$: 'a'", "$: 'b'"])

    with pytest.raises(RejectedError) as caught:
        check_status(422, {}, body, "createPod")

    assert "'a'" in caught.value.message
    assert "'b'" in caught.value.message


@pytest.mark.parametrize(
    ("headers", "seconds", "hint"),
    [
        ({"Retry-After": "12"}, 12.0, "Try again in 12 s."),
        ({}, None, "Try again in a minute."),
    ],
)
def test_rate_limit_says_when_to_try_again(
    headers: dict[str, str], seconds: float | None, hint: str
) -> None:
    with pytest.raises(RateLimitedError) as caught:
        check_status(429, headers, b"", "listPods")

    assert (caught.value.retry_after_seconds, caught.value.hint) == (seconds, hint)
