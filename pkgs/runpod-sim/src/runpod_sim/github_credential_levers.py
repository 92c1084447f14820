"""The levers that say who may do what at the simulated GitHub: Apps and tokens."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runpod_sim.forge_model import RefusedError
from runpod_sim.github_apps import App, parse_public_key
from runpod_sim.github_authority import KNOWN_TOKEN, Grant
from runpod_sim.github_broker import read_json, text
from runpod_sim.github_call import Desk

Endpoint = Callable[[Request], Awaitable[Response]]


def credential_levers(desk: Desk) -> list[tuple[str, str, Endpoint]]:
    """Return the table of these levers."""
    levers = CredentialLevers(desk)
    return [
        ("POST", "/_sim/github/apps", levers.create_app),
        ("POST", "/_sim/github/installations", levers.create_installation),
        ("POST", "/_sim/github/tokens", levers.create_token),
    ]


class CredentialLevers:
    """Pulls them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create_app(self, request: Request) -> Response:
        """Register an App by its public key."""
        body = await read_json(request)
        app_id = body.get("app_id")
        if not isinstance(app_id, int):
            raise RefusedError(422, "'app_id' must be a whole number")
        app = App(
            app_id,
            str(body.get("client_id", f"Iv1.{app_id:016x}")),
            parse_public_key(text(body, "public_key")),
            _permissions(body),
            _names(body, "accounts"),
            _names(body, "repositories"),
        )
        self._desk.credentials.apps.create(app)
        return JSONResponse({"app_id": app.id, "client_id": app.client_id}, 201)

    async def create_installation(self, request: Request) -> Response:
        """Install an App anew, so that its installation has another id."""
        body = await read_json(request)
        app_id = body.get("app_id")
        if not isinstance(app_id, int):
            raise RefusedError(422, "'app_id' must be a whole number")
        apps = self._desk.credentials.apps
        made = apps.install(apps.get(app_id), text(body, "account"))
        return JSONResponse({"id": made.id}, 201)

    async def create_token(self, request: Request) -> Response:
        """Say what a personal token may do, and until when."""
        body = await read_json(request)
        token = text(body, "token")
        if KNOWN_TOKEN.fullmatch(token) is None:
            raise RefusedError(422, "'token' must look like one of GitHub's")
        life = body.get("life_seconds")
        now = self._desk.forge.clock.now()
        self._desk.credentials.grants[token] = Grant(
            _names(body, "scopes") or frozenset(),
            _permissions(body),
            _names(body, "repositories") or frozenset(),
            now + timedelta(seconds=life) if isinstance(life, int) else None,
        )
        return JSONResponse({}, 201)


def _permissions(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    given = body.get("permissions", {})
    if not isinstance(given, dict):
        raise RefusedError(422, "'permissions' must be an object")
    return tuple(sorted((str(name), str(level)) for name, level in given.items()))


def _names(body: Mapping[str, Any], key: str) -> frozenset[str] | None:
    given = body.get(key)
    if given is None:
        return None
    if not isinstance(given, list):
        raise RefusedError(422, f"{key!r} must be a list of names")
    return frozenset(str(name).casefold() for name in given)
