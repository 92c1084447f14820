"""`runpod-ssh probe`: what pods have and use, once or live."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runpod_client.console import Session, options, show
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POLICY_OPTION,
    run_async,
    way_options,
)
from runpod_ssh.exit_codes import EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from rich.console import RenderableType

    from runpod_client import Pod
    from runpod_ssh.model import PodTarget
    from runpod_ssh.probe import PodLink, Reading

    # told of each look, and of the latest of every pod
    Show = Callable[[Reading, Sequence[Reading]], None]

# between the two looks that a sheet's rates need
_GLANCE_SECONDS = 0.5
# for so long a listing of the pods answers for those that connect at the same time
_FRESH_SECONDS = 2.0


@click.command()
@click.argument("pods", metavar="POD...", nargs=-1, required=True)
@click.option("--watch", is_flag=True, help="Look again and again until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: from one look to the next.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --watch: end after N looks.",
)
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def probe(
    session: Session,
    pods: tuple[str, ...],
    *,
    watch: bool,
    interval: float,
    count: int | None,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Show what PODs have and use: CPU, memory, disks, network, GPUs.

    The limits are the pod's own, not those of the machine it shares. The pod needs
    nothing but a shell; what it does not tell is "-", with the reason below.

    Several PODs are shown a row each. For a sheet two looks are taken half a second
    apart, so that CPU and network are rates. --json prints a line per pod and look,
    with the raw counters; --watch does so too where stdout is no terminal.

    \b
    Examples:
      runpod-ssh probe train
      runpod-ssh probe --watch --interval 2 train
      runpod-ssh probe train eval --json | jq '{name, used: .memory.used_bytes}'
      runpod-ssh probe --watch train >> train.jsonl
    """  # noqa: D301  # click reads \b as: keep these lines
    if count is not None and not watch:
        raise click.UsageError("--count goes with --watch")
    if session.output == "name":
        raise click.UsageError("this command's result has no names: -o name")
    names = tuple(dict.fromkeys(pods))
    access = arguments.open_access(session, policy, connect_timeout)
    as_lines = session.as_json or (watch and not sys.stdout.isatty())
    if watch:
        pauses = [interval] * (count - 1) if count else None
    else:
        pauses = [] if as_lines else [_GLANCE_SECONDS]
    links = _Links(access, identity)
    readings: Sequence[Reading] = ()
    with (
        contextlib.ExitStack() as until_interrupted,
        _display(session, names, as_lines=as_lines, is_live=watch) as display,
    ):
        if watch:
            until_interrupted.enter_context(contextlib.suppress(KeyboardInterrupt))
        readings = run_async(
            _look(names, links, display, pauses=pauses, interval=interval)
        )
    return _judge(readings, is_watch=watch)


class _Links:
    """Makes connections to pods, not too many at once."""

    def __init__(self, access: arguments.Access, identity: Path | None) -> None:
        self._access = access
        self._identity = identity
        self._turn = asyncio.Semaphore(max(access.settings.parallel, 1))
        # the client under it is made for one caller at a time
        self._asking = asyncio.Lock()
        self._listing: Sequence[Pod] = ()
        self._listed_at = -_FRESH_SECONDS

    @contextlib.asynccontextmanager
    async def open(self, name: str) -> "AsyncIterator[PodLink]":
        """Find a pod where it is now, and connect."""
        from runpod_ssh.probe import PodLink  # noqa: PLC0415  # asyncssh is slow

        async with contextlib.AsyncExitStack() as stack:
            async with self._turn:
                target = await self._find_target(name)
                connection = await stack.enter_async_context(
                    self._access.connect(target)
                )
            yield PodLink(pod=target.pod, connection=connection)

    async def _find_target(self, name: str) -> "PodTarget":
        """Return where a pod is now; one listing serves all that ask together."""
        loop, access = asyncio.get_running_loop(), self._access
        async with self._asking:
            if loop.time() - self._listed_at >= _FRESH_SECONDS:
                self._listing = await asyncio.to_thread(access.client.list_pods)
                self._listed_at = loop.time()
            found = [pod for pod in self._listing if pod.pod_id == name] or [
                pod for pod in self._listing if pod.name == name
            ]
            if len(found) == 1:
                return access.target_of(found[0], self._identity)
            # none or several: the directory words what is wrong
            return await asyncio.to_thread(access.find_target, name, self._identity)


async def _look(
    names: "Sequence[str]",
    links: _Links,
    display: "Show",
    *,
    pauses: "Sequence[float] | None",
    interval: float,
) -> "Sequence[Reading]":
    """Look at all pods at the same time; show each round of each; return the last."""
    from runpod_ssh.probe import Reading, watch_pod  # noqa: PLC0415  # asyncssh

    latest = {name: Reading(selector=name) for name in names}

    async def follow(name: str) -> None:
        looks = watch_pod(
            name, lambda: links.open(name), pauses=pauses, interval_seconds=interval
        )
        async with contextlib.aclosing(looks) as readings:
            async for reading in readings:
                latest[name] = reading
                display(reading, list(latest.values()))

    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(follow(name))
    except BaseExceptionGroup as failures:
        # what a pod did wrong is a reading; this is our own, for instance a full disk
        raise failures.exceptions[0] from None
    return list(latest.values())


@contextlib.contextmanager
def _display(
    session: Session, names: "Sequence[str]", *, as_lines: bool, is_live: bool
) -> "Iterator[Show]":
    """Yield what shows a look, in the way the reader needs."""
    if as_lines:
        yield lambda reading, _latest: _print_line(
            reading, is_alone=len(names) == 1 and not is_live
        )
    elif is_live:
        with _live_sheet() as show_live:
            yield show_live
    else:
        with _sheet_at_end(session, len(names)) as collect:
            yield collect


def _print_line(reading: "Reading", *, is_alone: bool) -> None:
    import json  # noqa: PLC0415  # start-up time

    from runpod_ssh.probe_sheets import reading_document  # noqa: PLC0415

    # the failure of the only pod is the command's own: see _judge
    if reading.error is None or not is_alone:
        document = reading_document(reading)
        click.echo(json.dumps(document, default=lambda moment: moment.isoformat()))


@contextlib.contextmanager
def _live_sheet() -> "Iterator[Show]":
    from rich.console import Console, Group  # noqa: PLC0415  # slow
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    hint = Text("Ctrl-C ends the watching, not the pods", style="dim")

    def update(_reading: "Reading", latest: "Sequence[Reading]") -> None:
        live.update(Group(_sheet(latest), hint), refresh=True)

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        yield update


@contextlib.contextmanager
def _sheet_at_end(session: Session, pod_count: int) -> "Iterator[Show]":
    final: Sequence[Reading] = ()

    def collect(_reading: "Reading", latest: "Sequence[Reading]") -> None:
        nonlocal final
        final = latest

    with session.status("looking at the pod" + "s" * (pod_count > 1)):
        yield collect
    if pod_count > 1 or all(reading.error is None for reading in final):
        show(_sheet(final))


def _sheet(readings: "Sequence[Reading]") -> "RenderableType":
    from runpod_ssh.probe_sheets import render_pod, render_pods  # noqa: PLC0415  # rich

    return render_pod(readings[0]) if len(readings) == 1 else render_pods(readings)


def _judge(readings: "Sequence[Reading]", *, is_watch: bool) -> int:
    """Return the exit status; the failure of the only pod is the command's."""
    failed = [reading.error for reading in readings if reading.error is not None]
    if failed and len(readings) == 1 and not is_watch:
        raise failed[0]
    return 1 if failed else 0
