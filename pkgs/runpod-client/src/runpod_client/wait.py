"""The only polling loop: ask until it is so, or until the deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from runpod_client.errors import DeadlineError

Value = TypeVar("Value")


def wait_until(
    probe: Callable[[], tuple[Value | None, str]],
    *,
    what: str,
    timeout: float,
    interval: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_status: Callable[[str], None] = lambda _status: None,
    hint: str = "",
) -> Value:
    """Return the first value `probe` gives.

    Args:
        probe: Returns (value, status); a value of None means not yet, the status
            says in a few words what it is waiting for.
        what: What is waited for, for the error: "pod x to be ready".
        timeout: In seconds.
        interval: Seconds between the starts of two probes.

    Raises:
        DeadlineError: `timeout` passed; carries the last status.
    """
    started = clock()
    while True:
        probed = clock()
        value, status = probe()
        on_status(status)
        if value is not None:
            return value
        waited = clock() - started
        if waited >= timeout:
            raise DeadlineError(
                f"waited {waited:.0f} s for {what}; last seen: {status}",
                waited_seconds=waited,
                last_status=status,
                hint=hint,
            )
        pause = min(interval - (clock() - probed), timeout - waited)
        sleep(max(pause, 0.0))
