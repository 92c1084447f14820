"""When a call may be sent to GitHub, for all threads of a process together.

GitHub counts per credential, and whoever goes on calling after a refusal is banned. So
one `LimitGate` stands before all calls of a credential: at most a few at once, writes at
an even pace, and none at all while a limit holds. `LimitLedger` is the pure half: it is
told instants and answers with waits. Neither knows what a call is about.

    refused, and GitHub said for how long    nothing is sent for that long
    refused, nothing said                    60 s, twice as long each time, 15 min at most
    told that no call is left                nothing is sent until the hour starts anew
    the wait is over                         one call goes ahead; the others follow when it
                                             was not refused too
"""

import hashlib
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runner_installer.model import APIQuota
from runpod_client import RateLimitedError, TransportError

SERVICE = "GitHub"
# GitHub allows 100 at once; a runner manager has no use for many
MAX_CONCURRENT = 12
# GitHub's published limits: content made in a minute, and points a minute and endpoint
CREATIONS_PER_MINUTE = 80
POINTS_PER_MINUTE = 900
READ_POINTS = 1
WRITE_POINTS = 5
UNTOLD_WAIT_SECONDS = 60.0
MAX_UNTOLD_WAIT_SECONDS = 900.0
_MINUTE = 60.0
# a turn is asked for again after each wake-up; this only keeps a wrong clock from looping
_MAX_TURNS = 10_000


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast calls may follow each other; None for no bound of our own."""

    creations_per_minute: int | None = CREATIONS_PER_MINUTE
    points_per_minute: int | None = POINTS_PER_MINUTE
    concurrent: int = MAX_CONCURRENT


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an answer said about limits.

    Attributes:
        refused: Whether it was refused for a limit.
        wait_seconds: How long to stay away, in GitHub's word; None where it gave none.
        resets_in_seconds: Until the hour of `limit` and `remaining` is over.
    """

    refused: bool = False
    wait_seconds: float | None = None
    limit: int | None = None
    remaining: int | None = None
    resets_in_seconds: float | None = None
    is_unchanged: bool = False


class _Window:
    """How much was spent in the last minute of so much a minute."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def find_wait(self, now: float, cost: int) -> float:
        while self._spent and self._spent[0][0] <= now - _MINUTE:
            self._sum -= self._spent.popleft()[1]
        over = self._sum + cost - self._limit
        for at, spent in self._spent:
            if over <= 0:
                break
            over -= spent
            if over <= 0:
                return at + _MINUTE - now
        return 0.0

    def spend(self, now: float, cost: int) -> None:
        self._spent.append((now, cost))
        self._sum += cost


class LimitLedger:
    """What GitHub has told of its limits, and what that means for the next call."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        creations = pace.creations_per_minute
        self._creations = _Window(creations) if creations else None
        self._points: dict[str, _Window] = {}
        self._in_flight = 0
        self._held_until = -math.inf
        self._refused_at = -math.inf
        self._strikes = 0
        self._is_suspect = False
        self._trial_at: float | None = None
        self._quota = APIQuota()
        self._resets_at = -math.inf

    def admit(self, operation: str, method: str, now: float) -> float:
        """Return 0 and count the call as sent, or the seconds to wait.

        Infinite means: until a call under way has been answered.
        """
        if now < self._held_until:
            return self._held_until - now
        if self._in_flight >= self._pace.concurrent:
            return math.inf
        if self._is_suspect and self._trial_at is not None:
            return math.inf
        costs = self._find_costs(operation, method)
        wait = max((w.find_wait(now, cost) for w, cost in costs), default=0.0)
        if wait > 0:
            return wait
        for window, cost in costs:
            window.spend(now, cost)
        self._in_flight += 1
        if self._is_suspect:
            self._trial_at = now
        self._quota = replace(self._quota, calls=self._quota.calls + 1)
        return 0.0

    def settle(self, sent_at: float, now: float, told: Told | None) -> None:
        """Take note of what became of an admitted call.

        Args:
            sent_at: When it was admitted.
            told: None when no answer came.
        """
        self._in_flight -= 1
        is_news = sent_at >= self._refused_at
        if sent_at == self._trial_at:
            self._trial_at = None
        if told is None:
            return
        if told.refused:
            self._hold(now, told, is_news=is_news)
        elif is_news:
            self._strikes = 0
            self._is_suspect = False
        self._note_quota(now, told)

    def report(self, now: float, wall_now: float) -> APIQuota:
        """Return what is known, for people and metrics."""
        resets_at = None
        if math.isfinite(self._resets_at):
            at = wall_now + self._resets_at - now
            resets_at = datetime.fromtimestamp(round(at), UTC)
        held = max(self._held_until - now, 0.0)
        return replace(self._quota, resets_at=resets_at, held_seconds=held)

    def _find_costs(self, operation: str, method: str) -> list[tuple[_Window, int]]:
        """Return what a call is charged to, and how much."""
        costs = []
        if self._creations is not None and method == "POST":
            costs.append((self._creations, 1))
        if self._pace.points_per_minute:
            fresh = _Window(self._pace.points_per_minute)
            points = READ_POINTS if method == "GET" else WRITE_POINTS
            costs.append((self._points.setdefault(operation, fresh), points))
        return costs

    def _hold(self, now: float, told: Told, *, is_news: bool) -> None:
        wait = told.wait_seconds
        if wait is None:
            # calls that were under way together are refused together: one strike
            wait = find_untold_wait(self._strikes)
            self._strikes += is_news
        if is_news or told.wait_seconds is not None:
            self._held_until = max(self._held_until, now + wait)
        self._refused_at = now
        self._is_suspect = True

    def _note_quota(self, now: float, told: Told) -> None:
        if told.is_unchanged:
            self._quota = replace(self._quota, unchanged=self._quota.unchanged + 1)
        if told.remaining is None or told.resets_in_seconds is None:
            return
        resets_at = now + told.resets_in_seconds
        remaining = told.remaining
        # answers overtake each other: within one hour the lower count is nearer the truth
        if abs(resets_at - self._resets_at) < _MINUTE:
            known = self._quota.remaining
            remaining = remaining if known is None else min(remaining, known)
        self._resets_at = resets_at
        self._quota = replace(self._quota, limit=told.limit, remaining=remaining)
        if told.remaining <= 0:
            self._held_until = max(self._held_until, resets_at)


def find_untold_wait(strikes: int) -> float:
    """Return how long to stay away after a refusal that does not say it itself."""
    return min(UNTOLD_WAIT_SECONDS * 2.0 ** min(strikes, 10), MAX_UNTOLD_WAIT_SECONDS)


class Passage:
    """One admitted call; it is under way until it was told how it went, or ends."""

    def __init__(self, gate: "LimitGate", sent_at: float) -> None:
        self._gate = gate
        self._sent_at = sent_at
        self._is_open = True

    def learn(self, told: Told | None) -> None:
        """Take what the answer said about limits."""
        if self._is_open:
            self._is_open = False
            self._gate.settle(self._sent_at, told)


class LimitGate:
    """A ledger that threads share, and the waiting it asks for."""

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = LimitLedger(pace or Pace())
        self._clock = clock
        self._wall_clock = wall_clock
        self._changed = threading.Condition()

    @contextmanager
    def admitted(
        self,
        operation: str,
        method: str,
        *,
        wait_seconds: float,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Iterator[Passage]:
        """Wait for a turn; what the answer tells goes into the passage.

        Args:
            wait_seconds: The longest wait that is acceptable.
            is_over: Whether the caller has meanwhile been closed.

        Raises:
            RateLimitedError: The turn would come later than that.
            TransportError: The caller was closed.
        """
        sent_at = self._wait_for_turn(operation, method, wait_seconds, is_over)
        passage = Passage(self, sent_at)
        try:
            yield passage
        finally:
            passage.learn(None)

    def settle(self, sent_at: float, told: Told | None) -> None:
        """Take note of what became of an admitted call."""
        with self._changed:
            self._ledger.settle(sent_at, self._clock(), told)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look whether they still should."""
        with self._changed:
            self._changed.notify_all()

    def report(self) -> APIQuota:
        """Return what is known, for people and metrics."""
        with self._changed:
            return self._ledger.report(self._clock(), self._wall_clock())

    def _wait_for_turn(
        self,
        operation: str,
        method: str,
        wait_seconds: float,
        is_over: Callable[[], bool],
    ) -> float:
        deadline = self._clock() + wait_seconds
        with self._changed:
            for _ in range(_MAX_TURNS):
                now = self._clock()
                if is_over():
                    raise TransportError(
                        f"{operation} was not sent: GitHub's client is closed",
                        service=SERVICE,
                        operation=operation,
                    )
                wait = self._ledger.admit(operation, method, now)
                if wait <= 0:
                    return now
                left = deadline - now
                if left <= 0 or (math.isfinite(wait) and wait > left):
                    break
                self._changed.wait(min(wait, left))
        raise _too_long(operation, wait if math.isfinite(wait) else None)


def _too_long(operation: str, wait: float | None) -> RateLimitedError:
    when = f"{wait:.0f} s" if wait is not None else "a while"
    return RateLimitedError(
        f"{operation} is held back for {when}: GitHub takes no more calls until then",
        retry_after_seconds=wait,
        service=SERVICE,
        operation=operation,
        hint=f"Repeat in {when}, or raise GITHUB_RATE_LIMIT_WAIT.",
    )


_gates: weakref.WeakValueDictionary[str, LimitGate] = weakref.WeakValueDictionary()
_gates_lock = threading.Lock()


def find_gate(api_url: str, identity: str, pace: Pace) -> LimitGate:
    """Return the gate of a credential at a server: one for the whole process.

    Args:
        identity: What tells credentials apart; kept as a digest alone.
        pace: Of a new gate; one that exists keeps its own.
    """
    key = hashlib.sha256(f"{api_url}\n{identity}".encode()).hexdigest()
    with _gates_lock:
        gate = _gates.get(key)
        if gate is None:
            gate = _gates[key] = LimitGate(pace)
        return gate
