"""Time limits and streams, over a server that sends its bytes as it likes."""

import time
from collections.abc import Iterator

import pytest

from runpod_client.errors import NotFoundError, ProtocolError, TransportError
from runpod_client.model import Secret
from runpod_client.transport import Request, Transport
from support.http_server import Answer, ScriptedServer
from support.raw_server import RawServer
from support.waiting import wait_for

LOGS = Request(operation="getPodLogs", path="/v2/pods/p/logs", method="GET")


def make(base_url: str, *, timeout_seconds: float = 5.0) -> Transport:
    return Transport(
        base_url=base_url,
        api_key=Secret("rpa_planted0secret0value"),
        timeout_seconds=timeout_seconds,
    )


@pytest.fixture
def transport(http_server: ScriptedServer) -> Iterator[Transport]:
    made = make(http_server.base_url)
    yield made
    made.close()


def test_connection_is_kept_for_the_next_call() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"

    with RawServer(hold=True) as server:
        server.answers = [[answer], [answer]]
        transport = make(server.base_url)
        got = [transport.send(LOGS, bytes.decode) for _ in range(2)]
        transport.close()

    assert got == ["yes", "yes"]
    assert server.connections == 1


def test_answer_that_stops_in_the_middle_ends_at_the_time_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    started = time.monotonic()

    with RawServer(pause_seconds=0.4, hold=True) as server:
        server.answers = [[head, b"abc"]]
        transport = make(server.base_url, timeout_seconds=0.6)
        with pytest.raises(TransportError, match=r"within 0\.6 s"):
            transport.send(LOGS, bytes)
        elapsed = time.monotonic() - started
        transport.close()

    assert elapsed < 0.95  # and not 0.4 s + 0.6 s


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
)
def test_head_that_drips_ends_at_the_time_limit(head: bytes) -> None:
    started = time.monotonic()

    with RawServer(pause_seconds=0.1) as server:
        server.answers = [[bytes([byte]) for byte in head]]
        transport = make(server.base_url, timeout_seconds=0.6)
        with pytest.raises(TransportError, match=r"no answer within 0\.6 s"):
            transport.send(LOGS, bytes)
        elapsed = time.monotonic() - started
        transport.close()

    assert 0.6 <= elapsed < 2.0


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def stream(server: RawServer, *, seconds: float = 5.0) -> list[str]:
    transport = make(server.base_url)
    try:
        with transport.stream_lines(LOGS, deadline_seconds=seconds) as lines:
            return list(lines)
    finally:
        transport.close()


def test_lines_are_given_as_they_stand_whatever_the_pieces() -> None:
    with RawServer(pause_seconds=0.02) as server:
        server.answers = [
            [STREAM, b"id: 1\nda", b"ta: \xc3", b"\xa9\r\n\n", b"\xff\nlast"]
        ]
        got = stream(server)

    assert got == ["id: 1", "data: é", "", "\ufffd", "last"]
    assert b"Accept: text/event-stream" in server.heads[0]


def test_lines_end_quietly_with_the_time_and_a_cut_line_is_left_out() -> None:
    started = time.monotonic()

    with RawServer(hold=True, pause_seconds=0.2) as server:
        server.answers = [[STREAM + b"whole\n", b"half a li"]]
        got = stream(server, seconds=0.4)
        elapsed = time.monotonic() - started

    assert got == ["whole"]
    assert 0.4 <= elapsed < 2.0


def test_first_line_is_given_while_the_stream_goes_on() -> None:
    with RawServer(hold=True) as server:
        server.answers = [[STREAM, b"first\n"]]
        transport = make(server.base_url)
        started = time.monotonic()
        with transport.stream_lines(LOGS, deadline_seconds=9) as lines:
            first = next(lines)
        elapsed = time.monotonic() - started
        transport.close()

    assert (first, elapsed < 2.0) == ("first", True)


def test_leaving_the_stream_closes_its_connection() -> None:
    with RawServer(hold=True) as server:
        server.answers = [[STREAM, b"first\n"]]
        transport = make(server.base_url)
        with transport.stream_lines(LOGS, deadline_seconds=30) as lines:
            next(lines)
            before = server.closed
        wait_for(lambda: server.closed == 1, what="the connection to be closed")
        transport.close()

    assert before == 0


def test_stream_that_is_refused_is_the_error_it_deserves(
    http_server: ScriptedServer, transport: Transport
) -> None:
    http_server.queue = [Answer(status=404, body=b'{"detail": "pod not found"}')]

    with (
        pytest.raises(NotFoundError, match="pod not found"),
        transport.stream_lines(LOGS, deadline_seconds=5),
    ):
        raise AssertionError("it was opened")


def test_stream_that_is_cut_is_a_transport_error() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    with RawServer() as server:
        server.answers = [[chunked, b"6\r\nline\nx\r\n"]]
        with pytest.raises(TransportError, match="getPodLogs"):
            stream(server)


def test_line_without_an_end_is_given_up() -> None:
    with RawServer() as server:
        server.answers = [[STREAM, *[b"x" * 300_000] * 4]]
        with pytest.raises(ProtocolError, match="cannot be read"):
            stream(server)


def test_reader_s_own_error_is_not_the_services() -> None:
    with RawServer() as server:
        server.answers = [[STREAM, b"a\nb\n"]]
        transport = make(server.base_url)
        with (
            pytest.raises(OSError, match="the reader's disk is full"),
            transport.stream_lines(LOGS, deadline_seconds=5),
        ):
            raise OSError("the reader's disk is full")
        transport.close()
