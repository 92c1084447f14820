"""Between HTTP and both wire faces: keys, JSON numbers, and faults on the way.

It knows HTTP and faults; it knows neither GraphQL nor REST nor pods.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from runpod_sim.faults import (
    AFTER_OPERATION,
    BEFORE_OPERATION,
    WIRES,
    Fault,
    FaultBook,
    Kind,
)

KEY_PREFIX = "rpa_"
JSON = "application/json"


class CuttableProtocol(H11Protocol):
    """Uvicorn's protocol, with the connection within the application's reach."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own does the same
        """Put the connection where the application finds it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def cut(request: Request) -> Response:
    """Break the connection without a word."""
    transport = request.scope.get("state", {}).get("transport")
    if transport is not None:
        transport.abort()
    # The server sees the broken connection before it would send this.
    await asyncio.sleep(0)
    return Response(status_code=500)


class KeyBook:
    """Which API keys are let in, and by which wire."""

    def __init__(self, required_key: str | None = None) -> None:
        self._required_key = required_key
        self._wires: dict[str, frozenset[str]] = {}

    def accepts(self, key: str | None) -> bool:
        """Say whether a request with that key is let in."""
        if key is None:
            return False
        if self._required_key is not None:
            return key == self._required_key
        # rule SIM-AUTH-1
        return key.startswith(KEY_PREFIX) and len(key) > len(KEY_PREFIX)

    def limit(self, key: str, wires: Collection[str]) -> None:
        """Give a key a right to these wires alone."""
        self._wires[key] = frozenset(wires)

    def may_use(self, key: str, wire: str) -> bool:
        """Say whether a key has a right to a wire, as it has unless limited."""
        # rule SIM-AUTH-4
        return wire in self._wires.get(key, WIRES)


def find_key(request: Request, *, in_query: bool) -> str | None:
    """Return the API key of a request, None when it has none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.query_params.get("api_key") if in_query else None


def is_blocked(request: Request) -> bool:
    """Say whether the service in front turns the client away."""
    # rule SIM-AUTH-3
    agent = request.headers.get("user-agent", "")
    return not agent or agent.startswith("Python-urllib")


def blocked() -> Response:
    """Return what a client without a name of its own gets."""
    return PlainTextResponse("error code: 1010", status_code=403)


def plain_numbers(value: Any) -> Any:
    """Return a JSON value whose whole floats are integers and Decimals numbers."""
    # rule SIM-WIRE-1
    kind = type(value)
    if kind is dict:
        return {key: plain_numbers(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain_numbers(item) for item in value]
    if kind is Decimal:
        value = float(value)
    elif kind is not float:
        return value
    return int(value) if value.is_integer() else value


def render_json(value: Any) -> bytes:
    """Return a value as JSON text."""
    return json.dumps(plain_numbers(value), separators=(",", ":")).encode()


RETIRED = "This API has been retired."
PLAIN_ANSWERS = {
    Kind.GONE: (410, RETIRED),
    Kind.UNAUTHORIZED: (401, "Unauthorized"),
    Kind.FORBIDDEN: (403, "API key has no right to this"),
    Kind.UNAVAILABLE: (503, "Service temporarily unavailable"),
}
HTML_ANSWERS = {
    Kind.HTML_500: (500, "Internal Server Error"),
    Kind.BAD_GATEWAY: (502, "Bad gateway"),
}


def page(status: int, text: str) -> str:
    """Return what the service in front shows when there is nothing behind it."""
    return f"<html><body><h1>{status} {text}</h1></body></html>"


def broken(response: Response) -> Response:
    """Return the first half of an answer; an opening brace where it has no body."""
    body = bytes(getattr(response, "body", b"")) or b"{}"
    status = 200 if response.status_code == 204 else response.status_code
    return Response(body[: len(body) // 2], status, media_type=JSON)


ErrorAnswer = Callable[[int, str, dict[str, str]], Response]


@dataclass(frozen=True)
class Gate:
    """Where faults strike a request or its answer."""

    faults: FaultBook
    error: ErrorAnswer

    async def pass_through(
        self,
        request: Request,
        operations: Collection[str],
        perform: Callable[[], Awaitable[Response]],
    ) -> Response:
        """Perform an operation, unless a fault is in the way of it or its answer."""
        for kind in BEFORE_OPERATION:
            fault = self.faults.take(kind, operations)
            if fault is not None:
                return await self._before(request, fault)
        slow = self.faults.take(Kind.SLOW_ANSWER, operations)
        response = await perform()
        if slow is not None:
            await asyncio.sleep(slow.duration_seconds)
        for kind in AFTER_OPERATION:
            if self.faults.take(kind, operations):
                if kind is Kind.LOST_ANSWER:
                    return await cut(request)
                return broken(response)
        return response

    def retired(self, wire: str) -> Response | None:
        """Return the answer of an endpoint that is gone as a whole, None if it is not.

        A retired endpoint says so before it looks at a key or a body.
        """
        # rule SIM-GONE-1
        fault = self.faults.take_whole(Kind.GONE, wire)
        return self.error(410, RETIRED, {}) if fault else None

    async def _before(self, request: Request, fault: Fault) -> Response:
        if fault.kind is Kind.DROP_CONNECTION:
            return await cut(request)
        if fault.kind is Kind.NO_ANSWER:
            await asyncio.sleep(fault.duration_seconds)
            return HTMLResponse(page(524, "A timeout occurred"), 524)
        if fault.kind is Kind.RATE_LIMITED:
            return self._rate_limited(fault)
        html = HTML_ANSWERS.get(fault.kind)
        if html is not None:
            return HTMLResponse(page(*html), html[0])
        status, detail = PLAIN_ANSWERS[fault.kind]
        return self.error(status, detail, {})

    def _rate_limited(self, fault: Fault) -> Response:
        # Both headers count whole seconds.
        wait = math.ceil(fault.duration_seconds)
        headers = {"Retry-After": str(wait), "RateLimit": f'"minute";r=0;t={wait}'}
        return self.error(429, "rate limit exceeded for the minute window", headers)
