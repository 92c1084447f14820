"""What a bench says: promises with what was measured, and fair ways to take time."""

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COMMAND_SECONDS = 180.0

Timed = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One promise and what was measured.

    Attributes:
        value: None when it was not measured; `detail` says why.
        bar: The most it may be, in `unit`; the least where `is_floor`.
        detail: The figures behind it.
        is_optional: Whether it counts as no failure that it was not measured.
    """

    name: str
    value: float | None
    bar: float
    unit: str
    detail: str
    is_floor: bool = False
    is_optional: bool = False

    @property
    def is_met(self) -> bool:
        """Return whether the promise is kept."""
        if self.value is None:
            return self.is_optional
        return self.value >= self.bar if self.is_floor else self.value <= self.bar

    @property
    def verdict(self) -> str:
        """Return the verdict in a word or two."""
        if self.value is None:
            return "not measured"
        return "met" if self.is_met else "MISSED"


class BenchError(Exception):
    """Something that was to be measured did not work."""


def ratio(
    name: str, ours: float, theirs: float, bar: float, *, unit: str = "x"
) -> Measure:
    """Return a measure that compares two times in seconds."""
    detail = f"{_render_seconds(ours)} / {_render_seconds(theirs)}"
    return Measure(name=name, value=ours / theirs, bar=bar, unit=unit, detail=detail)


def medians(runs: int, *timed: Timed, warm_up: bool = True) -> list[float]:
    """Return each one's median in seconds; they take turns, so load slows all alike.

    Args:
        warm_up: Run each once before, for the first run pays for cold caches.
    """
    if warm_up:
        for one in timed:
            one()
    times: list[list[float]] = [[] for _ in timed]
    for _ in range(runs):
        for taken, one in zip(times, timed, strict=True):
            taken.append(one())
    return [statistics.median(taken) for taken in times]


def run(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    stdin: str | None = None,
) -> float:
    """Run a command that must succeed; return its wall time in seconds."""
    started = time.perf_counter()
    read(command, environ, stdin=stdin)
    return time.perf_counter() - started


def read(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    stdin: str | None = None,
) -> str:
    """Run a command that must succeed; return what it wrote on stdout."""
    try:
        done = subprocess.run(
            command,
            env=None if environ is None else dict(environ),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"{command[0]} took longer than {COMMAND_SECONDS:g} s"
        ) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        what = " ".join(command[:3])
        raise BenchError(f"{what} ended with {done.returncode} and said: {said[0]}")
    return done.stdout


def timed(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Timed:
    """Return what runs that command and tells its time."""
    return lambda: run(command, environ)


def render(measures: Sequence[Measure]) -> str:
    """Return the measures as a table."""
    rows = [
        (
            m.verdict,
            "-" if m.value is None else f"{m.value:.3f}",
            f"{'>=' if m.is_floor else '<='} {m.bar:g} {m.unit}",
            m.name,
            m.detail,
        )
        for m in measures
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(t.ljust(w) for t, w in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def _render_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
