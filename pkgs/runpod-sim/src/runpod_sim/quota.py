"""Counting requests per key and window, for the RateLimit headers.

Pure: the instant is passed in. The simulator shows the quota and never enforces it; the
fault rate_limited is what refuses.
"""

from datetime import datetime

# rule SIM-REST-4
WINDOWS = (("minute", 60, 60), ("hour", 3000, 3600), ("day", 50_000, 86_400))
POLICY = ", ".join(f'"{name}";q={quota};w={span}' for name, quota, span in WINDOWS)


class Quota:
    """How many requests each key has made in the present windows."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[int, int]] = {}

    def count(self, key: str, now: datetime) -> dict[str, str]:
        """Count a request and return the headers that tell what is left."""
        instant = int(now.timestamp())
        parts = []
        for name, quota, span in WINDOWS:
            window, used = self._used.get((key, name), (0, 0))
            if window != instant // span:
                used = 0
            used += 1
            self._used[key, name] = (instant // span, used)
            left = max(0, quota - used)
            parts.append(f'"{name}";r={left};t={span - instant % span}')
        return {"RateLimit-Policy": POLICY, "RateLimit": ", ".join(parts)}
