"""The composition root: every part of the hub is made and wired here, and only here.

The lifespan owns every task. NiceGUI keeps its state in module globals, so a process
holds one application.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from starlette.routing import Match

from runpod_hub import ui
from runpod_hub.access import Access
from runpod_hub.api import fleet, health, login, problems
from runpod_hub.api.guard import Guard
from runpod_hub.config import HubSettings
from runpod_hub.heartbeats import Heartbeats
from runpod_hub.hub import Hub
from runpod_hub.interfaces import Clock, Cloud
from runpod_hub.monitor import Monitor, MonitorPolicy
from runpod_hub.private_files import ensure_secret
from runpod_hub.state import Board
from runpod_hub.store import Store

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def build_access(settings: HubSettings, *, clock: Clock) -> Access:
    """Return what opens the hub, making token and session secret the first time."""
    return Access(
        token=settings.token or ensure_secret(settings.state_dir / "token"),
        session_secret=ensure_secret(settings.state_dir / "session-secret"),
        session_seconds=settings.session_hours * 3600,
        clock=clock,
    )


def build_app(settings: HubSettings, *, cloud: Cloud, clock: Clock) -> FastAPI:
    """Return the application over a database that is already migrated.

    `app.state.hub` holds the parts.
    """
    store, board = Store(settings.database), Board()
    hub = Hub(
        settings=settings,
        clock=clock,
        store=store,
        board=board,
        heartbeats=Heartbeats(store=store, board=board, clock=clock),
        access=build_access(settings, clock=clock),
    )
    app = FastAPI(
        title="runpod-hub",
        version=version("runpod-hub"),
        lifespan=_build_lifespan(hub, cloud),
        docs_url=None,  # its page would load its scripts from a CDN
        redoc_url=None,
    )
    app.state.hub = hub
    app.add_middleware(Guard, access=hub.access, host_names=settings.host_names)
    problems.install(app)
    app.include_router(health.build_router(hub))
    app.include_router(fleet.build_router(hub))
    app.include_router(login.build_router(hub.access))
    app.add_api_route(
        "/api/{path:path}", _unknown, methods=_METHODS, include_in_schema=False
    )
    ui.mount(app, hub)
    return app


def _build_lifespan(
    hub: Hub, cloud: Cloud
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """Return what runs the monitor and closes the store, around the serving."""
    settings = hub.settings
    monitor = Monitor(
        cloud=cloud,
        store=hub.store,
        board=hub.board,
        clock=hub.clock,
        policy=MonitorPolicy(
            interval_seconds=settings.interval_seconds,
            alert_usd_per_hour=settings.alert_usd_per_hour,
            agent_timeout_seconds=settings.agent_timeout_seconds,
            retention=timedelta(days=settings.retention_days),
        ),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            # what was known before a restart is shown, with its age, until a tick ends
            await hub.board.refresh(hub.store.load_snapshot)
            task = asyncio.create_task(monitor.run(), name="monitor")
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        finally:
            await hub.store.close()

    return lifespan


async def _unknown(request: Request) -> Response:
    """Answer under /api where no route does, before the dashboard would."""
    path = request.url.path
    for route in request.app.routes:
        if route.matches(request.scope)[0] is Match.PARTIAL:
            return problems.render_problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{path} does not take {request.method}",
                headers={"allow": ", ".join(sorted(route.methods))},
            )
    return problems.render_problem(
        HTTPStatus.NOT_FOUND,
        f"there is no {path}",
        hint="GET /openapi.json describes what there is.",
    )
