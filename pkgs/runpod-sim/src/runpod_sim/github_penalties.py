"""The simulated GitHub's secondary limits: too many calls in a minute, and their cost.

They are off until a lever sets them. While one holds every call is refused, and counted:
a client that obeys makes none. It must not know what a call does.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runpod_sim.clock import Clock
from runpod_sim.forge_model import RefusedError

_MINUTE = timedelta(minutes=1)
_MESSAGE = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you "
    "try again."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a credential may do in a minute; None for as much as it likes.

    Args:
        wait_seconds: How long it has to stay away once it did more.
        tells: Whether the refusal says so; GitHub's do not always.
    """

    calls_per_minute: int | None = None
    creations_per_minute: int | None = None
    wait_seconds: int = 60
    tells: bool = True


@dataclass(slots=True)
class _Record:
    calls: deque[datetime] = field(default_factory=deque)
    creations: deque[datetime] = field(default_factory=deque)
    refused_at: datetime | None = None
    held_until: datetime | None = None


class SecondaryLimits:
    """What each credential has done lately, and whether it may go on.

    Attributes:
        refused: Calls refused because they were too many.
        early: Calls refused because they came before the wait was over.
        latest_early_seconds: How long after its refusal the latest of them came: what
            was already on its way comes at once, what was sent regardless comes later.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self.limits = Limits()
        self.refused = 0
        self.early = 0
        self.latest_early_seconds = 0.0

    def set(self, limits: Limits) -> None:
        """Let these limits hold from now on, with nothing on the record."""
        self.limits = limits
        self._records.clear()
        self.refused = self.early = 0
        self.latest_early_seconds = 0.0

    def check(self, credential: str, *, is_creation: bool) -> None:
        """Count a call and refuse it where it is one too many.

        Raises:
            RefusedError: 403, as GitHub answers to it.
        """
        now = self._clock.now()
        record = self._records.setdefault(credential, _Record())
        if record.held_until is not None and now < record.held_until:
            self.early += 1
            since = now - record.refused_at if record.refused_at else timedelta()
            self.latest_early_seconds = max(
                self.latest_early_seconds, since.total_seconds()
            )
            raise self._refusal(record.held_until - now)
        over = _is_over(record.calls, self.limits.calls_per_minute, now)
        if is_creation:
            bound = self.limits.creations_per_minute
            over = _is_over(record.creations, bound, now) or over
        if over:
            self.refused += 1
            wait = timedelta(seconds=self.limits.wait_seconds)
            record.refused_at, record.held_until = now, now + wait
            raise self._refusal(wait)

    def _refusal(self, wait: timedelta) -> RefusedError:
        seconds = -(-wait // timedelta(seconds=1))
        headers = {"retry-after": str(seconds)} if self.limits.tells else {}
        return RefusedError(403, _MESSAGE, headers=headers)


def _is_over(done: deque[datetime], bound: int | None, now: datetime) -> bool:
    """Note something done and tell whether it was one too many in a minute."""
    if bound is None:
        return False
    while done and done[0] <= now - _MINUTE:
        done.popleft()
    if len(done) >= bound:
        # a minute that was too full starts anew once the caller has stayed away
        done.clear()
        return True
    done.append(now)
    return False
