import gc
import http.client
import json
import random
import ssl
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pybreaker
import pytest
import requests
import stamina
import structlog.testing
import tenacity
import urllib3

from runpod_client import wire
from runpod_client.answers import check_status
from runpod_client.errors import DeadlineError, Error, ProtocolError, TransportError
from runpod_client.failures import FAILURES, find_kind, translated
from runpod_client.model import Secret
from runpod_client.transport import Repetition, Request, Transport
from support.raw_server import RawServer

ROOTS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ssl.SSLError,
)
LIBRARIES = ("requests", "urllib3", "http", "ssl", "stamina", "tenacity", "pybreaker")


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # a test that can be repeated hides nothing


def walk(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        yield from walk(below)


def is_theirs(kind: type[BaseException]) -> bool:
    return kind.__module__.split(".", maxsplit=1)[0] in LIBRARIES


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.__module__)
def test_every_exception_of_the_libraries_is_in_the_table(
    root: type[BaseException],
) -> None:
    classes = {kind for kind in walk(root) if is_theirs(kind)}

    assert len(classes) > 3
    assert classes - set(FAILURES) == set()


@pytest.mark.parametrize("library", [stamina, tenacity, pybreaker, requests, urllib3])
def test_no_library_has_an_exception_without_a_meaning(library: ModuleType) -> None:
    modules = [library, getattr(library, "exceptions", library)]
    found = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    # warnings are said, not thrown
    theirs = {k for k in found if is_theirs(k) and not issubclass(k, Warning)}

    unmapped = {kind for kind in theirs if find_kind(kind.__new__(kind)) is None}

    assert unmapped == set()


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), AssertionError()])
def test_what_is_nobodys_failure_is_left_alone(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, render():
        raise error

    assert caught.value is error


def test_error_of_ours_is_left_alone_whatever_else_it_is() -> None:
    error = DeadlineError("x", waited_seconds=1.0)

    with pytest.raises(DeadlineError) as caught, render():
        raise error

    assert caught.value is error


def test_late_is_told_from_cut() -> None:
    with pytest.raises(TransportError, match=r"no answer within 3 s"), render():
        raise TimeoutError
    with pytest.raises(TransportError, match="the connection was cut"), render():
        raise http.client.IncompleteRead(b"")


def render() -> Any:
    return translated(operation="o", base_url="http://x", timeout_seconds=3)


class Envelope(msgspec.Struct):
    """A shape of answer, as a dialect would ask for it."""

    data: dict[str, int] | None = None
    errors: list[str] | None = None


TEXTS = (
    "", "pod not found", "There are no longer any instances available", "\x00", "é",
    "SUPPLY_CONSTRAINT", "rpa_ABCDEF0123456789", "9" * 400,
)  # fmt: skip
NAMES = ("errors", "title", "detail", "status", "message", "extensions", "code", "data")
HEADERS = ("Retry-After", "RateLimit", "RateLimit-Policy", "cf-ray", "Content-Type")


def make_value(rng: random.Random, depth: int = 0) -> Any:
    choice = rng.randrange(8 if depth < 3 else 5)
    if choice < 5:
        return [None, True, rng.randrange(-9, 10**18), 1e308, rng.choice(TEXTS)][choice]
    if choice < 7:
        chosen = rng.sample(NAMES, rng.randrange(5))
        return {name: make_value(rng, depth + 1) for name in chosen}
    return [make_value(rng, depth + 1) for _ in range(rng.randrange(3))]


def make_body(rng: random.Random) -> bytes:
    body = json.dumps(make_value(rng)).encode()
    garble = rng.randrange(5)
    if garble == 0:
        return body[: rng.randrange(len(body) + 1)]
    if garble == 1:
        return bytes(rng.choices(range(256), k=rng.randrange(40)))
    if garble == 2 and body:
        place = rng.randrange(len(body))
        return body[:place] + rng.randbytes(1) + body[place + 1 :]
    return body


def make_headers(rng: random.Random) -> dict[str, str]:
    values = ("7", "-1", "soon", "", '"a";r=0;t=1', '"a";q=0;w=0', '"a"' * 900, "\x80")
    return {name: rng.choice(values) for name in HEADERS if rng.random() < 0.4}


def test_ten_thousand_garbled_answers_end_in_our_errors_alone() -> None:
    rng = seeded(92)
    ends: Counter[str] = Counter()

    for _ in range(10_000):
        status = rng.choice(
            [200, 204, 400, 404, 422, 429, 500, rng.randrange(100, 1000)]
        )
        body = make_body(rng)
        try:
            check_status(status, make_headers(rng), body, "o")
            wire.decode(body, Envelope, operation="o")
            ends["answer"] += 1
        except Error as error:
            ends[type(error).__name__] += 1

    assert ends.total() == 10_000
    assert len(ends) >= 8


def make_raw_answer(rng: random.Random) -> list[bytes]:
    """Return an HTTP answer with something wrong somewhere, in pieces."""
    body = make_body(rng)
    status = rng.choice([b"200 OK", b"500 Oops", b"429 No", b"204 None", b"99 x", b"?"])
    length = str(len(body) + rng.choice([0, 0, 0, 5, -3, 10**6])).encode()
    framing = rng.choice(
        [
            b"Content-Length: " + length,
            b"Content-Length: 5, 6",
            b"Content-Length: x",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip",
            b"Content-Encoding: gzip",
            b"Content-Encoding: deflate\r\nContent-Length: " + length,
            b"no colon here",
            b"X: " + b"y" * 70_000,
        ]
    )
    if b"chunked" in framing and rng.random() < 0.7:
        size = rng.choice([b"%x" % len(body), b"-5", b"zz", b"f" * 17, b""])
        body = size + b"\r\n" + body + rng.choice([b"\r\n0\r\n\r\n", b"", b"\r\n"])
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/3", b"SSH-2.0"])
    whole = version + b" " + status + b"\r\n" + framing + b"\r\n\r\n" + body
    if rng.random() < 0.2:
        whole = whole[: rng.randrange(len(whole))]
    place = rng.randrange(len(whole) + 1)
    return [whole[:place], whole[place:]]


# urllib3 leaves the file of an answer open whose headers it refuses, until it is collected
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_four_hundred_broken_connections_end_in_our_errors_alone() -> None:
    rng = seeded(92)
    ends: Counter[str] = Counter()
    said: list[str] = []
    request = Request(operation="o", path="/v2/pods", method="GET", is_read=True)
    repetition = Repetition(initial_seconds=0.0, jitter_seconds=0.0, max_attempts=1)

    with RawServer() as server, structlog.testing.capture_logs():
        for _ in range(400):
            server.answers = [make_raw_answer(rng)]
            transport = Transport(
                base_url=server.base_url,
                api_key=Secret("rpa_planted0secret0value"),
                timeout_seconds=2.0,
                repetition=repetition,
            )
            try:
                transport.send(request, len)
                ends["answer"] += 1
            except Error as error:
                said.append(f"{error!r} {error.hint}")
                ends[type(error).__name__] += 1
            transport.close()
    gc.collect()

    assert ends.total() == 400
    assert not any("planted" in words for words in said)
    assert {"answer", ProtocolError.__name__, TransportError.__name__} <= set(ends)
