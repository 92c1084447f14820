"""The last known state in memory, handed to everyone who shows it.

The board is written by the monitor and the heartbeats and read by HTTP and dashboard.
A slow reader never holds up a writer: it skips to the newest state.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from runpod_hub.model import Snapshot, Tick, TickOutcome

# A tick may be late by half an interval, and one may be lost, before figures are old.
_STALE_AFTER_INTERVALS = 2.5


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How far the figures can be trusted.

    Attributes:
        age_seconds: Since the last successful listing; None before the first one.
        reason: Why they are stale, as a sentence; empty while they are not.
    """

    age_seconds: float | None
    reason: str

    @property
    def is_stale(self) -> bool:
        """Say whether readers should be warned."""
        return bool(self.reason)


def judge_freshness(
    as_of: datetime | None,
    last_tick: Tick | None,
    *,
    now: datetime,
    interval_seconds: float,
) -> Freshness:
    """Say how old figures read at `as_of` are, and why that is too old."""
    failure = ""
    if last_tick is not None and last_tick.outcome is TickOutcome.FAILED:
        failure = last_tick.error or "the last look at RunPod failed"
    if as_of is None:
        reason = failure or "RunPod has not been asked yet"
        return Freshness(age_seconds=None, reason=reason)
    age = max(0.0, (now - as_of).total_seconds())
    if not failure and age > interval_seconds * _STALE_AFTER_INTERVALS:
        failure = f"RunPod was last read {age:.0f} s ago"
    return Freshness(age_seconds=age, reason=failure)


class Board:
    """Holds the newest snapshot and wakes whoever follows it."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._snapshot = snapshot or Snapshot()
        self._version = 0
        self._loading = asyncio.Lock()
        self._changed = asyncio.Condition()

    @property
    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshot

    async def refresh(self, load: Callable[[], Awaitable[Snapshot]]) -> Snapshot:
        """Load the snapshot anew and wake the followers.

        One load at a time, so that an older one never overtakes a newer one.
        """
        async with self._loading:
            snapshot = await load()
            async with self._changed:
                self._snapshot = snapshot
                self._version += 1
                self._changed.notify_all()
            return snapshot

    async def follow(self) -> AsyncIterator[Snapshot]:
        """Yield the snapshot now and after every change, newest only."""
        seen = -1
        while True:
            async with self._changed:
                while self._version == seen:
                    await self._changed.wait()
                seen, snapshot = self._version, self._snapshot
            yield snapshot
