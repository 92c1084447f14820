"""Between HTTP and both wire faces: keys, JSON numbers, and faults on the way.

It knows HTTP and faults; it knows neither GraphQL nor REST nor pods.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from runpod_sim.faults import AFTER_OPERATION, BEFORE_OPERATION, Fault, FaultBook, Kind

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


@dataclass(frozen=True)
class KeyRule:
    """Which API keys are let in."""

    required_key: str | None = None

    def accepts(self, key: str | None) -> bool:
        """Say whether a request with that key is let in."""
        if key is None:
            return False
        if self.required_key is not None:
            return key == self.required_key
        # rule SIM-AUTH-1
        return key.startswith(KEY_PREFIX) and len(key) > len(KEY_PREFIX)


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
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in value]
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def render_json(value: Any) -> bytes:
    """Return a value as JSON text."""
    return json.dumps(plain_numbers(value), separators=(",", ":")).encode()


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
                body = bytes(getattr(response, "body", b""))
                half = body[: max(1, len(body) // 2)]
                return Response(half, media_type=JSON)
        return response

    async def _before(self, request: Request, fault: Fault) -> Response:
        if fault.kind is Kind.DROP_CONNECTION:
            return await cut(request)
        if fault.kind is Kind.HTML_500:
            return HTMLResponse(
                "<html><body><h1>500 Internal Server Error</h1></body></html>", 500
            )
        if fault.kind is Kind.GONE:
            return self.error(410, "This API has been retired.", {})
        if fault.kind is Kind.UNAUTHORIZED:
            return self.error(401, "Unauthorized", {})
        wait = f"{fault.duration_seconds:g}"
        return self.error(429, "rate limit exceeded", {"Retry-After": wait})
