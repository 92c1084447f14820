"""What all admin routes share: who may call them, and how their bodies are read.

They obey the loopback alone: a page in a browser on this host must not reach them under
another name.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runpod_sim.faults import FaultError
from runpod_sim.model import DeclinedError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

Endpoint = Callable[[Request], Awaitable[Response]]


class BadRequest(Exception):  # noqa: N818 - answered, not raised further
    """An admin request makes no sense; the message says how."""


def host_of(request: Request) -> str:
    """Return the Host header without its port and brackets."""
    host = request.headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def guarded(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that answers the loopback alone, with errors as JSON."""

    async def answer(request: Request) -> Response:
        if host_of(request) not in LOOPBACK_HOSTS:
            return JSONResponse({"error": "only for the loopback"}, status_code=403)
        try:
            return await endpoint(request)
        except (BadRequest, FaultError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except DeclinedError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        except KeyError as error:
            return JSONResponse({"error": f"there is no {error}"}, status_code=404)

    return answer


async def parse_body(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body."""
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is no JSON object")
    return body


def parse_number(body: dict[str, Any], name: str) -> float:
    """Return a number of 0 or more from a body."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadRequest(f"{name} is a number, 0 or more")
    return float(value)


def parse_flag(body: dict[str, Any], name: str) -> bool:
    """Return a truth value from a body."""
    value = body.get(name)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false")
    return value


def parse_count(body: dict[str, Any], name: str, most: int) -> int:
    """Return a whole number from 1 on from a body."""
    value = parse_number(body, name)
    if not value.is_integer() or not 1 <= value <= most:
        raise BadRequest(f"{name} is a whole number from 1 to {most}")
    return int(value)


def refuse_unknown(body: dict[str, Any], *known: str) -> None:
    """Refuse a body with a key that means nothing."""
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise BadRequest(
            f"there is no {', '.join(unknown)}; there is {', '.join(known)}"
        )
