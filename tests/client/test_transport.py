import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import structlog.testing
import urllib3

from runpod_client import (
    APIError,
    AuthenticationError,
    CapabilityRetiredError,
    ConfigError,
    InsufficientBalanceError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    Secret,
    TransportError,
    UnavailableError,
)
from runpod_client.transport import (
    FAILURES,
    Repetition,
    Request,
    Transport,
    parse_retry_after,
)
from support.http_server import Answer, ScriptedServer

KEY = Secret("rpa_planted0secret0value")
READ = Request(operation="findPod", path="/graphql", body={"a": 1}, is_read=True)
CHANGE = Request(operation="stopPod", path="/graphql", body={"a": 1})


def make(base_url: str, *, timeout_seconds: float = 5.0) -> Transport:
    return Transport(
        base_url=base_url,
        api_key=KEY,
        timeout_seconds=timeout_seconds,
        repetition=Repetition(initial_seconds=0.01, jitter_seconds=0.0),
    )


@pytest.fixture
def transport(http_server: ScriptedServer) -> Iterator[Transport]:
    made = make(http_server.base_url)
    yield made
    made.close()


def test_request_carries_key_and_user_agent(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(body=b"yes")]

    assert transport.send(CHANGE, bytes.decode) == "yes"

    (asked,) = http_server.asked
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["User-Agent"].startswith("runpod-client/")
    assert asked.json == {"a": 1}


def test_compressed_answer_is_unpacked(
    http_server: ScriptedServer, transport: Transport
) -> None:
    packed = gzip.compress(b"yes" * 100_000)
    http_server.queue = [Answer(body=packed, headers={"Content-Encoding": "gzip"})]

    assert transport.send(CHANGE, len) == 300_000


def test_key_is_sent_even_where_a_netrc_names_the_host(
    http_server: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    script = (
        "from runpod_client import Secret, logs\n"
        "from runpod_client.transport import Request, Transport\n"
        "logs.configure(level='error')\n"
        f"t = Transport(base_url={http_server.base_url!r}, api_key=Secret('rpa_x'),"
        " timeout_seconds=5)\n"
        "t._session.trust_env = True\n"
        "t.send(Request(operation='o', path='/'), bytes.decode)\n"
    )
    http_server.queue = [Answer(body=b"yes")]

    subprocess.run(
        [sys.executable, "-c", script],
        env={"NETRC": str(tmp_path / ".netrc"), "HOME": str(tmp_path)},
        check=True,
    )

    assert http_server.asked[0].headers["Authorization"] == "Bearer rpa_x"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=302, headers={"Location": "/x"}), ProtocolError),
        (Answer(status=400, body=b"nonsense"), RejectedError),
        (
            Answer(status=400, body=b'{"errors":[{"message":"Field x is not defined",'
            b'"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}'),
            RejectedError,
        ),
        (Answer(status=401), AuthenticationError),
        (Answer(status=402), InsufficientBalanceError),
        (Answer(status=403, body=b"error code: 1010"), AuthenticationError),
        (Answer(status=404), NotFoundError),
        (Answer(status=409), RejectedError),
        (Answer(status=410, body=b"<html>gone</html>"), CapabilityRetiredError),
        (Answer(status=429), RateLimitedError),
        (Answer(status=500, body=b"<html>oops</html>"), UnavailableError),
        (Answer(status=503), UnavailableError),
        (Answer(body=b'{"data":', cut=4), TransportError),
        (Answer(body=b"never", cut=0), TransportError),
    ],
)  # fmt: skip
def test_change_is_sent_once_whatever_comes_back(
    http_server: ScriptedServer,
    transport: Transport,
    answer: Answer,
    expected: type[APIError],
) -> None:
    http_server.queue = [answer]

    with pytest.raises(APIError) as caught:
        transport.send(CHANGE, bytes.decode)

    assert type(caught.value) is expected
    assert caught.value.operation == "stopPod"
    assert len(http_server.asked) == 1
    assert str(KEY) not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize(
    "failure",
    [Answer(status=500), Answer(status=429), Answer(body=b"cut off", cut=3)],
)
def test_read_is_repeated_after_a_failure_that_passes(
    http_server: ScriptedServer, transport: Transport, failure: Answer
) -> None:
    http_server.queue = [failure, failure, Answer(body=b"yes")]

    with structlog.testing.capture_logs():
        assert transport.send(READ, bytes.decode) == "yes"

    assert len(http_server.asked) == 3


def test_read_is_given_up_after_four_attempts(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(status=500)] * 9

    with structlog.testing.capture_logs(), pytest.raises(UnavailableError):
        transport.send(READ, bytes.decode)

    assert len(http_server.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_read_that_is_refused_for_good_is_not_repeated(
    http_server: ScriptedServer, transport: Transport, status: int
) -> None:
    http_server.queue = [Answer(status=status)]

    with pytest.raises(APIError):
        transport.send(READ, bytes.decode)

    assert len(http_server.asked) == 1


def test_retry_after_is_obeyed(
    http_server: ScriptedServer, transport: Transport
) -> None:
    limited = Answer(status=429, headers={"Retry-After": "1"})
    http_server.queue = [limited, Answer(body=b"yes")]
    started = time.monotonic()

    with structlog.testing.capture_logs():
        transport.send(READ, bytes.decode)

    assert time.monotonic() - started >= 1.0


def test_retry_after_beyond_the_time_limit_is_an_error_at_once(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(status=429, headers={"Retry-After": "3600"})]
    started = time.monotonic()

    with pytest.raises(RateLimitedError) as caught:
        transport.send(READ, bytes.decode)

    assert caught.value.retry_after_seconds == 3600
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"late", pause_seconds=30),
        Answer(body=b"x" * 1000, drip_seconds=0.05),
    ],
)
@pytest.mark.parametrize("request_", [READ, CHANGE])
def test_slow_answer_ends_at_the_time_limit(
    http_server: ScriptedServer, answer: Answer, request_: Request
) -> None:
    http_server.queue = [answer] * 9
    transport = make(http_server.base_url, timeout_seconds=0.5)
    started = time.monotonic()

    with structlog.testing.capture_logs(), pytest.raises(TransportError) as caught:
        transport.send(request_, bytes.decode)

    transport.close()
    assert "within 0.5 s" in caught.value.message
    assert time.monotonic() - started < 1.5


def test_unreachable_service_is_named_with_the_reason(dead_url: str) -> None:
    transport = make(dead_url)

    with pytest.raises(TransportError) as caught:
        transport.send(CHANGE, bytes.decode)

    transport.close()
    assert caught.value.message == (
        f"RunPod at {dead_url} cannot be reached for stopPod: connection refused"
    )


@pytest.mark.parametrize(
    "base_url",
    ["http://api.runpod.io", "ftp://x", "api.runpod.io", "https://", "http://[::1", ""],
)
def test_key_is_never_sent_in_the_clear_or_to_a_senseless_address(
    base_url: str,
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(base_url)

    assert "RUNPOD_API_BASE_URL" in caught.value.hint


@pytest.mark.parametrize("key", ["rpa_a b", "rpa_\n", "rpa_é"])
def test_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Transport(
            base_url="https://api.runpod.io", api_key=Secret(key), timeout_seconds=1
        )

    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("soon", None),
        ("Sun, 01 Nov 2020 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    text: str | None, expected: float | None
) -> None:
    assert parse_retry_after(text) == expected


def walk(kind: type[Exception]) -> Iterator[type[Exception]]:
    for below in kind.__subclasses__():
        yield below
        yield from walk(below)


def test_every_exception_of_requests_is_mapped() -> None:
    classes = {
        kind
        for kind in walk(requests.RequestException)
        if kind.__module__ == "requests.exceptions"
    }

    assert classes - set(FAILURES) == set()
    assert issubclass(urllib3.exceptions.HTTPError, Exception)
