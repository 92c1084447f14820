import re
import socket
import time
from collections.abc import Callable

import pytest

from runpod_client.model import LogLine, Protocol
from runpod_client.probes import HTTPProbe, LogProbe, Outcome, Probe, SSHProbe, TCPProbe
from support.http_server import Answer, ScriptedServer
from support.listeners import Listener, drip, hold, listening, make_pod, say

BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"
LIMIT = 0.4


def test_sshd_is_ready_when_its_greeting_is_read() -> None:
    with listening(say(BANNER)) as server:
        outcome = SSHProbe().check(make_pod(server.port))

    assert outcome == Outcome(is_ready=True, status="sshd answers: SSH-2.0-OpenSSH_9.6")


def test_lines_before_the_greeting_and_split_packets_are_read_through() -> None:
    parts = (b"Welcome\r\nto the", b" pod\r\nSS", b"H-2.0-x\r\n")

    with listening(say(*parts, pause_seconds=0.02)) as server:
        outcome = SSHProbe().check(make_pod(server.port))

    assert outcome.is_ready


@pytest.mark.parametrize(
    ("talk", "status"),
    [
        (say(), "closed without an answer"),
        (say(b"\x00" * 8000), "something that is no sshd answers"),
        (say(b"hello\r\n" * 100), "something that is no sshd answers"),
        (hold, "connected, but nothing is said"),
        (drip, "connected, but nothing is said"),
    ],
    ids=["closes", "binary", "chatty", "silent", "dripping"],
)
def test_server_that_is_no_sshd_is_not_ready_and_cannot_hold_the_probe(
    talk: Callable[[socket.socket], None], status: str
) -> None:
    with listening(talk) as server:
        started = time.monotonic()
        outcome = SSHProbe(limit_seconds=LIMIT).check(make_pod(server.port))
        took = time.monotonic() - started

    assert outcome == Outcome(is_ready=False, status=status)
    assert took < LIMIT + 0.5


def test_greeting_cannot_move_the_cursor() -> None:
    with listening(say(b"SSH-2.0-\x1b[2Jevil\r\n")) as server:
        outcome = SSHProbe().check(make_pod(server.port))

    assert outcome.status.isprintable()


def test_refused_connection_is_not_ready() -> None:
    closed = Listener(hold)
    try:
        outcome = SSHProbe().check(make_pod(closed.port))
    finally:
        closed.close()

    assert outcome == Outcome(is_ready=False, status="connection refused")


@pytest.mark.parametrize("probe", [SSHProbe(), TCPProbe(port=22)], ids=["ssh", "tcp"])
def test_pod_without_a_public_address_is_not_ready(probe: Probe) -> None:
    outcome = probe.check(make_pod(1, protocol=Protocol.HTTP))

    assert outcome == Outcome(
        is_ready=False, status="port 22 has no public address yet"
    )


def test_port_is_ready_when_it_accepts() -> None:
    with listening(hold) as server:
        pod = make_pod(server.port, private_port=9000)
        outcome = TCPProbe(port=9000).check(pod)

    assert outcome == Outcome(is_ready=True, status="port 9000 accepts")


@pytest.mark.parametrize(
    ("status", "expected", "is_ready"),
    [
        (200, None, True),
        (302, None, True),
        (404, None, False),
        (502, None, False),
        (401, 401, True),
        (200, 401, False),
    ],
)
def test_http_is_ready_at_the_expected_status(
    http_server: ScriptedServer, status: int, expected: int | None, *, is_ready: bool
) -> None:
    http_server.script = lambda _asked: Answer(status=status, body=b"x" * 100_000)
    port = int(http_server.base_url.rpartition(":")[2])
    probe = HTTPProbe(port=8188, path="/system_stats?a=b", expected_status=expected)

    outcome = probe.check(make_pod(port, private_port=8188))

    assert outcome.is_ready is is_ready
    assert outcome.status.startswith(f"port 8188 answers {status}")
    (asked,) = http_server.asked
    assert (asked.method, asked.path) == ("GET", "/system_stats?a=b")
    assert asked.headers["Host"] == f"127.0.0.1:{port}"


def test_http_port_without_an_address_is_asked_by_way_of_the_proxy(
    http_server: ScriptedServer,
) -> None:
    http_server.script = lambda asked: Answer(
        status=200 if asked.path == "/ready" else 502
    )
    # the simulator has no proxy with a name per pod: only the template's shape is real
    probe = HTTPProbe(port=8188, path="/ready", proxy_url=http_server.base_url)

    outcome = probe.check(make_pod(60141, private_port=8188, protocol=Protocol.HTTP))

    assert outcome == Outcome(is_ready=True, status="port 8188 answers 200 OK")


def test_proxy_is_asked_over_tls_and_a_server_without_it_is_not_ready(
    http_server: ScriptedServer,
) -> None:
    tls_url = http_server.base_url.replace("http://127.0.0.1", "https://localhost")
    probe = HTTPProbe(port=8188, proxy_url=tls_url, limit_seconds=5)

    outcome = probe.check(make_pod())

    assert not outcome.is_ready
    assert outcome.status.startswith("no TLS")
    assert http_server.asked == []


def test_host_that_does_not_exist_is_not_ready() -> None:
    probe = HTTPProbe(port=8188, proxy_url="http://{pod_id}.invalid:{port}")

    outcome = probe.check(make_pod())

    assert not outcome.is_ready


@pytest.mark.parametrize("talk", [hold, drip], ids=["silent", "dripping"])
def test_http_server_that_never_answers_cannot_hold_the_probe(
    talk: Callable[[socket.socket], None],
) -> None:
    with listening(talk) as server:
        started = time.monotonic()
        outcome = HTTPProbe(port=80, limit_seconds=LIMIT).check(
            make_pod(server.port, private_port=80)
        )
        took = time.monotonic() - started

    assert not outcome.is_ready
    assert took < LIMIT + 0.5


def test_log_is_ready_when_a_line_matches() -> None:
    lines = [LogLine(text="loading", is_system=False)]
    probe = LogProbe(
        pattern=re.compile(r"Model \w+ loaded"), read_logs=lambda _p: lines
    )

    before = probe.check(make_pod())
    lines.append(LogLine(text="Model flux loaded in 3 s", is_system=False))
    after = probe.check(make_pod())

    assert before == Outcome(is_ready=False, status="the log ends with: loading")
    assert after.is_ready
