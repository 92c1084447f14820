"""How often and after which pause a failed call is sent again: full jitter, bounded.

stamina does the counting, sleeping and telling; it is imported when a first attempt has
failed, since most commands never need it. The pause before attempt n + 1 is drawn from
0 to `initial * 2^(n-1)`, so that the clients of one outage do not come back together;
a service that names a time is waited for that long and a little more.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from runpod_client import logs
from runpod_client.errors import RateLimitedError, TransportError, UnavailableError

Answer = TypeVar("Answer")

REPEATABLE = (TransportError, UnavailableError, RateLimitedError)


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How often to try, and how long to pause between the attempts.

    Attributes:
        initial_seconds: The longest pause after the first failure; it doubles.
        jitter_seconds: At most this much is added to a Retry-After.
        max_seconds: No pause is longer, but for a Retry-After.
    """

    initial_seconds: float = 0.5
    jitter_seconds: float = 0.9
    max_seconds: float = 5.0
    max_attempts: int = 4


def draw_pause(
    repetition: Repetition,
    *,
    failures: int,
    retry_after_seconds: float | None,
    rng: random.Random,
) -> float:
    """Return the seconds to wait after so many failures.

    Args:
        failures: At least 1.
        retry_after_seconds: The service's own word, which is a lower bound.
    """
    if retry_after_seconds is not None:
        return retry_after_seconds + rng.uniform(0, repetition.jitter_seconds)
    # beyond 2^30 the cap has long decided, and a float would run over
    longest = repetition.initial_seconds * 2.0 ** min(failures - 1, 30)
    return rng.uniform(0, min(repetition.max_seconds, longest))


def repeat(
    call: Callable[[], Answer],
    *,
    repetition: Repetition,
    deadline: float,
    clock: Callable[[], float],
    rng: random.Random,
    is_hopeless: Callable[[], bool] = lambda: False,
) -> Answer:
    """Return what `call` returns, calling it again after failures that pass.

    Args:
        deadline: On `clock`; no pause reaches beyond it.
        is_hopeless: Whether another attempt would only be refused.

    Raises:
        APIError: The last attempt's failure, or one that repeating does not help.
    """
    try:
        return call()
    except REPEATABLE as error:
        wanted = getattr(error, "retry_after_seconds", None) or 0.0
        if is_hopeless() or clock() + wanted >= deadline:
            raise
        first = error
    failures = 0

    def choose_pause(error: Exception) -> bool | float:
        nonlocal failures
        failures += 1
        if not isinstance(error, REPEATABLE) or is_hopeless():
            return False
        pause = draw_pause(
            repetition,
            failures=failures,
            retry_after_seconds=getattr(error, "retry_after_seconds", None),
            rng=rng,
        )
        return pause if clock() + pause < deadline else False

    logs.apply_configuration()  # stamina tells of each retry through structlog
    import stamina  # noqa: PLC0415  # see the module's docstring

    for attempt in stamina.retry_context(
        on=choose_pause, attempts=repetition.max_attempts, timeout=None
    ):
        with attempt:
            if attempt.num == 1:
                raise first
            return call()
    raise first  # not reached: stamina raises the last failure itself
