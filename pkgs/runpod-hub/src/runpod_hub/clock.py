"""The real clock behind `interfaces.Clock`."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time from the system, pauses from the event loop."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task."""
        await asyncio.sleep(seconds)
