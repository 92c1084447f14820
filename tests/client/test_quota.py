import random
import threading
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.errors import RateLimitedError
from runpod_client.quota import (
    Priority,
    QuotaGate,
    QuotaLedger,
    parse_members,
)
from support.clock import FakeTime

POLICY = '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400'
FULL = '"minute";r=60;t=60, "hour";r=3000;t=3600, "day";r=50000;t=86400'


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # a test that can be repeated hides nothing


def told(left: str, policy: str = POLICY) -> dict[str, str]:
    return {"RateLimit-Policy": policy, "RateLimit": left}


def minute(remaining: int, resets_in: int = 30) -> dict[str, str]:
    return told(f'"minute";r={remaining};t={resets_in}', '"minute";q=60;w=60')


def ledger_after(headers: Mapping[str, str], now: float = 0.0) -> QuotaLedger:
    ledger = QuotaLedger()
    ledger.admit(Priority.CONTROL, now)
    ledger.settle(now, headers=headers)
    return ledger


class CountingServer:
    """Counts as RunPod does: fixed windows, refusing what is over."""

    def __init__(self, windows: Mapping[str, tuple[int, int]]) -> None:
        self._windows = windows
        self._used: Counter[tuple[str, int]] = Counter()

    def answer(self, now: float) -> tuple[bool, dict[str, str]]:
        rows = {
            name: (limit, span, int(now // span))
            for name, (limit, span) in self._windows.items()
        }
        is_taken = all(
            self._used[name, index] < limit for name, (limit, _, index) in rows.items()
        )
        left = []
        for name, (limit, span, index) in rows.items():
            self._used[name, index] += is_taken
            resets_in = int(span - now % span) + 1
            remaining = limit - self._used[name, index]
            left.append(f'"{name}";r={remaining};t={min(resets_in, span)}')
        policy = [f'"{n}";q={q};w={w}' for n, (q, w) in self._windows.items()]
        return is_taken, told(", ".join(left), ", ".join(policy))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"minute";r=0;t=12', {"minute": {"r": 0.0, "t": 12.0}}),
        (
            '"a";q=60;w=60,  "b";q=1;w=2.5',
            {"a": {"q": 60.0, "w": 60.0}, "b": {"q": 1.0, "w": 2.5}},
        ),
        ('"a" ; r=1 ;t=2', {"a": {"r": 1.0, "t": 2.0}}),
        ('"a"', {"a": {}}),
        (None, {}),
        ("", {}),
        ("minute;r=1;t=2", {}),
        ('"a";r=-1;t=2', {}),
        ('"a";r=many;t=2', {}),
        ('"a";r=1;t=2, garbage', {}),
        ('"a";r=1e9;t=2', {}),
        ('"a;r=1', {}),
        ('"a";r=1;t=2,' * 200, {}),
    ],
)
def test_header_is_a_list_of_windows_or_nothing(
    text: str | None, expected: dict[str, dict[str, float]]
) -> None:
    assert parse_members(text) == expected


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(Priority))
def test_senseless_headers_hold_nothing_back(
    limits: str, policies: str, priority: Priority
) -> None:
    ledger = ledger_after(told(limits, policies))

    assert ledger.admit(priority, 0.0) == 0.0


@pytest.mark.parametrize(
    "headers",
    [
        told('"minute";r=0;t=999999', '"minute";q=60;w=60'),
        told('"minute";r=0;t=99999999', '"minute";q=60;w=99999999'),
        told('"minute";r=0', '"minute";q=60;w=60'),
    ],
)
def test_window_that_would_never_end_is_not_believed(
    headers: Mapping[str, str],
) -> None:
    assert ledger_after(headers).admit(Priority.TELEMETRY, 0.0) == 0.0


@pytest.mark.parametrize(
    ("priority", "kept_back"),
    [(Priority.CONTROL, 0), (Priority.SAFETY, 6), (Priority.TELEMETRY, 15)],
)
def test_each_priority_leaves_its_reserve_to_those_before_it(
    priority: Priority, kept_back: int
) -> None:
    is_free = ledger_after(minute(kept_back + 1)).admit(priority, 0.0)
    is_held = ledger_after(minute(kept_back)).admit(priority, 0.0)

    assert (is_free, is_held) == (0.0, 30.0)


def test_calls_under_way_count_as_made() -> None:
    ledger = ledger_after(minute(2))

    waits = [ledger.admit(Priority.CONTROL, 0.0) for _ in range(3)]

    assert waits == [0.0, 0.0, 30.0]


def test_call_without_an_answer_no_longer_counts() -> None:
    ledger = ledger_after(minute(1))
    ledger.admit(Priority.CONTROL, 0.0)

    ledger.settle(0.0)

    assert ledger.admit(Priority.CONTROL, 0.0) == 0.0


@pytest.mark.parametrize("priority", Priority)
def test_call_that_ends_spending_is_never_held_back(priority: Priority) -> None:
    ledger = ledger_after(minute(0))
    ledger.admit(priority, 0.0, ends_spending=True)
    ledger.settle(0.0, refused_for_seconds=500.0)

    assert ledger.admit(priority, 0.0, ends_spending=True) == 0.0


def test_window_is_full_again_after_its_reset() -> None:
    ledger = ledger_after(minute(0, resets_in=12))

    assert ledger.admit(Priority.TELEMETRY, 11.9) == pytest.approx(0.1)
    assert ledger.admit(Priority.TELEMETRY, 12.0) == 0.0
    assert ledger.admit(Priority.TELEMETRY, 12.0 + 600) == 0.0


def test_answer_that_was_overtaken_does_not_give_calls_back() -> None:
    ledger = ledger_after(minute(0, resets_in=30))

    ledger.settle(1.0, headers=minute(7, resets_in=30))

    assert ledger.admit(Priority.CONTROL, 1.0) == pytest.approx(29.0)


def test_window_without_a_policy_is_believed_too() -> None:
    ledger = ledger_after({"RateLimit": '"minute";r=0;t=12'})

    assert ledger.admit(Priority.CONTROL, 0.0) == 12.0


@pytest.mark.parametrize("priority", Priority)
def test_refusal_holds_back_for_as_long_as_it_says(priority: Priority) -> None:
    ledger = QuotaLedger()
    ledger.admit(priority, 0.0)
    ledger.settle(0.0, headers={}, refused_for_seconds=7.0)

    assert ledger.admit(priority, 0.0) == 7.0
    assert ledger.admit(priority, 7.0) == 0.0


def test_answer_with_room_ends_an_earlier_refusal() -> None:
    ledger = QuotaLedger()
    ledger.settle(0.0, headers={}, refused_for_seconds=7000.0)

    ledger.settle(1.0, headers=told(FULL))

    assert ledger.admit(Priority.CONTROL, 1.0) == 0.0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 200),
            st.sampled_from(Priority),
            st.integers(0, 60),
            st.integers(0, 60),
        ),
        max_size=40,
    )
)
def test_no_wait_is_longer_than_the_window(
    steps: list[tuple[float, Priority, int, int]],
) -> None:
    ledger = QuotaLedger()
    now = 0.0

    for pause, priority, remaining, resets_in in steps:
        now += pause
        wait = ledger.admit(priority, now)
        assert 0.0 <= wait <= 60.0
        ledger.settle(now, headers=minute(remaining, resets_in))


def test_telemetry_in_a_loop_never_starves_control() -> None:
    rng = seeded(61)
    server = CountingServer({"minute": (60, 60), "hour": (3000, 3600)})
    ledger = QuotaLedger()
    made: Counter[Priority] = Counter()
    now = 0.0

    while now < 7200:
        priority = Priority.CONTROL if rng.random() < 0.02 else Priority.TELEMETRY
        wait = ledger.admit(priority, now)
        if priority is Priority.CONTROL:
            assert wait == 0.0
        if wait == 0.0:
            is_taken, headers = server.answer(now)
            assert is_taken
            ledger.settle(now + 0.05, headers=headers)
            made[priority] += 1
        now += 0.2

    assert made[Priority.CONTROL] > 500
    assert made[Priority.TELEMETRY] > 2000


def test_day_is_spread_evenly_over_telemetry() -> None:
    server = CountingServer({"day": (2000, 86_400)})
    ledger = QuotaLedger()
    by_hour: Counter[int] = Counter()
    now = 0.0

    while now < 86_400:
        if ledger.admit(Priority.TELEMETRY, now) == 0.0:
            _, headers = server.answer(now)
            ledger.settle(now, headers=headers)
            by_hour[int(now // 3600)] += 1
        now += 5.0

    assert by_hour.total() <= 1500
    assert min(by_hour.values()) >= 50
    assert max(by_hour.values()) <= 80


def test_gate_goes_on_within_a_second_of_the_reset() -> None:
    time = FakeTime()
    gate = QuotaGate(clock=time.clock, sleep=time.sleep)
    with gate.admitted(Priority.TELEMETRY, operation="o", deadline=60.0) as passage:
        passage.learn(minute(0, resets_in=12))

    with gate.admitted(Priority.TELEMETRY, operation="o", deadline=60.0):
        passed_at = time.elapsed_seconds

    assert 12.0 <= passed_at <= 13.0


def test_call_whose_turn_comes_too_late_fails_at_once_and_says_when() -> None:
    time = FakeTime()
    gate = QuotaGate(clock=time.clock, sleep=time.sleep)
    with gate.admitted(Priority.CONTROL, operation="o", deadline=9.0) as passage:
        passage.learn(minute(0, resets_in=42))

    with (
        pytest.raises(RateLimitedError) as caught,
        gate.admitted(Priority.TELEMETRY, operation="listPods", deadline=9.0),
    ):
        raise AssertionError("it was let through")

    assert time.elapsed_seconds == 0.0
    assert caught.value.retry_after_seconds == 42.0
    assert caught.value.message == (
        "listPods is held back: RunPod's quota has room for it in 42 s"
    )


def test_gate_gives_up_when_its_clock_stands_still() -> None:
    gate = QuotaGate(clock=lambda: 0.0, sleep=lambda _seconds: None)
    with gate.admitted(Priority.CONTROL, operation="o", deadline=9.0) as passage:
        passage.learn(minute(0, resets_in=5))

    with (
        pytest.raises(RateLimitedError),
        gate.admitted(Priority.CONTROL, operation="o", deadline=9.0),
    ):
        raise AssertionError("it was let through")


def test_threads_together_take_no_more_than_is_left() -> None:
    gate = QuotaGate(clock=lambda: 0.0, sleep=lambda _seconds: None)
    with gate.admitted(Priority.CONTROL, operation="o", deadline=0.0) as passage:
        passage.learn(minute(20))
    admitted: list[int] = []
    release = threading.Event()

    def call(number: int) -> None:
        try:
            with gate.admitted(Priority.CONTROL, operation="o", deadline=0.0):
                admitted.append(number)
                release.wait(10)
        except RateLimitedError:
            refused.release()

    refused = threading.Semaphore(0)
    threads = [threading.Thread(target=call, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    all_refused = [refused.acquire(timeout=10) for _ in range(12)]
    release.set()
    for thread in threads:
        thread.join(timeout=10)

    assert all(all_refused)
    assert len(admitted) == 20
