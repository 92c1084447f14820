"""The one place where tests wait: poll a predicate until it holds or time is up."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_for(
    predicate: Callable[[], Result | None],
    *,
    timeout_seconds: float = 10.0,
    what: str,
) -> Result:
    """Return the first truthy answer of `predicate`.

    Raises:
        AssertionError: `what` did not come true within `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_seconds:g} s: {what}")
        time.sleep(0.02)
