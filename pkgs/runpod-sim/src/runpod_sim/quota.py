"""Counting requests per key and window: the RateLimit headers, and refusals.

Pure: the instant is passed in. Whether it refuses is a setting; unless it does, the
figures are those of RunPod's document and only shown.
"""

from dataclasses import dataclass, replace
from datetime import datetime

# rule SIM-REST-4
SPANS = {"minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class Limits:
    """How many requests a key has in each window, and whether that holds."""

    minute: int = 60
    hour: int = 3000
    day: int = 50_000
    is_enforced: bool = False

    def of(self, window: str) -> int:
        """Return the quota of a window."""
        return {"minute": self.minute, "hour": self.hour, "day": self.day}[window]

    @property
    def policy(self) -> str:
        """Return the RateLimit-Policy header."""
        return ", ".join(
            f'"{name}";q={self.of(name)};w={span}' for name, span in SPANS.items()
        )


@dataclass(frozen=True)
class Verdict:
    """What the quota says to one request.

    Args:
        exceeded: The window that has no requests left; None to let it pass.
        retry_after_seconds: Until that window begins anew.
    """

    headers: dict[str, str]
    exceeded: str | None = None
    retry_after_seconds: int = 0


class Quota:
    """How many requests each key has made in the present windows."""

    def __init__(self) -> None:
        self.limits = Limits()
        self._used: dict[tuple[str, str], tuple[int, int]] = {}

    def set_limits(self, **given: int | bool) -> Limits:
        """Change some of the limits, and begin every count anew."""
        self.limits = replace(self.limits, **given)  # type: ignore[arg-type]  # its fields
        self._used.clear()
        return self.limits

    def count(self, key: str, now: datetime) -> Verdict:
        """Count a request, unless a window is used up and that is enforced."""
        instant = int(now.timestamp())
        used = {name: self._used_in(key, name, instant) for name in SPANS}
        spent = [name for name in SPANS if used[name] >= self.limits.of(name)]
        # rule SIM-REST-8
        if spent and self.limits.is_enforced:
            # The longest of the windows that are used up is the one to wait for.
            window = spent[-1]
            span = SPANS[window]
            return Verdict(self._headers(used, instant), window, span - instant % span)
        for name, span in SPANS.items():
            used[name] += 1
            self._used[key, name] = (instant // span, used[name])
        return Verdict(self._headers(used, instant))

    def _used_in(self, key: str, name: str, instant: int) -> int:
        window, used = self._used.get((key, name), (0, 0))
        return used if window == instant // SPANS[name] else 0

    def _headers(self, used: dict[str, int], instant: int) -> dict[str, str]:
        left = [
            f'"{name}";r={max(0, self.limits.of(name) - used[name])}'
            f";t={span - instant % span}"
            for name, span in SPANS.items()
        ]
        return {"RateLimit-Policy": self.limits.policy, "RateLimit": ", ".join(left)}
