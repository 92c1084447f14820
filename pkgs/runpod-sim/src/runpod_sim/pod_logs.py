"""What pods' logs say, oldest first, a bounded number of lines each. Pure."""

from collections import deque
from datetime import datetime, timedelta

from runpod_sim.model import LogLine

LINES_KEPT = 5000


class PodLogs:
    """The logs of all pods."""

    def __init__(self) -> None:
        self._logs: dict[str, deque[LogLine]] = {}

    def of(self, pod_id: str) -> tuple[LogLine, ...]:
        """Return the pod's log, oldest first."""
        return tuple(self._logs.get(pod_id, ()))

    def append(self, pod_id: str, source: str, line: str, now: datetime) -> None:
        """Add a line to a pod's log."""
        lines = self._logs.setdefault(pod_id, deque(maxlen=LINES_KEPT))
        # Each line's instant is its own, as readers resume a stream after one.
        last_at = lines[-1].at if lines else now - timedelta(microseconds=1)
        at = max(now, last_at + timedelta(microseconds=1))
        lines.append(LogLine(at=at, source=source, line=line))
