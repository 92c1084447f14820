"""Limits: the ledger as data, the gate among threads, and all of it against the simulator."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from runner_installer import GitHub, RunnerSpec, parse_scope
from runner_installer.github_limits import (
    LimitGate,
    LimitLedger,
    Pace,
    Told,
    find_untold_wait,
)
from runpod_client import RateLimitedError, Secret, TransportError
from support.forge import REPOSITORY, TOKEN, ServedForge
from support.github_script import Script, scripted
from support.waiting import wait_for

SCOPE = parse_scope(REPOSITORY)
EMPTY = {"total_count": 0, "runners": []}
REFUSED = Told(refused=True)
FINE = Told()


def send(ledger: LimitLedger, now: float, told: Told | None = FINE) -> None:
    assert ledger.admit("op", "GET", now) == 0
    ledger.settle(now, now, told)


def test_nothing_is_sent_for_as_long_as_github_said() -> None:
    ledger = LimitLedger(Pace())

    send(ledger, 0, Told(refused=True, wait_seconds=30))

    assert ledger.admit("other", "GET", 10) == 20
    assert ledger.admit("other", "GET", 30) == 0


def test_untold_waits_grow_while_refusals_follow_each_other() -> None:
    ledger = LimitLedger(Pace())
    now, waits = 0.0, []

    for _ in range(6):
        send(ledger, now, REFUSED)
        waits.append(ledger.admit("op", "GET", now))
        now += waits[-1]

    assert waits == [60, 120, 240, 480, 900, 900]


def test_calls_refused_together_are_one_refusal() -> None:
    ledger = LimitLedger(Pace())
    for _ in range(5):
        assert ledger.admit("op", "GET", 0) == 0

    for _ in range(5):
        ledger.settle(0, 1, REFUSED)

    assert ledger.admit("op", "GET", 1) == 60


def test_success_after_a_refusal_starts_the_waits_anew() -> None:
    ledger = LimitLedger(Pace())
    send(ledger, 0, REFUSED)
    send(ledger, 60)

    send(ledger, 61, REFUSED)

    assert ledger.admit("op", "GET", 61) == 60


def test_one_call_goes_ahead_after_a_limit_and_the_others_follow_it() -> None:
    ledger = LimitLedger(Pace())
    send(ledger, 0, REFUSED)

    first = ledger.admit("op", "GET", 60)
    others = ledger.admit("op", "GET", 60)
    ledger.settle(60, 61, FINE)

    assert (first, others) == (0, float("inf"))
    assert ledger.admit("op", "GET", 61) == 0


def test_call_that_went_ahead_and_got_no_answer_lets_another_go_ahead() -> None:
    ledger = LimitLedger(Pace())
    send(ledger, 0, REFUSED)

    send(ledger, 60, None)

    assert ledger.admit("op", "GET", 61) == 0
    assert ledger.admit("op", "GET", 61) > 0


def test_late_refusal_of_an_older_call_does_not_block_for_ever() -> None:
    ledger = LimitLedger(Pace())
    assert ledger.admit("slow", "GET", 0) == 0
    send(ledger, 1, Told(refused=True, wait_seconds=5))
    assert ledger.admit("op", "GET", 6) == 0

    ledger.settle(0, 7, Told(refused=True, wait_seconds=5))
    ledger.settle(6, 8, FINE)

    assert ledger.admit("op", "GET", 12) == 0


def test_last_call_of_the_hour_holds_the_next_until_it_starts_anew() -> None:
    ledger = LimitLedger(Pace())

    send(ledger, 0, Told(limit=5000, remaining=0, resets_in_seconds=100))

    assert ledger.admit("op", "GET", 40) == 60
    assert ledger.report(40, 1000).held_seconds == 60


def test_what_is_left_is_the_least_that_any_answer_of_the_hour_told() -> None:
    ledger = LimitLedger(Pace())
    send(ledger, 0, Told(limit=5000, remaining=7, resets_in_seconds=100))
    send(ledger, 1, Told(limit=5000, remaining=9, resets_in_seconds=99))

    report = ledger.report(1, 1000)

    assert (report.limit, report.remaining, report.calls) == (5000, 7, 2)
    assert report.resets_at is not None
    assert report.resets_at.timestamp() == 1099


def test_only_so_many_calls_are_under_way() -> None:
    ledger = LimitLedger(Pace(concurrent=2))

    waits = [ledger.admit("op", "GET", 0) for _ in range(3)]
    ledger.settle(0, 1, FINE)

    assert waits == [0, 0, float("inf")]
    assert ledger.admit("op", "GET", 1) == 0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_no_minute_ever_has_more_creations_than_the_pace(gaps: list[float]) -> None:
    ledger = LimitLedger(Pace(creations_per_minute=5, points_per_minute=None))
    now, sent = 0.0, []

    for gap in gaps:
        now += gap
        if ledger.admit("op", "POST", now) == 0:
            sent.append(now)
            ledger.settle(now, now, FINE)

    assert all(sum(start <= at < start + 60 for at in sent) <= 5 for start in sent)


def test_creation_beyond_the_pace_is_let_through_when_it_was_told_to_come() -> None:
    ledger = LimitLedger(Pace(creations_per_minute=2, points_per_minute=None))
    for now in (0.0, 10.0):
        assert ledger.admit("op", "POST", now) == 0

    wait = ledger.admit("op", "POST", 20)

    assert wait == 40
    assert ledger.admit("op", "GET", 20) == 0
    assert ledger.admit("op", "POST", 20 + wait) == 0


def test_points_are_counted_per_endpoint_and_a_write_costs_five() -> None:
    ledger = LimitLedger(Pace(creations_per_minute=None, points_per_minute=10))

    waits = [ledger.admit("one", "DELETE", 0) for _ in range(3)]

    assert waits == [0, 0, 60]
    assert ledger.admit("two", "DELETE", 0) == 0


@pytest.mark.parametrize(("strikes", "seconds"), [(0, 60), (3, 480), (9999, 900)])
def test_untold_wait_is_bounded(strikes: int, seconds: float) -> None:
    assert find_untold_wait(strikes) == seconds


def test_turn_that_would_come_too_late_is_refused_at_once() -> None:
    gate = LimitGate()
    with gate.admitted("op", "GET", wait_seconds=1) as passage:
        passage.learn(Told(refused=True, wait_seconds=3600))

    with (
        pytest.raises(RateLimitedError) as caught,
        gate.admitted("op", "GET", wait_seconds=1),
    ):
        pass

    assert caught.value.retry_after_seconds == pytest.approx(3600, abs=5)


def test_closing_ends_a_wait_for_a_limit() -> None:
    script = Script((429, {"retry-after": "3600"}, {}))
    failures: list[Exception] = []

    def ask(github: GitHub) -> None:
        try:
            github.list_runners(SCOPE)
        except TransportError as error:
            failures.append(error)

    with scripted(script, rate_limit_wait_seconds=7200) as github:
        asking = threading.Thread(target=ask, args=(github,))
        asking.start()
        wait_for(lambda: github.quota.held_seconds > 0, what="the limit is known")
        github.close()
        asking.join(5)

    assert not asking.is_alive()
    assert len(failures) == 1


def test_clients_of_one_credential_share_what_is_known_of_limits() -> None:
    script = Script((429, {"retry-after": "60"}, {}))

    with scripted(script) as first:
        with pytest.raises(RateLimitedError):
            first.list_runners(SCOPE)
        with (
            GitHub(
                api_url=first.api_url,
                token=Secret("ghp_planted"),
                rate_limit_wait_seconds=1,
            ) as second,
            pytest.raises(RateLimitedError, match="held back"),
        ):
            second.list_runners(SCOPE)

    assert len(script.requests) == 1


def test_at_most_a_dozen_calls_are_under_way_however_many_threads_ask() -> None:
    lock, changed = threading.Lock(), threading.Event()
    under_way, most = 0, 0

    def arrive() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        changed.wait(0.05)
        with lock:
            under_way -= 1

    script = Script(*[(200, {}, EMPTY)] * 40, at_arrival=arrive)

    with (
        scripted(script, rate_limit_wait_seconds=30) as github,
        ThreadPoolExecutor(40) as pool,
    ):
        list(pool.map(lambda _: github.list_runners(SCOPE), range(40)))

    assert 1 < most <= 12


def test_unnamed_secondary_limit_is_told_by_its_message() -> None:
    said = {"message": "You have exceeded a secondary rate limit. Please wait."}

    with (
        scripted(Script((403, {"x-ratelimit-remaining": "99"}, said))) as github,
        pytest.raises(RateLimitedError) as caught,
    ):
        github.list_runners(SCOPE)

    assert caught.value.retry_after_seconds == 60


def limits_of(forge: ServedForge) -> dict[str, float]:
    url = f"{forge.base_url}/_sim/github/state"
    found: dict[str, float] = requests.get(url, timeout=10).json()["limits"]
    return found


def test_fifty_threads_send_nothing_while_a_limit_holds(forge: ServedForge) -> None:
    forge.order("/limits", {"calls_per_minute": 30, "wait_seconds": 2})

    with (
        GitHub(
            api_url=f"{forge.base_url}/api/v3",
            token=Secret(TOKEN),
            rate_limit_wait_seconds=30,
            retry_wait_seconds=0.01,
        ) as github,
        ThreadPoolExecutor(50) as pool,
    ):
        lists = list(pool.map(lambda _: github.list_runners(SCOPE), range(50)))

    state = limits_of(forge)
    assert lists == [[]] * 50
    assert state["refused"] == 1
    # only what was on its way when the refusal came
    assert state["early"] < 12
    assert state["latest_early_seconds"] < 1


def test_pace_keeps_us_clear_of_a_limit_on_creations(
    forge: ServedForge, spec: RunnerSpec
) -> None:
    forge.order("/limits", {"creations_per_minute": 3, "wait_seconds": 60})
    with GitHub(
        api_url=f"{forge.base_url}/api/v3",
        token=Secret("ghp_paced"),
        writes_per_minute=3,
        rate_limit_wait_seconds=1,
    ) as github:
        for number in range(3):
            github.generate_jit_config(spec.renamed(f"one-{number}"))

        with pytest.raises(RateLimitedError, match="held back"):
            github.generate_jit_config(spec)

    assert limits_of(forge)["refused"] == 0
