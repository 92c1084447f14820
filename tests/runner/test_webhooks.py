"""A delivery is believed by its signature, read once, and answered at once."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from runner_installer.demand import Board
from runner_installer.errors import WebhookError
from runner_installer.model import parse_scope
from runner_installer.pools import Pool
from runner_installer.webhook_server import MOST_BYTES, Receiver, listen, served
from runner_installer.webhooks import Inbox, Incoming, check_signature
from runpod_client import ConfigError, Secret
from support.deliveries import MADE_AT, SECRET, encode, headers_for, payload

POOL = Pool(name="gpu", scope=parse_scope("acme/widgets"), labels=("gpu",))


def incoming(document: object, **given: Any) -> Incoming:
    body = encode(document)
    return Incoming(headers=headers_for(body, **given), body=body)


def inbox(now: Callable[[], datetime] = lambda: MADE_AT) -> Inbox:
    return Inbox([Secret(SECRET)], now=now)


def test_github_s_own_test_vector_is_accepted() -> None:
    signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    delivery = Incoming(
        headers={"x-hub-signature-256": f"sha256={signature}"}, body=b"Hello, World!"
    )

    check_signature(delivery, [Secret("It's a Secret to Everybody")])


@pytest.mark.parametrize("given", ["", "sha256=", "sha1=abc", "sha256=" + "0" * 64])
def test_anything_else_is_refused_before_the_body_is_looked_at(given: str) -> None:
    delivery = Incoming(headers={"x-hub-signature-256": given}, body=b"no JSON {")

    with pytest.raises(WebhookError) as refused:
        inbox().take(delivery)

    assert refused.value.http_status == 401


def test_secret_before_the_present_one_is_taken_as_well() -> None:
    secrets = [Secret("new"), Secret("old")]
    document = payload()

    job = Inbox(secrets, now=lambda: MADE_AT).take(incoming(document, secret="old"))

    assert job is not None
    assert job.job_id == 1


def test_delivery_becomes_a_job_by_its_action_not_its_status() -> None:
    job = inbox().take(incoming(payload(7, "queued", status="waiting")))

    assert job is not None
    assert (job.job_id, job.status, job.repository) == (7, "queued", "acme/widgets")
    assert job.labels == ("gpu",)


@pytest.mark.parametrize(
    ("document", "event"),
    [
        (payload(action="waiting"), "workflow_job"),
        ({"zen": "Keep it logically awesome."}, "ping"),
        ({"action": "opened"}, "pull_request"),
    ],
)
def test_what_asks_for_no_runner_is_taken_and_forgotten(
    document: object, event: str
) -> None:
    assert inbox().take(incoming(document, event=event)) is None


def test_same_delivery_or_same_news_counts_once() -> None:
    box = inbox()
    first = box.take(incoming(payload(), delivery="a"))

    again = box.take(incoming(payload(), delivery="a"))
    same_news = box.take(incoming(payload(), delivery="b"))
    other_news = box.take(incoming(payload(action="in_progress"), delivery="c"))

    assert first is not None
    assert again is None
    assert same_news is None
    assert other_news is not None


@pytest.mark.parametrize(
    "now", [MADE_AT + timedelta(hours=25), MADE_AT - timedelta(hours=1)]
)
def test_news_of_another_day_is_a_replay(now: datetime) -> None:
    with pytest.raises(WebhookError) as refused:
        inbox(lambda: now).take(incoming(payload()))

    assert refused.value.http_status == 422


def test_body_that_is_not_as_documented_is_refused() -> None:
    with pytest.raises(WebhookError) as refused:
        inbox().take(incoming({"action": "queued"}))

    assert refused.value.http_status == 400


@dataclass(frozen=True)
class Desk:
    """A served receiver and what it has written on the board."""

    port: int
    board: Board

    def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    async def post(self, document: object, **given: Any) -> int:
        body = encode(document)
        headers = headers_for(body, **given)
        return (
            await asyncio.to_thread(self.send, "POST", "/webhook", body, **headers)
        )[0]

    @property
    def waiting(self) -> list[int]:
        return [heard.job.job_id for heard in self.board.list_waiting(POOL)]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    board = Board([POOL], now=lambda: MADE_AT)
    listener = listen("127.0.0.1", 0, allow_remote=False)
    port = listener.getsockname()[1]
    async with served(Receiver(board, inbox()), listener):
        yield Desk(port=port, board=board)


async def test_deliveries_reach_the_board_in_whatever_order_they_come() -> None:
    async with desk() as here:
        statuses = [
            await here.post(payload(1), delivery="1"),
            await here.post(payload(2, "in_progress"), delivery="2"),
            await here.post(payload(2, "queued"), delivery="3"),
            await here.post(payload(3), delivery="4", secret="wrong"),
        ]

        assert statuses == [202, 202, 202, 401]
        assert here.waiting == [1]
        assert here.board.changed.is_set()


async def test_health_is_told_and_anything_else_is_not_found() -> None:
    async with desk() as here:
        health = await asyncio.to_thread(here.send, "GET", "/health")
        other = await asyncio.to_thread(here.send, "GET", "/webhook")

        assert health == (200, "ok\n")
        assert other[0] == 404


@pytest.mark.parametrize("length", [str(MOST_BYTES + 1), "many"])
async def test_body_above_the_limit_is_refused_unread(length: str) -> None:
    async with desk() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        lines = f"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        writer.write(lines.encode())
        async with asyncio.timeout(10):
            status = await reader.readline()
        writer.close()

        assert status.split()[1] in {b"413", b"400"}


async def test_endless_body_without_a_length_is_cut_off() -> None:
    async with desk() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"x" * 65_536
        for _ in range(MOST_BYTES // len(chunk) + 2):
            writer.write(b"10000\r\n" + chunk + b"\r\n")
        async with asyncio.timeout(10):
            status = await reader.readline()
        writer.close()

        assert status.split()[1] == b"413"


def test_receiver_listens_beyond_loopback_only_when_asked_to() -> None:
    with pytest.raises(ConfigError, match="others reach it"):
        listen("0.0.0.0", 0, allow_remote=False)


def test_taken_port_is_told_by_its_number() -> None:
    taken = listen("127.0.0.1", 0, allow_remote=False)
    port = taken.getsockname()[1]

    with taken, pytest.raises(ConfigError, match=str(port)):
        listen("127.0.0.1", port, allow_remote=False)


def test_sample_of_a_real_delivery_is_understood() -> None:
    document = json.loads(
        '{"action":"queued","workflow_job":{"id":2832853555,"run_id":940463255,'
        '"workflow_name":null,"head_branch":"main","run_url":"u","run_attempt":1,'
        '"node_id":"n","head_sha":"e3","url":"u","html_url":"h","status":"queued",'
        '"conclusion":null,"created_at":"2026-11-22T11:59:09Z",'
        '"started_at":"2026-11-22T11:59:09Z","completed_at":null,"name":"Test workflow",'
        '"steps":[],"check_run_url":"c","labels":["gpu","db-app"],"runner_id":null,'
        '"runner_name":null,"runner_group_id":null,"runner_group_name":null},'
        '"repository":{"id":1,"full_name":"acme/widgets"},"sender":{"login":"x"}}'
    )

    job = inbox().take(incoming(document))

    assert job is not None
    assert job.labels == ("gpu", "db-app")
    assert job.created_at == MADE_AT - timedelta(seconds=51)
