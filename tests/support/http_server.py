"""An HTTP server that answers as a test scripts it, well or badly."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one request gets.

    Attributes:
        cut: Close the connection, with a reset, after this many bytes of the body.
        pause_seconds: Before the answer's first byte.
        drip_seconds: Between the single bytes of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause_seconds: float = 0.0
    drip_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one request was."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Asked], Answer]


def json_answer(document: Any, *, status: int = 200) -> Answer:
    return Answer(
        status=status,
        body=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )


class ScriptedServer:
    """Answers come from `queue` first, then from `script`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.queue: list[Answer] = []
        self.script: Script = lambda _asked: Answer(status=500, body=b"no script")
        self._stopping = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                asked = Asked(
                    method=self.command,
                    path=self.path,
                    headers=dict(self.headers),
                    body=self.rfile.read(length),
                )
                owner.asked.append(asked)
                answer = owner.queue.pop(0) if owner.queue else owner.script(asked)
                owner.deliver(self, answer)

            do_GET = do_POST  # noqa: N815  # the base class names it so

            def log_message(self, *_arguments: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def deliver(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        self._stopping.wait(answer.pause_seconds)
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(answer.body)))
            handler.end_headers()
            if answer.drip_seconds:
                for byte in answer.body:
                    handler.wfile.write(bytes([byte]))
                    if self._stopping.wait(answer.drip_seconds):
                        break
            else:
                handler.wfile.write(answer.body[: answer.cut])
            handler.wfile.flush()
        except OSError:
            handler.close_connection = True  # the client had enough
        if answer.cut is not None:
            reset = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            handler.close_connection = True
            handler.connection.close()

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()


@pytest.fixture
def http_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def dead_url() -> str:
    """Return a base URL on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
