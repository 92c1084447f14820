"""`serve` put together: sources, board, reconciler, webhook receiver, files, signals.

One process, one event loop. Told to stop it decides no more, lets what it began come to
an end for a while, and leaves pods as they are: their leases end them, or the next
`serve` takes them over by their marks.
"""

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runner_installer.actions_service import ActionsService
from runner_installer.demand import Board, DemandSource
from runner_installer.github import GitHub, open_github
from runner_installer.operations import Room
from runner_installer.polling import QueuePoll
from runner_installer.pools import Pool, PoolFile
from runner_installer.reconciler import Paces, Reconciler, Report
from runner_installer.scale_set_source import ScaleSetSource
from runner_installer.scale_sets import ScaleSets
from runner_installer.serve_memory import MemoryFile, sole_server
from runner_installer.serve_status import StatusFile
from runner_installer.spending import Ledger
from runner_installer.webhook_server import Receiver, listen, served
from runner_installer.webhooks import Inbox
from runner_installer.workplace import RealWorkplace, RenderTemplate
from runpod_client import (
    ConfigError,
    Error,
    PodSpec,
    Secret,
    open_client,
    render_template,
)
from runpod_client.config import read_layers, setting
from runpod_client.logs import get_logger

log = get_logger(__name__)
FINISH_SECONDS = 20.0
ONCE_SECONDS = 600.0
_RESTART_SECONDS = 5.0

OnReports = Callable[[Sequence[Report]], None]


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What serving needs beyond RunPod and GitHub."""

    webhook_secret: Secret | None = setting(
        "Secret that GitHub signs webhooks with; needed where webhooks are received",
        env="GITHUB_WEBHOOK_SECRET",
        default=None,
    )
    old_webhook_secret: Secret | None = setting(
        "The secret before it, taken as well while it is being changed",
        env="GITHUB_WEBHOOK_SECRET_OLD",
        default=None,
    )
    poll_seconds: float = setting(
        "How often the queues are looked at, whatever webhooks told",
        env="RUNNER_POLL_SECONDS",
        default=60.0,
        unit="s",
    )
    tick_seconds: float = setting(
        "How often pods and runners are looked at while nothing happens",
        env="RUNNER_TICK_SECONDS",
        default=30.0,
        unit="s",
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one `serve` is to do.

    Attributes:
        listen: Where webhooks are received; None for nowhere.
        is_draining: Give everything back as it falls idle, then end.
        drains_at_stop: Do that when told to stop; told twice it ends at once.
    """

    pools: PoolFile
    settings: ServeSettings
    listen: tuple[str, int] | None = None
    allow_remote: bool = False
    is_draining: bool = False
    drains_at_stop: bool = False


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The files of `serve` below the state folder."""

    path: Path

    @property
    def lock(self) -> Path:
        """Return the file whose lock says that somebody serves."""
        return self.path / "serve.lock"

    @property
    def memory(self) -> Path:
        """Return what is kept between runs."""
        return self.path / "memory.json"

    @property
    def status(self) -> Path:
        """Return what `pools` shows."""
        return self.path / "status.json"

    @property
    def costs(self) -> Path:
        """Return the database of what jobs cost."""
        return self.path / "costs.sqlite"


def folder_of(room: Room) -> Folder:
    """Return where `serve` keeps its files."""
    return Folder(path=room.client_settings.state_dir / "runners")


def make_renderer(
    environ: Mapping[str, str], config_file: Path | None, profile: str | None
) -> RenderTemplate:
    """Return what turns the name of a pod template into the pod it describes."""

    def render(name: str) -> PodSpec:
        layers = read_layers(
            environ=environ,
            config_file=config_file,
            profile=profile,
            section="templates",
        )
        return render_template(
            layers, name, given={}, environ=environ, default_lease=None
        ).spec

    return render


def serve(
    room: Room,
    plan: Plan,
    *,
    renderer: RenderTemplate,
    on_ready: Callable[[str], None],
    on_reports: OnReports,
) -> None:
    """Serve until told to stop.

    Args:
        on_ready: Gets the address webhooks are received at, empty for none.

    Raises:
        AlreadyServingError: Another process serves from the same state folder.
        ConfigError: A credential or an address is of no use.
    """
    secrets = _secrets(plan)
    with _opened(room, plan, renderer, on_reports) as parts:
        listener = None
        if plan.listen is not None:
            listener = listen(*plan.listen, allow_remote=plan.allow_remote)
        receiver = Receiver(parts.board, Inbox(secrets, now=_now))

        async def work() -> None:
            async with contextlib.AsyncExitStack() as stack:
                url = ""
                if listener is not None:
                    url = await stack.enter_async_context(served(receiver, listener))
                await _serve(parts, plan, functools.partial(on_ready, url))

        asyncio.run(work())


def serve_once(
    room: Room,
    plan: Plan,
    *,
    renderer: RenderTemplate,
    on_reports: OnReports,
) -> None:
    """Look once, do what that asks for, wait until it is done.

    Raises:
        AlreadyServingError: Another process serves from the same state folder.
        APIError: RunPod or GitHub does not answer.
    """
    with _opened(room, plan, renderer, on_reports) as parts:

        async def work() -> None:
            await parts.poll.poll_once(parts.board)
            await parts.reconciler.tick(is_fresh=True)
            await parts.reconciler.finish(ONCE_SECONDS)

        asyncio.run(work())


@dataclass(frozen=True, kw_only=True)
class _Parts:
    board: Board
    poll: QueuePoll
    reconciler: Reconciler
    sources: tuple[DemandSource, ...]


@contextlib.contextmanager
def _opened(
    room: Room, plan: Plan, renderer: RenderTemplate, on_reports: OnReports
) -> Iterator[_Parts]:
    """Hold the lock and every connection; what is remembered is written at the end."""
    folder = folder_of(room)
    with contextlib.ExitStack() as stack:
        stack.enter_context(sole_server(folder.lock))
        github = stack.enter_context(open_github(room.github_settings))
        client = stack.enter_context(open_client(room.client_settings))
        workplace = RealWorkplace(
            client,
            github,
            state_dir=room.client_settings.state_dir,
            cache_folder=room.cache_folder,
            render_template=renderer,
        )
        stack.callback(workplace.close)
        file = MemoryFile(folder.memory)
        memory = file.read()
        stack.callback(file.write, memory)
        status = StatusFile(folder.status, memory, now=_now)
        board = Board(plan.pools.pools, now=_now)

        def keep(reports: Sequence[Report]) -> None:
            file.write(memory)
            status.write(reports)
            on_reports(reports)

        reconciler = Reconciler(
            plan.pools,
            board,
            workplace,
            memory,
            Ledger(folder.costs),
            now=_now,
            paces=Paces(tick=plan.settings.tick_seconds),
            on_report=keep,
        )
        reconciler.is_draining = plan.is_draining
        poll = QueuePoll(workplace, now=_now, seconds=plan.settings.poll_seconds)
        sources = [
            stack.enter_context(_scale_set_source(pool, github))
            for pool in plan.pools.pools
            if pool.scale_set
        ]
        yield _Parts(
            board=board, poll=poll, reconciler=reconciler, sources=(poll, *sources)
        )


@contextlib.contextmanager
def _scale_set_source(pool: Pool, github: GitHub) -> Iterator[ScaleSetSource]:
    with ActionsService(github, pool.scope) as service:
        owner = f"{socket.gethostname()}-{os.getpid()}"
        yield ScaleSetSource(pool, ScaleSets(service), owner=owner)


async def _serve(parts: _Parts, plan: Plan, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    reconciler = parts.reconciler

    def ask_to_stop() -> None:
        if plan.drains_at_stop and not reconciler.is_draining:
            log.info("serve_draining")
            reconciler.is_draining = True
            parts.board.changed.set()
        else:
            stop.set()

    async with _signals(ask_to_stop), _running(parts.sources, parts.board):
        on_ready()
        await reconciler.run(stop)
    log.info("serve_stopping", under_way=reconciler.flights.count)
    async with _signals(lambda: None):  # Ctrl-C twice does not cut a create in two
        await reconciler.finish(FINISH_SECONDS)


@contextlib.asynccontextmanager
async def _running(
    sources: Iterable[DemandSource], board: Board
) -> AsyncIterator[None]:
    """Run the sources beside the body; one that fails is begun again."""

    async def run(source: DemandSource) -> None:
        while True:
            try:
                await source.run(board)
            except Error as error:
                log.warning(
                    "demand_source_failed",
                    source=source.name,
                    error=type(error).__name__,
                    error_detail=error.message,
                )
            await asyncio.sleep(_RESTART_SECONDS)

    tasks = [asyncio.create_task(run(source)) for source in sources]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _signals(ask_to_stop: Callable[[], None]) -> AsyncIterator[None]:
    """Turn SIGINT and SIGTERM into a call while the body runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask_to_stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _secrets(plan: Plan) -> list[Secret]:
    settings = plan.settings
    found = [s for s in (settings.webhook_secret, settings.old_webhook_secret) if s]
    if plan.listen is not None and not found:
        raise ConfigError(
            "there is no secret to check webhooks with",
            setting="webhook_secret",
            source="GITHUB_WEBHOOK_SECRET",
            hint="Set GITHUB_WEBHOOK_SECRET_FILE or GITHUB_WEBHOOK_SECRET to the one "
            "set at GitHub, or leave --listen out.",
        )
    return found


def _now() -> datetime:
    return datetime.now(UTC)
