"""Who may call now, when RunPod counts calls: people and money first, charts last.

REST v2 tells with every answer what is left of each window (headers `RateLimit` and
`RateLimit-Policy`); a 429 tells it the hard way. `QuotaLedger` remembers that and says
how long a call has to wait; it is pure: instants are passed in. `QuotaGate` is the
ledger with a lock, a clock and the waiting. Neither knows what a call is about.

    priority   held back while no more is left of a window than
    CONTROL    nothing
    SAFETY     a tenth, kept for CONTROL
    TELEMETRY  a quarter, kept for both; long windows are spread evenly besides

A call that ends spending is never held back: the ledger only counts it.
"""

import enum
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from runpod_client.errors import RateLimitedError

DAY_SECONDS = 86_400.0
# windows at least this long are spread for telemetry, so that the evening has some left
SPREAD_FROM_SECONDS = 600.0
# as many calls may come at once before the even pace begins
TELEMETRY_BURST = 10
# how long a 429 without Retry-After keeps further calls away
UNTOLD_PAUSE_SECONDS = 1.0
# a gate is asked again after each wait; this only keeps a wrong clock from looping
MAX_WAITS = 100
MAX_HEADER_CHARACTERS = 1000

_MEMBER = re.compile(
    r'"([^"\\,;]{1,64})"((?:\s*;\s*[a-z*][a-z0-9_.*-]*(?:=[^;,\s]+)?)*)'
)
_PARAMETER = re.compile(r";\s*([a-z*][a-z0-9_.*-]*)=([^;,\s]+)")
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,3})?")


class Priority(enum.IntEnum):
    """What a call is for, and so who goes first when RunPod takes only so many.

    CONTROL is what a person or money waits for: create, start, stop, terminate, rename,
    and the reads a command was asked for. SAFETY is what keeps pods from being paid for
    unasked: the listings of reap and of settling a create. TELEMETRY is what only
    informs: watching, monitoring, metrics, logs.
    """

    CONTROL = 1
    SAFETY = 2
    TELEMETRY = 3


_reads_as: ContextVar[Priority] = ContextVar("priority", default=Priority.CONTROL)


@contextmanager
def reading_as(priority: Priority) -> Iterator[None]:
    """Give the reads made inside, in this thread or task, a priority.

    What polls says here that it does, once, and no layer between has to pass it on.
    """
    token = _reads_as.set(priority)
    try:
        yield
    finally:
        _reads_as.reset(token)


def find_read_priority() -> Priority:
    """Return the priority of a read that names none: CONTROL, or `reading_as`'s."""
    return _reads_as.get()


# what share of a window stays untouched by calls of this priority
RESERVES: Mapping[Priority, float] = {
    Priority.CONTROL: 0.0,
    Priority.SAFETY: 0.10,
    Priority.TELEMETRY: 0.25,
}


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is known of one of RunPod's windows.

    Attributes:
        limit: Calls the whole window allows; the most ever seen where no policy came.
        remaining: Calls left, by the last answer.
        resets_at: The instant, on the caller's clock, when the window starts anew.
    """

    limit: int
    span_seconds: float
    remaining: int
    resets_at: float

    def at(self, now: float) -> "Window":
        """Return the window as it is at an instant: full again once it was reset."""
        if now < self.resets_at:
            return self
        missed = math.floor((now - self.resets_at) / self.span_seconds) + 1
        resets_at = self.resets_at + missed * self.span_seconds
        return replace(self, remaining=self.limit, resets_at=resets_at)

    def merged_with(self, told: "Window") -> "Window":
        """Return what two answers say together.

        Answers overtake each other, and a slow one tells its reset too late: within one
        window the lower count and the earlier reset are nearer to the truth.
        """
        if abs(told.resets_at - self.resets_at) > self.span_seconds / 2:
            return told
        return replace(
            told,
            remaining=min(self.remaining, told.remaining),
            resets_at=min(self.resets_at, told.resets_at),
        )


class QuotaLedger:
    """What RunPod has told of its quota, and what that means for the next call."""

    def __init__(self) -> None:
        self._policies: dict[str, tuple[int, float]] = {}
        self._windows: dict[str, Window] = {}
        self._in_flight = 0
        self._refused_until = -math.inf
        self._paced_until = -math.inf

    def admit(
        self, priority: Priority, now: float, *, ends_spending: bool = False
    ) -> float:
        """Return 0 and count the call as under way, or the seconds it has to wait."""
        self._windows = {name: w.at(now) for name, w in self._windows.items()}
        interval = 0.0
        if not ends_spending:
            interval = self._find_interval(priority, now)
            wait = self._find_wait(priority, now, interval)
            if wait > 0:
                return wait
        if interval:
            self._paced_until = max(self._paced_until, now) + interval
        self._in_flight += 1
        return 0.0

    def settle(
        self,
        now: float,
        *,
        headers: Mapping[str, str] | None = None,
        refused_for_seconds: float | None = None,
    ) -> None:
        """Take note of what became of an admitted call.

        Args:
            headers: Of the answer; None when none came.
            refused_for_seconds: Retry-After of a 429; None for any other answer.
        """
        self._in_flight = max(self._in_flight - 1, 0)
        if headers is not None:
            self._observe(headers, now)
        if refused_for_seconds is not None:
            pause = min(refused_for_seconds, DAY_SECONDS)
            self._refused_until = max(self._refused_until, now + pause)

    def _observe(self, headers: Mapping[str, str], now: float) -> None:
        for name, facts in parse_members(headers.get("RateLimit-Policy")).items():
            if facts.get("q", 0) >= 1 and facts.get("w", 0) >= 1:
                self._policies[name] = (int(facts["q"]), facts["w"])
        told = parse_members(headers.get("RateLimit"))
        for name, facts in told.items():
            if "r" in facts and "t" in facts:
                self._note_window(name, int(facts["r"]), facts["t"], now)
        if told and all(facts.get("r", 0) > 0 for facts in told.values()):
            # it takes calls again, whatever an earlier refusal said
            self._refused_until = -math.inf

    def _note_window(
        self, name: str, remaining: int, resets_in_seconds: float, now: float
    ) -> None:
        known = self._windows.get(name)
        limit, span = self._policies.get(name, (0, 0.0))
        if not span:
            limit = max(remaining, known.limit if known else 1)
            span = max(resets_in_seconds, known.span_seconds if known else 1.0)
        if resets_in_seconds > max(span, 1.0) or span > 31 * DAY_SECONDS:
            return
        told = Window(
            limit=max(limit, remaining),
            span_seconds=span,
            remaining=remaining,
            resets_at=now + resets_in_seconds,
        )
        self._windows[name] = known.at(now).merged_with(told) if known else told

    def _find_wait(self, priority: Priority, now: float, interval: float) -> float:
        waits = [self._refused_until - now]
        waits += [
            window.resets_at - now
            for window in self._windows.values()
            if self._find_free(window, priority) <= 0
        ]
        if interval:
            waits.append(self._paced_until - TELEMETRY_BURST * interval - now)
        return max(waits)

    def _find_interval(self, priority: Priority, now: float) -> float:
        """Return the even pace of telemetry over the long windows, in seconds."""
        if priority is not Priority.TELEMETRY:
            return 0.0
        paces = [0.0]
        for window in self._windows.values():
            free = self._find_free(window, priority)
            if window.span_seconds >= SPREAD_FROM_SECONDS and free > 0:
                paces.append((window.resets_at - now) / free)
        return max(paces)

    def _find_free(self, window: Window, priority: Priority) -> int:
        """Return how many calls this priority may still make in a window."""
        reserve = int(window.limit * RESERVES[priority])
        return window.remaining - self._in_flight - reserve


class QuotaGate:
    """A ledger that threads may share, and the waiting it asks for."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = QuotaLedger()
        self._lock = threading.Lock()
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def admitted(
        self,
        priority: Priority,
        *,
        operation: str,
        deadline: float,
        ends_spending: bool = False,
    ) -> Iterator["Passage"]:
        """Wait for a turn; what the answer tells goes into the passage.

        Args:
            deadline: On the gate's clock.
            ends_spending: Never wait.

        Raises:
            RateLimitedError: The turn would come after the deadline.
        """
        self._wait_for_turn(priority, operation, deadline, ends_spending=ends_spending)
        passage = Passage(self._settle)
        try:
            yield passage
        finally:
            passage.end()

    def _wait_for_turn(
        self,
        priority: Priority,
        operation: str,
        deadline: float,
        *,
        ends_spending: bool,
    ) -> None:
        wait = 0.0
        for _ in range(MAX_WAITS):
            now = self._clock()
            with self._lock:
                wait = self._ledger.admit(priority, now, ends_spending=ends_spending)
            if wait <= 0:
                return
            if now + wait >= deadline:
                break
            self._sleep(wait)
        raise RateLimitedError(
            f"{operation} is held back: RunPod's quota has room for it in {wait:.0f} s",
            retry_after_seconds=wait,
            operation=operation,
            hint=f"Try again in {math.ceil(wait)} s, or ask less often.",
        )

    def _settle(
        self, headers: Mapping[str, str] | None, refused_for_seconds: float | None
    ) -> None:
        with self._lock:
            self._ledger.settle(
                self._clock(),
                headers=headers,
                refused_for_seconds=refused_for_seconds,
            )


class Passage:
    """One admitted call; it is under way until its answer's head has arrived."""

    def __init__(
        self, settle: Callable[[Mapping[str, str] | None, float | None], None]
    ) -> None:
        self._settle = settle
        self._is_open = True

    def learn(
        self, headers: Mapping[str, str], *, refused_for_seconds: float | None = None
    ) -> None:
        """Take the answer's headers, and the Retry-After of a 429."""
        if self._is_open:
            self._is_open = False
            self._settle(headers, refused_for_seconds)

    def end(self) -> None:
        """Say that no answer came; nothing after `learn`."""
        if self._is_open:
            self._is_open = False
            self._settle(None, None)


def parse_members(text: str | None) -> dict[str, dict[str, float]]:
    """Return a structured-field list of quoted names with numbers, by name.

    `"minute";r=12;t=30` gives `{"minute": {"r": 12.0, "t": 30.0}}`. Anything malformed
    gives nothing at all, as RFC 9651 wants it.
    """
    if not text or len(text) > MAX_HEADER_CHARACTERS:
        return {}
    members: dict[str, dict[str, float]] = {}
    for part in text.split(","):
        match = _MEMBER.fullmatch(part.strip(" \t"))
        if match is None:
            return {}
        parameters = _PARAMETER.findall(match[2])
        if not all(_NUMBER.fullmatch(value) for _, value in parameters):
            return {}
        members[match[1]] = {name: float(value) for name, value in parameters}
    return members
