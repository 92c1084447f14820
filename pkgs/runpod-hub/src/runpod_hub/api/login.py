"""The login: a token or a one-time ticket becomes a session cookie.

The page is whole in itself (no script, no assets), since everything else is behind it.
"""

from html import escape
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from runpod_client.logs import get_logger
from runpod_hub.access import Access
from runpod_hub.api.problems import render_problem

_LOG = get_logger(__name__)
_NO_STORE = {"cache-control": "no-store"}


def build_router(access: Access) -> APIRouter:
    """Return the login and logout routes."""
    router = APIRouter(include_in_schema=False)
    page = files("runpod_hub.api").joinpath("login.html").read_text("utf-8")

    @router.get("/login")
    async def show(ticket: str = "") -> Response:
        if not ticket:
            return _render(page)
        if access.redeem_ticket(ticket):
            return _admit(access, "ticket")
        _LOG.warning("login_refused", how="ticket")
        return _render(page, "This link was used before or is older than ten minutes.")

    @router.post("/login")
    async def enter(request: Request, token: Annotated[str, Form()] = "") -> Response:
        if not _is_own_form(request):
            return render_problem(
                HTTPStatus.FORBIDDEN, "the form comes from another site's page"
            )
        if access.is_token(token.strip()):
            return _admit(access, "token")
        _LOG.warning("login_refused", how="token")
        return _render(page, "That is not this hub's token.")

    @router.post("/logout")
    async def leave() -> Response:
        response = RedirectResponse("/login", status_code=HTTPStatus.SEE_OTHER)
        response.delete_cookie(access.cookie_name)
        return response

    return router


def _is_own_form(request: Request) -> bool:
    """Keep other sites from logging a browser in; no Origin means no browser."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _render(page: str, problem: str = "") -> Response:
    status = HTTPStatus.UNAUTHORIZED if problem else HTTPStatus.OK
    shown = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    body = page.replace("<!-- problem -->", shown)
    return HTMLResponse(body, status_code=status, headers=_NO_STORE)


def _admit(access: Access, how: str) -> Response:
    _LOG.info("login_accepted", how=how)
    response = RedirectResponse(
        "/", status_code=HTTPStatus.SEE_OTHER, headers=_NO_STORE
    )
    response.set_cookie(
        access.cookie_name,
        access.create_session(),
        max_age=int(access.session_seconds),
        httponly=True,
        samesite="lax",
    )
    return response
