"""Running the application on a socket, from binding it to leaving it in two seconds.

The database is locked and migrated before the web stack starts, so that what can go
wrong there is one sentence and no traceback of the server.
"""

import gc
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from runpod_client.logs import get_logger
from runpod_hub import migrations
from runpod_hub.config import HubSettings
from runpod_hub.errors import HubError, ListenError
from runpod_hub.hub import Hub

_LOG = get_logger(__name__)
# Open dashboards and hanging requests get this long to end before they are cut.
_GRACE_SECONDS = 1


class _Server(uvicorn.Server):
    """A uvicorn server that says when it really listens."""

    def __init__(
        self, config: uvicorn.Config, on_listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_listening()


class _ToStructlog(logging.Handler):
    """Passes what libraries log through our format and redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        _LOG.log(
            record.levelno,
            "library_logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def serve(
    settings: HubSettings,
    *,
    build: Callable[[], FastAPI],
    on_listening: Callable[[Hub, str], None],
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        build: Makes the application, once the database is migrated.
        on_listening: Called once, with the hub and its base URL, when it listens.

    Raises:
        StoreError: The database cannot be used, or another hub uses it.
        ListenError: The address is taken or not ours.
        HubError: The application did not start; the log says why.
    """
    with migrations.lock(settings.database):
        revision = migrations.upgrade(settings.database)
        _LOG.info("store_migrated", revision=revision)
        with _listen(settings.host, settings.port) as listener:
            _run(build(), listener, on_listening)


def render_url(host: str, port: int) -> str:
    """Return the base URL of an address, with an IPv6 host in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(
            f"cannot listen on {render_url(host, port)}: {error.strerror}",
            hint="Choose another --port (0 takes a free one) or --host.",
        ) from error
    return listener


def _run(
    app: FastAPI, listener: socket.socket, on_listening: Callable[[Hub, str], None]
) -> None:
    hub: Hub = app.state.hub
    host, port = listener.getsockname()[:2]
    url = render_url(host, port)

    def announce() -> None:
        _LOG.info("hub_started", host=host, port=port)
        on_listening(hub, url)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # its lines would hold the tickets of login links
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
        proxy_headers=False,
        ws_max_size=2**20,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    server = _Server(config, announce)

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        # uvicorn handles signals while it runs and raises them again when it has
        # stopped cleanly: then there is nothing left to do
        if not server.started:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    server.run(sockets=[listener])
    if not server.started:
        raise HubError(
            "the web server did not start", hint="The log above says what failed."
        )
    _LOG.info("hub_stopped")
    # the interpreter's last collection over the web stack takes longer than all the rest
    gc.freeze()
