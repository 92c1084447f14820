import random
import subprocess
import sys
import time
from collections import Counter

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.errors import (
    APIError,
    NotFoundError,
    RateLimitedError,
    TransportError,
    UnavailableError,
)
from runpod_client.repetition import Repetition, draw_pause, repeat

QUICK = Repetition(initial_seconds=0.01, jitter_seconds=0.0)
CLIENTS = 1000


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # a test that can be repeated hides nothing


class Flaky:
    """Fails as scripted, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)
        return "yes"


def run(call: Flaky, *, within: float = 5.0, repetition: Repetition = QUICK) -> str:
    with structlog.testing.capture_logs():
        return repeat(
            call,
            repetition=repetition,
            deadline=time.monotonic() + within,
            clock=time.monotonic,
            rng=seeded(1),
        )


def crowd(moments: list[float], *, within: float = 0.1) -> int:
    """Return how many of the moments share the fullest slot."""
    return max(Counter(int(moment / within) for moment in moments).values())


@given(
    failures=st.integers(1, 2000),
    initial=st.floats(0, 100),
    longest=st.floats(0, 100),
    seed=st.integers(),
)
def test_pause_is_never_longer_than_its_bounds(
    failures: int, initial: float, longest: float, seed: int
) -> None:
    repetition = Repetition(initial_seconds=initial, max_seconds=longest)

    pause = draw_pause(
        repetition,
        failures=failures,
        retry_after_seconds=None,
        rng=seeded(seed),
    )

    assert 0.0 <= pause <= min(longest, initial * 2.0 ** min(failures - 1, 100))


@given(wanted=st.floats(0, 1e6), seed=st.integers())
def test_retry_after_is_waited_for_and_less_than_a_second_more(
    wanted: float, seed: int
) -> None:
    pause = draw_pause(
        Repetition(), failures=3, retry_after_seconds=wanted, rng=seeded(seed)
    )

    assert wanted <= pause < wanted + 1


def test_clients_of_one_outage_do_not_come_back_together() -> None:
    repetition = Repetition()
    returns: dict[int, list[float]] = {1: [], 2: [], 3: []}

    for seed in range(CLIENTS):
        rng = seeded(seed)
        moment = 0.0
        for failures, moments in returns.items():
            moment += draw_pause(
                repetition, failures=failures, retry_after_seconds=None, rng=rng
            )
            moments.append(moment)

    # spread evenly over its 0.5 s, a tenth of a second of the first return holds 200
    assert crowd(returns[1]) < 260
    assert crowd(returns[2]) < 130
    assert crowd(returns[3]) < 70


def test_clients_told_the_same_second_do_not_come_back_together() -> None:
    moments = [
        draw_pause(Repetition(), failures=1, retry_after_seconds=12.0, rng=seeded(seed))
        for seed in range(CLIENTS)
    ]

    assert min(moments) >= 12.0
    assert crowd(moments) < 160


def test_answer_after_failures_that_pass_is_returned() -> None:
    call = Flaky(TransportError("a"), UnavailableError("b"), RateLimitedError("c"))

    assert run(call) == "yes"

    assert call.calls == 4


def test_last_failure_is_the_one_raised() -> None:
    call = Flaky(*(UnavailableError(str(n)) for n in range(9)))

    with pytest.raises(UnavailableError, match="3"):
        run(call)

    assert call.calls == 4


def test_failure_that_stays_ends_it() -> None:
    call = Flaky(TransportError("a"), NotFoundError("b"))

    with pytest.raises(NotFoundError):
        run(call)

    assert call.calls == 2


@pytest.mark.parametrize(
    "failure",
    [UnavailableError("x"), RateLimitedError("x", retry_after_seconds=0.1)],
)
def test_total_time_is_bounded(failure: APIError) -> None:
    call = Flaky(*([failure] * 500))
    patient = Repetition(
        initial_seconds=0.05, max_seconds=0.05, jitter_seconds=0.05, max_attempts=400
    )
    started = time.monotonic()

    with pytest.raises(type(failure)):
        run(call, within=0.4, repetition=patient)

    assert call.calls > 1
    assert time.monotonic() - started < 1.0


def test_pause_beyond_the_deadline_is_not_begun() -> None:
    call = Flaky(RateLimitedError("x", retry_after_seconds=60.0))
    started = time.monotonic()

    with pytest.raises(RateLimitedError):
        run(call)

    assert (call.calls, time.monotonic() - started < 1.0) == (1, True)


def test_stamina_is_loaded_only_when_something_is_repeated() -> None:
    script = (
        "import random, sys, time\n"
        "from runpod_client import logs\n"
        "from runpod_client.errors import RateLimitedError, TransportError\n"
        "from runpod_client.repetition import Repetition, repeat\n"
        "logs.configure(level='error')\n"
        "def run(call):\n"
        "    repeat(call, repetition=Repetition(initial_seconds=0.001),\n"
        "        deadline=time.monotonic() + 5, clock=time.monotonic,\n"
        "        rng=random.Random(1))\n"
        "    print(bool({'stamina', 'structlog', 'rich'} & set(sys.modules)))\n"
        "run(int)\n"
        "def fail_long(): raise RateLimitedError('x', retry_after_seconds=99)\n"
        "try: run(fail_long)\n"
        "except RateLimitedError: print('stamina' in sys.modules)\n"
        "failures = [TransportError('x')]\n"
        "def fail_once():\n"
        "    if failures: raise failures.pop()\n"
        "run(fail_once)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False", "True"]
