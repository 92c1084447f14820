"""Time that only a test moves."""

from datetime import UTC, datetime, timedelta


class FakeTime:
    """A clock that sleeping moves, and nothing else."""

    def __init__(self) -> None:
        self.elapsed_seconds = 0.0

    def clock(self) -> float:
        return self.elapsed_seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(
            seconds=self.elapsed_seconds
        )

    def sleep(self, seconds: float) -> None:
        self.elapsed_seconds += seconds
