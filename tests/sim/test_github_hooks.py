"""Signed deliveries of the simulated GitHub, received by a real HTTP server."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from runpod_sim.github_hooks import sign
from runpod_sim.github_schema import answer_problems
from support.forge import ServedForge, served_forge
from support.waiting import wait_for

SECRET = "planted-webhook-secret"
HOOKS = "/repos/acme/widgets/hooks"


class Receiver:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                got.append((dict(self.headers), self.rfile.read(size)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def wait(self, count: int) -> list[dict[str, Any]]:
        """Wait for that many deliveries and return their payloads."""
        wait_for(lambda: len(self.got) >= count, what=f"{count} deliveries")
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def hook(served: ServedForge, receiver: Receiver, **options: int) -> None:
    body = {"scope": "acme/widgets", "url": receiver.url, "secret": SECRET}
    served.order("/hooks", {**body, **options})


def test_signature_is_the_documented_one() -> None:
    expected = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert sign("It's a Secret to Everybody", b"Hello, World!") == f"sha256={expected}"


def test_queued_and_cancelled_job_is_told_and_signed(
    served: ServedForge, receiver: Receiver
) -> None:
    hook(served, receiver)
    job_id = served.queue("true")
    receiver.wait(1)
    run_id = served.job(job_id)["run_id"]
    served.call("POST", f"/repos/acme/widgets/actions/runs/{run_id}/cancel")

    queued, completed = receiver.wait(2)

    assert (queued["action"], completed["action"]) == ("queued", "completed")
    assert completed["workflow_job"]["conclusion"] == "cancelled"
    assert queued["repository"]["full_name"] == "acme/widgets"
    headers, body = receiver.got[0]
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={digest}"
    assert headers["X-GitHub-Event"] == "workflow_job"


def test_copies_carry_the_same_id(served: ServedForge, receiver: Receiver) -> None:
    hook(served, receiver, copies=2)

    served.queue("true")
    receiver.wait(2)

    assert len({headers["X-GitHub-Delivery"] for headers, _ in receiver.got}) == 1


def test_lost_delivery_is_listed_and_delivered_again(
    served: ServedForge, receiver: Receiver
) -> None:
    hook(served, receiver, lost=1)
    served.queue("true")
    root = f"{HOOKS}/1/deliveries"

    lost = wait_for(lambda: served.call("GET", root).json(), what="a record")[0]
    again = served.call("POST", f"{root}/{lost['id']}/attempts")

    assert (lost["status_code"], lost["redelivery"]) == (502, False)
    assert again.status_code == 202
    receiver.wait(1)
    assert receiver.got[0][0]["X-GitHub-Delivery"] == lost["guid"]
    template = "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries"
    listed = served.call("GET", root).json()
    shown = served.call("GET", f"{root}/{lost['id']}").json()
    assert answer_problems(template, "GET", 200, listed) == []
    assert answer_problems(f"{template}/{{delivery_id}}", "GET", 200, shown) == []
    assert served.call("GET", f"{root}/1").status_code == 404


def test_other_repositories_are_not_told_of(
    served: ServedForge, receiver: Receiver
) -> None:
    hook(served, receiver)
    other = {"repository": "acme/other", "name": "x", "labels": ["a"], "script": "true"}

    served.order("/jobs", other)
    served.queue("true")

    assert receiver.wait(1)[0]["repository"]["full_name"] == "acme/widgets"
