"""Putting the dashboard into the application: routes, theme, one task per open page."""

import asyncio
import contextlib
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from nicegui import Client, ui

from runpod_hub.hub import Hub
from runpod_hub.ui.dashboard import Dashboard

# Everything is pushed on change; this redraws ages and whatever a push has missed.
_REDRAW_SECONDS = 30.0
_AGE_SECONDS = 5.0
_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="7" fill="#2456c8"/>'
    '<path d="M8 20h4l3-9 4 12 3-7h3" fill="none" stroke="#fff" stroke-width="2.6"'
    ' stroke-linecap="round" stroke-linejoin="round"/></svg>'
)


def mount(app: FastAPI, hub: Hub) -> None:
    """Serve the dashboard at `/` of the application."""
    theme = files("runpod_hub.ui").joinpath("theme.css").read_text("utf-8")
    followers: set[asyncio.Task[None]] = set()

    @ui.page("/")
    def index(client: Client) -> None:
        ui.add_css(theme)
        dashboard = Dashboard(hub)
        dashboard.draw()
        ui.timer(_AGE_SECONDS, dashboard.draw_age)
        ui.timer(_REDRAW_SECONDS, dashboard.draw)
        task = asyncio.create_task(_follow(hub, client, dashboard), name="dashboard")
        followers.add(task)
        task.add_done_callback(followers.discard)
        client.on_delete(lambda: _cancel(task))

    # awaited in the lifespan's end, so no task outlives the application
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(scope: Any) -> Any:
        async with inner(scope) as state:
            try:
                yield state
            finally:
                for task in list(followers):
                    task.cancel()
                await asyncio.gather(*followers, return_exceptions=True)

    app.router.lifespan_context = lifespan
    ui.run_with(
        app,
        title="runpod-hub",
        favicon=_FAVICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )


async def _follow(hub: Hub, client: Client, dashboard: Dashboard) -> None:
    """Redraw one page after every change of the state, until the page is closed."""
    async for _ in hub.board.follow():
        with client:
            dashboard.draw()


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
