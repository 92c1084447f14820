"""The receiver of GitHub's webhooks: POST /webhook, GET /health, nothing else.

It answers as soon as the delivery is checked and on the board; what that leads to
happens elsewhere. A plain ASGI application: at 2,000 deliveries a second a router and
its objects would cost more than the work.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from runner_installer.demand import Board
from runner_installer.errors import WebhookError
from runner_installer.webhooks import Inbox, Incoming
from runpod_client import ConfigError
from runpod_client.logs import get_logger

log = get_logger(__name__)
MOST_BYTES = 1 << 20
BODY_SECONDS = 10.0
START_SECONDS = 10.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Receiver:
    """The ASGI application."""

    def __init__(self, board: Board, inbox: Inbox) -> None:
        self._board = board
        self._inbox = inbox
        self.taken = 0
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        place = scope["method"], scope["path"]
        if place == ("POST", "/webhook"):
            await _answer(send, *await self._take(scope, receive))
        elif place == ("GET", "/health"):
            await _answer(send, 200, "ok")
        else:
            await _answer(send, 404, "there is /webhook to POST to, and /health")

    async def _take(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        try:
            headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope["headers"]
            }
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_body(headers, receive)
            job = self._inbox.take(Incoming(headers=headers, body=body))
        except TimeoutError:
            return 408, "the body took too long"
        except WebhookError as error:
            self.refused += 1
            log.warning(
                "webhook_refused",
                http_status=error.http_status,
                error_detail=error.message,
            )
            return error.http_status, error.message
        self.taken += 1
        if job is not None:
            self._board.hear(job)
        return 202, "taken"


async def _read_body(headers: dict[str, str], receive: Receive) -> bytes:
    """Return the whole body.

    Raises:
        WebhookError: It is too large, or broke off.
    """
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        raise WebhookError("the body is too large", http_status=413)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise WebhookError("the sender went away", http_status=400)
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise WebhookError("the body is too large", http_status=413)
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode() + b"\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def listen(host: str, port: int, *, allow_remote: bool) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: The address is taken, is none of this machine, or is open to
            others and that was not asked for.
    """
    if host not in _LOOPBACK and not allow_remote:
        raise ConfigError(
            f"the webhook receiver would listen on {host}, where others reach it",
            setting="listen",
            hint="Put a reverse proxy with TLS before loopback, or add --allow-remote.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            setting="listen",
        ) from error
    listener.setblocking(False)
    # asyncio does this for sockets it makes; else each answer's second packet waits
    # 40 ms for the first one's acknowledgement. Accepted connections inherit it
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextlib.asynccontextmanager
async def served(receiver: Receiver, listener: socket.socket) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL."""
    import uvicorn  # noqa: PLC0415  # only where webhooks are received

    class Quiet(uvicorn.Server):
        """A server that leaves signals to the program it is part of."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    config = uvicorn.Config(
        receiver,
        access_log=False,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=2000,
    )
    server = Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(START_SECONDS):
            # uvicorn tells by a flag alone
            while not server.started and not serving.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        host, port = listener.getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait({serving}, timeout=5)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()
