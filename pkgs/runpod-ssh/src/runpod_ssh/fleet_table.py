"""The live table of a run on many pods: who runs, who failed, counts for the rest.

It draws on a console it is given; it decides nothing about the run.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runpod_ssh.fleet_model import Ended, Event, Job, Outcome, Output, Started, State
from runpod_ssh.fleet_output import explain

_FRAME_SECONDS = 0.25
# the header, the line of counts, and room for the prompt
_OTHER_LINES = 4
# escape sequences, then all control characters but the tab
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def printable(line: bytes) -> str:
    """Return a line as it may appear on a terminal that a table is drawn on.

    A pod's escape sequences would move the cursor; of a line that was written over, as
    progress bars do, the last state counts.
    """
    text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", text)).expandtabs()


@dataclass(kw_only=True)
class _Row:
    """What is known of one pod."""

    label: str
    started_at: float = 0.0
    last_line: str = ""
    outcome: Outcome | None = None


class FleetTable:
    """The state of all pods as a drawing.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(
        self, labels: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._waiting = {pod_id: _Row(label=label) for pod_id, label in labels.items()}
        self._running: dict[str, _Row] = {}
        self._ended: dict[str, _Row] = {}

    def note(self, event: Event) -> None:
        """Take an event into account."""
        pod_id = event.job.pod_id
        if isinstance(event, Started):
            row = self._running[pod_id] = self._waiting.pop(pod_id)
            row.started_at = self._clock()
        elif isinstance(event, Output):
            seen = next(filter(None, map(printable, reversed(event.lines))), "")
            self._running[pod_id].last_line = seen or self._running[pod_id].last_line
        elif isinstance(event, Ended):
            place = self._running if pod_id in self._running else self._waiting
            row = place.pop(pod_id)
            row.outcome = event.outcome
            self._ended[pod_id] = row

    def render(self, *, height: int) -> Group:
        """Return the drawing for a terminal of that many lines."""
        room = max(1, height - _OTHER_LINES)
        failed = [row for row in self._ended.values() if _went_wrong(row)]
        running = list(self._running.values())
        # failures stay in sight, but never push out all that runs
        failures_shown = failed[-max(1, room - len(running), room // 3) :]
        running_shown = running[: room - len(failures_shown)]
        table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
        table.add_column("pod", no_wrap=True, max_width=32)
        table.add_column("state", no_wrap=True)
        table.add_column("time", no_wrap=True, justify="right")
        table.add_column("last line", no_wrap=True, overflow="ellipsis", ratio=1)
        for row in failures_shown:
            self._add(table, row)
        for row in running_shown:
            self._add(table, row)
        return Group(table, Text(self._render_counts(), style="dim", no_wrap=True))

    def _add(self, table: Table, row: _Row) -> None:
        outcome = row.outcome
        if outcome is None:
            elapsed = self._clock() - row.started_at
            state, words = Text("running", style="cyan"), row.last_line
        else:
            elapsed = outcome.elapsed_seconds
            state = Text(_state_word(outcome), style="red")
            words = row.last_line if outcome.error is None else explain(outcome)
        table.add_row(Text(row.label), state, f"{elapsed:.0f} s", Text(words))

    def _render_counts(self) -> str:
        ended = Counter(_went_wrong(row) for row in self._ended.values())
        skipped = sum(_is_skipped(row) for row in self._ended.values())
        parts = [
            f"{len(self._running)} running",
            f"{len(self._waiting)} waiting",
            f"{ended[False] - skipped} done",
            f"{ended[True]} failed",
        ]
        if skipped:
            parts.append(f"{skipped} skipped")
        return ", ".join(parts)


def _state_word(outcome: Outcome) -> str:
    if outcome.state is State.EXITED:
        return f"exit {outcome.exit_status}"
    return str(outcome.state)


def _is_skipped(row: _Row) -> bool:
    return row.outcome is not None and row.outcome.state is State.SKIPPED


def _went_wrong(row: _Row) -> bool:
    outcome = row.outcome
    return outcome is not None and not outcome.is_success and not _is_skipped(row)


class LiveFleet:
    """The table on a terminal, with output passing above it.

    Args:
        shown: The streams whose lines are printed above the table.
    """

    def __init__(
        self, labels: Mapping[str, str], console: Console, *, shown: frozenset[str]
    ) -> None:
        self._labels = labels
        self._console = console
        self._shown = shown
        self._table = FleetTable(labels)
        width = max(map(len, labels.values()), default=0)
        self._width = min(width, 32)

    async def observe(self, event: Event) -> None:
        """Show an event."""
        self._table.note(event)
        if isinstance(event, Output) and event.stream in self._shown:
            self._print(event.job, event.lines)

    def _print(self, job: Job, lines: tuple[bytes, ...]) -> None:
        prefix = f"{self._labels[job.pod_id]:<{self._width}} | "
        text = Text()
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            text.append(prefix, style="cyan").append(printable(line))
        self._console.print(text, soft_wrap=True, highlight=False)

    @contextlib.asynccontextmanager
    async def drawn(self) -> AsyncIterator[None]:
        """Keep the table on the terminal for the block, and take it away after."""
        with Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        ) as live:
            painter = asyncio.create_task(self._paint(live))
            try:
                yield
            finally:
                painter.cancel()
                await asyncio.wait([painter])

    async def _paint(self, live: Live) -> None:
        while live.is_started:
            live.update(self._table.render(height=self._console.height), refresh=True)
            await asyncio.sleep(_FRAME_SECONDS)
