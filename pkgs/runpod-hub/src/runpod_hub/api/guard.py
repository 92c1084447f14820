"""The door: nothing behind it, HTTP or WebSocket, is reached without credentials.

It wraps the whole application, the dashboard's assets and its socket included, so a new
route is closed until somebody opens it here.
"""

from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runpod_hub.access import Access
from runpod_hub.api.problems import render_problem

OPEN_PATHS = frozenset({"/health/live", "/login"})
# Paths of pages: a browser without a session is sent to the login, a program is told.
_PAGES = frozenset({"/"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REALM = {"www-authenticate": 'Bearer realm="runpod-hub"'}
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
        " style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:;"
        " connect-src 'self'; frame-ancestors 'none'; base-uri 'self';"
        " form-action 'self'; object-src 'none'"
    ),
    # not "no-referrer": browsers would then send the forms with "Origin: null"
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware that checks host name, credentials and origin, in this order."""

    def __init__(
        self, app: ASGIApp, *, access: Access, host_names: frozenset[str]
    ) -> None:
        self._app = app
        self._access = access
        self._host_names = host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or answer it here."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            # closing before accepting makes the server answer the handshake with 403
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, _with_headers(send))

    def _refuse(self, scope: Scope) -> ASGIApp | None:
        """Return the answer that turns this call away, None to let it in."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _host_name(host) not in self._host_names:
            return render_problem(
                HTTPStatus.BAD_REQUEST,
                f"this hub does not answer to the host name {_host_name(host)!r}",
                hint="Add the name to RUNPOD_HUB_ALLOWED_HOSTS.",
            )
        path = scope["path"]
        if path in OPEN_PATHS:
            return None
        if self._has_token(headers):
            return None
        if not self._has_session(headers):
            return _unauthorized(scope, path)
        is_safe = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        if not is_safe and not _is_same_origin(headers, host):
            return render_problem(
                HTTPStatus.FORBIDDEN, "the request comes from another site's page"
            )
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, candidate = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._access.is_token(candidate.strip())

    def _has_session(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        cookie = cookies.get(self._access.cookie_name)
        return cookie is not None and self._access.is_session(cookie.value)


def _unauthorized(scope: Scope, path: str) -> ASGIApp:
    if scope["type"] == "http" and path in _PAGES and scope["method"] == "GET":
        target = f"/login?next={quote(path)}" if path != "/" else "/login"
        return RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER)
    return render_problem(
        HTTPStatus.UNAUTHORIZED,
        "this needs the hub's token or a session",
        hint="Send the token that `runpod-hub token` prints as an HTTP bearer token.",
        headers=_REALM,
    )


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Compare the page's origin with the host; browsers always send one here."""
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc.lower() == host.lower()


def _host_name(host: str) -> str:
    """Return the name in a Host header without its port or brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
