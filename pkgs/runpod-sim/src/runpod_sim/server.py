"""Running the application on a socket until a signal comes, and ending cleanly.

Signals are handled here and not by uvicorn, which would raise them again after its own
shutdown and so hide how the run ended.
"""

import asyncio
import contextlib
import fcntl
import gc
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette

from runpod_sim.gate import CuttableProtocol

log = structlog.get_logger(__name__)

EXIT_INTERRUPTED = 130
SHUTDOWN_SECONDS = 2
BACKLOG = 512
GC_THRESHOLD = 200_000
TEMPORARY_PREFIX = "runpod-sim-"
LOCK_NAME = "lock"


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers, telling when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started()


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address.

    Raises:
        OSError: The port is taken, or the address is not this host's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def base_url_of(opened: socket.socket) -> str:
    """Return the URL under which a bound socket is reached."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def state_directory(chosen: Path | None) -> Iterator[Path]:
    """Yield the directory for pods, a temporary one where none was chosen."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.absolute()
        return
    remove_abandoned()
    with (
        tempfile.TemporaryDirectory(
            prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True
        ) as name,
        (Path(name) / "lock.new").open("w") as lock,
    ):
        # The kernel lets go of the lock when this process dies, however it dies. It
        # gets its name only when it is held, so nobody takes us for abandoned.
        fcntl.flock(lock, fcntl.LOCK_EX)
        (Path(name) / "lock.new").rename(Path(name) / LOCK_NAME)
        yield Path(name)


def remove_abandoned() -> None:
    """Remove the temporary directories of simulators that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*/{LOCK_NAME}"):
        with contextlib.suppress(OSError), path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def serve(app: Starlette, opened: socket.socket, on_started: Callable[[], None]) -> int:
    """Serve until a signal and return the exit code."""
    # A long list is many objects that are all freed at its end; looking for cycles
    # among them again and again takes a third of its time.
    gc.set_threshold(GC_THRESHOLD)
    return asyncio.run(_serve(app, opened, on_started))


async def _serve(
    app: Starlette, opened: socket.socket, on_started: Callable[[], None]
) -> int:
    settings = uvicorn.Config(
        app,
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=75,
    )
    server = Server(settings, on_started)
    exit_code = 0

    def end(number: signal.Signals) -> None:
        nonlocal exit_code
        log.info("signal_received", signal=number.name)
        exit_code = EXIT_INTERRUPTED if number is signal.SIGINT else 0
        # A second signal does not wait for open requests.
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    await server.serve(sockets=[opened])
    return exit_code if server.started else 1
