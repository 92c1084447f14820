"""The simulator's clock: real time plus an offset that can be wound forward.

Everything in the simulator that asks what time it is asks a `Clock`; nothing else
reads the wall clock, so that billing of a month can be simulated in a second.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _system_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Tell the simulated time, which runs like `source` and can be wound forward."""

    def __init__(self, source: Callable[[], datetime] = _system_now) -> None:
        self._source = source
        self._offset = timedelta()

    def now(self) -> datetime:
        """Return the simulated instant as an aware UTC datetime."""
        return self._source() + self._offset

    def advance(self, seconds: float) -> datetime:
        """Wind the clock forward and return the new instant.

        Args:
            seconds: Simulated seconds to add; never negative, since bills and
                leases that were already settled could not be taken back.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"the clock only goes forward, not by {seconds} s")
        self._offset += timedelta(seconds=seconds)
        return self.now()
