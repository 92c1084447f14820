import contextlib
import gzip
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing

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
from runpod_client.breakers import Breakers, Rule
from runpod_client.errors import CircuitOpenError
from runpod_client.quota import reading_as
from runpod_client.transport import Priority, Repetition, Request, Transport
from support.clock import FakeTime
from support.http_server import Answer, Asked, ScriptedServer
from support.raw_server import RawServer

KEY = Secret("rpa_planted0secret0value")
READ = Request(operation="findPod", path="/graphql", body={"a": 1}, is_read=True)
CHANGE = Request(operation="stopPod", path="/graphql", body={"a": 1})
SAFE_CHANGE = Request(
    operation="stopPod", path="/graphql", body={}, is_idempotent=True
)  # fmt: skip
STOP = Request(
    operation="stopPod", path="/graphql", body={}, is_idempotent=True, ends_spending=True
)  # fmt: skip
WATCH = Request(
    operation="listPods", path="/graphql", body={}, is_read=True,
    priority=Priority.TELEMETRY,
)  # fmt: skip


def make(
    base_url: str, *, timeout_seconds: float = 5.0, breakers: Breakers | None = None
) -> Transport:
    return Transport(
        base_url=base_url,
        api_key=KEY,
        timeout_seconds=timeout_seconds,
        repetition=Repetition(initial_seconds=0.01, jitter_seconds=0.0),
        breakers=breakers,
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


def test_method_path_and_query_stand_on_the_wire() -> None:
    request = Request(
        operation="o",
        path="/v2/pods/a%2Fb",
        method="DELETE",
        query={"include": ["A", "B"], "name": "x y&z"},
    )

    with RawServer() as server:
        server.answers = [[b"HTTP/1.1 204 No Content\r\n\r\n"]]
        transport = make(server.base_url)
        got = transport.send(request, len)
        transport.close()

    line = server.heads[0].partition(b"\r\n")[0]
    assert got == 0
    assert line == b"DELETE /v2/pods/a%2Fb?include=A&include=B&name=x+y%26z HTTP/1.1"


def test_accepted_status_is_an_answer(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(status=404, body=b"none"), Answer(status=409)]
    request = Request(operation="o", path="/x", accept_statuses=frozenset({404}))

    assert transport.send(request, bytes.decode) == "none"
    with pytest.raises(RejectedError):
        transport.send(request, bytes.decode)


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
            Answer(status=400, body=b'{"errors":[{"message":"Variable $x is missing",'
            b'"extensions":{"code":"BAD_USER_INPUT"}}]}'),
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


@pytest.mark.parametrize("request_", [READ, SAFE_CHANGE])
@pytest.mark.parametrize(
    "failure",
    [Answer(status=500), Answer(status=429, headers={"Retry-After": "0"}),
     Answer(body=b"cut off", cut=3)],
)  # fmt: skip
def test_what_may_be_sent_again_is_after_a_failure_that_passes(
    http_server: ScriptedServer,
    transport: Transport,
    failure: Answer,
    request_: Request,
) -> None:
    http_server.queue = [failure, failure, Answer(body=b"yes")]

    with structlog.testing.capture_logs():
        assert transport.send(request_, bytes.decode) == "yes"

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


def test_retry_after_is_obeyed_within_a_second(
    http_server: ScriptedServer, transport: Transport
) -> None:
    limited = Answer(status=429, headers={"Retry-After": "1"})
    http_server.queue = [limited, Answer(body=b"yes")]
    started = time.monotonic()

    with structlog.testing.capture_logs():
        transport.send(READ, bytes.decode)

    assert 1.0 <= time.monotonic() - started < 2.0


def test_retry_after_beyond_the_time_limit_is_an_error_at_once(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(status=429, headers={"Retry-After": "3600"})]
    started = time.monotonic()

    with pytest.raises(RateLimitedError) as caught:
        transport.send(READ, bytes.decode)

    assert caught.value.retry_after_seconds == 3600
    assert "3600 s" in caught.value.hint
    assert time.monotonic() - started < 1.0


def test_call_after_a_refusal_is_held_back_but_for_one_that_ends_spending(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [
        Answer(status=429, headers={"Retry-After": "3600"}),
        Answer(body=b"stopped"),
    ]
    with pytest.raises(RateLimitedError):
        transport.send(READ, bytes.decode)

    with pytest.raises(RateLimitedError, match="is held back"):
        transport.send(CHANGE, bytes.decode)
    stopped = transport.send(STOP, bytes.decode)

    assert stopped == "stopped"
    assert len(http_server.asked) == 2


class CountingScript:
    """Answers by a quota of 20 calls per window of two seconds, as REST v2 tells it."""

    LIMIT, SPAN = 20, 2

    def __init__(self) -> None:
        self.used: Counter[int] = Counter()
        self.refused = 0
        self.fewest_left = self.LIMIT
        self._lock = threading.Lock()

    def __call__(self, _asked: Asked) -> Answer:
        with self._lock:
            now = time.time()
            window = int(now // self.SPAN)
            resets_in = int(self.SPAN - now % self.SPAN) + 1
            if self.used[window] >= self.LIMIT:
                self.refused += 1
                return Answer(status=429, headers={"Retry-After": str(resets_in)})
            self.used[window] += 1
            remaining = self.LIMIT - self.used[window]
            self.fewest_left = min(self.fewest_left, remaining)
            left = f'"w";r={remaining};t={resets_in}'
            policy = f'"w";q={self.LIMIT};w={self.SPAN}'
            return Answer(headers={"RateLimit": left, "RateLimit-Policy": policy})


def test_hub_that_watches_in_a_loop_starves_no_change(
    http_server: ScriptedServer, transport: Transport
) -> None:
    script = CountingScript()
    http_server.script = script
    stopping = threading.Event()
    watched: list[bytes] = []

    def watch() -> None:
        while not stopping.is_set():
            watched.append(transport.send(WATCH, bytes))

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        transport.send(CHANGE, bytes)
        stopping.wait(1.0)
    stopping.set()
    for thread in threads:
        thread.join(timeout=10)

    assert script.refused == 0
    assert script.fewest_left >= 1
    assert len(watched) >= 20


@pytest.mark.parametrize("status", [500, 503])
def test_service_that_is_down_is_not_asked_until_the_window_is_over(
    http_server: ScriptedServer, status: int
) -> None:
    fake = FakeTime()
    rule = Rule(max_failures=5, window_seconds=30)
    breakers = Breakers(rule=rule, clock=fake.clock, now=fake.now)
    transport = make(http_server.base_url, breakers=breakers)
    http_server.script = lambda _asked: Answer(status=status)

    with structlog.testing.capture_logs():
        for _ in range(2):
            with pytest.raises(UnavailableError, match=f"HTTP {status}"):
                transport.send(READ, bytes)
        with pytest.raises(CircuitOpenError):
            transport.send(CHANGE, bytes)
        asked_by_then = len(http_server.asked)
        http_server.script = lambda _asked: Answer(body=b"yes")
        with pytest.raises(CircuitOpenError):
            transport.send(READ, bytes)
        stopped = transport.send(STOP, bytes)
        restored = transport.send(READ, bytes)

    transport.close()
    assert asked_by_then == 5
    assert (stopped, restored) == (b"yes", b"yes")


@pytest.mark.parametrize(
    ("request_", "named", "expected"),
    [
        (READ, None, Priority.CONTROL),
        (READ, Priority.SAFETY, Priority.SAFETY),
        (WATCH, Priority.SAFETY, Priority.TELEMETRY),
        (CHANGE, Priority.TELEMETRY, Priority.CONTROL),
    ],
)
def test_read_takes_the_priority_of_what_it_is_part_of(
    request_: Request, named: Priority | None, expected: Priority
) -> None:
    with reading_as(named) if named else contextlib.nullcontext():
        turn = request_.turn

    assert turn is expected
    assert READ.turn is Priority.CONTROL


def test_telemetry_that_fails_leaves_changes_alone(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.script = lambda _asked: Answer(status=500)
    with structlog.testing.capture_logs():
        for _ in range(3):
            with pytest.raises(UnavailableError):
                transport.send(WATCH, bytes)

    http_server.script = lambda _asked: Answer(body=b"yes")

    assert transport.send(CHANGE, bytes) == b"yes"
    with pytest.raises(CircuitOpenError):
        transport.send(WATCH, bytes)


def test_one_pod_that_cannot_be_started_does_not_stop_the_others(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.script = lambda _asked: Answer(body=b"yes")
    words = UnavailableError("Something went wrong. Please try again.")

    def refuse(_body: bytes) -> None:
        raise words

    for _ in range(9):
        with pytest.raises(UnavailableError) as caught:
            transport.send(CHANGE, refuse)
        assert caught.value is words

    assert transport.send(CHANGE, bytes) == b"yes"


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


def test_call_that_goes_well_loads_no_more_than_requests_and_msgspec(
    http_server: ScriptedServer,
) -> None:
    http_server.queue = [Answer(body=b"yes")]
    script = (
        "import sys\n"
        "from runpod_client import Secret, logs\n"
        "from runpod_client.transport import Request, Transport\n"
        "logs.configure(level='warning')\n"
        f"t = Transport(base_url={http_server.base_url!r}, api_key=Secret('rpa_x'),"
        " timeout_seconds=5)\n"
        "t.send(Request(operation='o', path='/', is_read=True), bytes.decode)\n"
        "heavy = {'asyncio', 'pybreaker', 'rich', 'stamina', 'structlog', 'tenacity'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
