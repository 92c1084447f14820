"""A GitHub that gives prepared answers, for trouble the simulator cannot be told to make."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runner_installer import GitHub
from runpod_client import Secret

Prepared = tuple[int, dict[str, str], Any]


class Script:
    """Prepared answers, in order, and what was asked: method, path, headers, body.

    Args:
        at_arrival: Called in the server's thread before a request is answered.
    """

    def __init__(
        self, *answers: Prepared, at_arrival: Callable[[], None] = lambda: None
    ) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.at_arrival = at_arrival


@contextmanager
def served_script(script: Script) -> Iterator[str]:
    """Serve a script on a free port of loopback; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = (self.command, self.path, dict(self.headers), body)
            script.requests.append(asked)
            script.at_arrival()
            status, headers, body = script.answers.pop(0)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response_only(status)
            for key, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != http.HTTPStatus.NOT_MODIFIED:
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names http.server wants

        def log_message(self, *_args: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def scripted(script: Script, **options: Any) -> Iterator[GitHub]:
    """Yield our client of a served script, in a hurry and at a fixed time."""
    with served_script(script) as address:
        settings: dict[str, Any] = {
            "token": Secret("ghp_planted"),
            "timeout_seconds": 5,
            "rate_limit_wait_seconds": 2,
            "retry_wait_seconds": 0.01,
            "now": lambda: 1000.0,
        }
        with GitHub(api_url=address, **{**settings, **options}) as github:
            yield github
