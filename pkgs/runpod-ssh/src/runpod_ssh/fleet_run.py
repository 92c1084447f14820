"""A run on many pods as a person or a program sees it, on a process' descriptors.

On a terminal a live table with the output passing above it, else lines with a prefix,
or JSON; at the end a summary, also of a run that was interrupted.
"""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from runpod_ssh.exec import OWN, Descriptors
from runpod_ssh.fleet import Fleet
from runpod_ssh.fleet_model import (
    Event,
    Job,
    Observer,
    Order,
    Outcome,
    Output,
    exit_status_over,
)
from runpod_ssh.fleet_output import (
    JsonLines,
    PrefixedLines,
    labels_of,
    render_summary,
)
from runpod_ssh.fleet_table import LiveFleet
from runpod_ssh.links import OpenLink


@dataclass(frozen=True, kw_only=True)
class _Face:
    """Where events go, and how the run is summed up: outcomes and seconds."""

    observe: Observer
    summarize: Callable[[Sequence[Outcome], float], Awaitable[None]]


async def run_fleet(
    open_link: OpenLink,
    jobs: Sequence[Job],
    order: Order,
    *,
    parallel: int,
    as_json: bool,
    descriptors: Descriptors = OWN,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run an order on all pods, show what happens, and return the status over all.

    Raises:
        BrokenPipeError: The reader of the output has gone; all commands were ended.
    """
    started = clock()
    fleet = Fleet(open_link, jobs, parallel=parallel, clock=clock)
    show = _show_json if as_json else _show_to_people
    async with show(jobs, descriptors) as face:
        try:
            await fleet.run(order, face.observe)
        finally:
            with contextlib.suppress(BrokenPipeError):
                await face.summarize(fleet.outcomes, clock() - started)
    return exit_status_over(fleet.outcomes)


@contextlib.asynccontextmanager
async def _show_json(
    _jobs: Sequence[Job], descriptors: Descriptors
) -> AsyncIterator[_Face]:
    with descriptors.sinks() as (stdout, _stderr):
        lines = JsonLines(stdout)
        yield _Face(observe=lines.observe, summarize=lines.summarize)


@contextlib.asynccontextmanager
async def _show_to_people(
    jobs: Sequence[Job], descriptors: Descriptors
) -> AsyncIterator[_Face]:
    labels = labels_of(jobs)
    with descriptors.sinks() as (stdout, stderr):
        lines = PrefixedLines(labels, stdout=stdout, stderr=stderr)

        async def summarize(outcomes: Sequence[Outcome], seconds: float) -> None:
            await stderr(f"{render_summary(outcomes, seconds)}\n".encode())

        if not os.isatty(descriptors.stderr):
            yield _Face(observe=lines.observe, summarize=summarize)
            return
        async with contextlib.AsyncExitStack() as table:
            file = table.enter_context(open(descriptors.stderr, "w", closefd=False))  # noqa: ASYNC230, SIM115  # a terminal
            observe = await table.enter_async_context(
                _show_table(Console(file=file), labels, descriptors, lines)
            )

            async def conclude(outcomes: Sequence[Outcome], seconds: float) -> None:
                # the table takes the lines below it away when it goes
                await table.aclose()
                await summarize(outcomes, seconds)

            yield _Face(observe=observe, summarize=conclude)


@contextlib.asynccontextmanager
async def _show_table(
    console: Console,
    labels: dict[str, str],
    descriptors: Descriptors,
    lines: PrefixedLines,
) -> AsyncIterator[Observer]:
    """Draw the table; output that does not go to its terminal goes its usual way."""
    passing = {"stderr"} | ({"stdout"} if os.isatty(descriptors.stdout) else set())
    live = LiveFleet(labels, console, shown=frozenset(passing))

    async def observe(event: Event) -> None:
        await live.observe(event)
        if isinstance(event, Output) and event.stream not in passing:
            await lines.observe(event)

    async with live.drawn():
        yield observe
