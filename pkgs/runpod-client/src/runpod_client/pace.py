"""The time that waiting goes by, and how long is waited for what."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

START_TIMEOUT_SECONDS = 1200.0  # an image pull alone can take many minutes
STOP_TIMEOUT_SECONDS = 120.0


def silent(_status: str) -> None:
    """Ignore what is being waited for."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The time that waiting goes by.

    Attributes:
        interval_seconds: Between two looks at a pod that is waited for.
        clock: Monotonic seconds.
    """

    interval_seconds: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long listings are looked through for a pod whose create got no answer.

    Attributes:
        listings: How often, after a lost answer.
        pause_seconds: Between two of them.
        abandon_after_seconds: A create that listings do not show this long after it
            was sent made no pod. It must be longer than a request can be under way.
    """

    listings: int = 5
    pause_seconds: float = 2.0
    abandon_after_seconds: float = 90.0
