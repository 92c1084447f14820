from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from runpod_client import PodStatus
from runpod_hub.costs import (
    Crossing,
    decide_crossing,
    render_summary_line,
    runway_hours,
    summarize,
)
from support.hub_world import NOON, make_record

PRICES = st.decimals(min_value=0, max_value=100, places=6)


def test_pods_that_start_or_run_are_counted_as_cost() -> None:
    pods = [
        make_record("a", price_usd_per_hour=Decimal("0.69")),
        make_record("b", status=PodStatus.STARTING, price_usd_per_hour=Decimal("1.08")),
        make_record("c", status=PodStatus.STOPPED),
    ]

    summary = summarize(pods)

    assert (summary.total_pods, summary.running_pods) == (3, 1)
    assert summary.usd_per_hour == Decimal("1.77")
    assert summary.usd_per_day == Decimal("42.48")
    assert summary.usd_per_month == Decimal("1292.10")


def test_a_pod_in_an_unknown_state_is_counted_as_cost() -> None:
    assert summarize([make_record(status=PodStatus.UNKNOWN)]).usd_per_hour > 0


def test_a_gone_pod_is_not_counted_at_all() -> None:
    summary = summarize([make_record(gone_at=NOON)])

    assert (summary.total_pods, summary.usd_per_hour) == (0, Decimal(0))


@given(st.lists(st.tuples(PRICES, st.sampled_from(PodStatus)), max_size=30))
def test_cost_is_the_exact_sum_of_the_billed_pods(
    given_pods: list[tuple[Decimal, PodStatus]],
) -> None:
    pods = [
        make_record(str(number), price_usd_per_hour=price, status=status)
        for number, (price, status) in enumerate(given_pods)
    ]

    summary = summarize(pods)

    billed = [pod for pod in pods if pod.is_billed]
    micros = sum(int(pod.price_usd_per_hour * 1_000_000) for pod in billed)
    assert summary.usd_per_hour * 1_000_000 == micros
    assert summary.usd_per_day == summary.usd_per_hour * 24
    assert summarize(reversed(pods)) == summary


@given(PRICES, PRICES, PRICES)
def test_a_crossing_is_told_once_in_each_direction(
    before: Decimal, after: Decimal, threshold: Decimal
) -> None:
    crossing = decide_crossing(before, after, threshold=threshold)

    assert decide_crossing(after, after, threshold=threshold) is None
    assert (crossing is Crossing.EXCEEDED) == (before <= threshold < after)
    assert (crossing is Crossing.CLEARED) == (after <= threshold < before)


def test_the_summary_line_says_which_day_and_month_it_means() -> None:
    pods = [make_record("a", price_usd_per_hour=Decimal("1.77"))]

    line = render_summary_line(
        summarize(pods), threshold=Decimal(1), balance=Decimal("1234.5")
    )

    assert line == (
        "1/1 pods running · $1.77/hour ($42.48/day, $1,292/month of 730 h)"
        " · balance $1,234.50 · over the alert of $1.00/hour"
    )


def test_the_balance_lasts_for_ever_while_nothing_spends_it() -> None:
    assert runway_hours(Decimal(10), Decimal(0)) is None
    assert runway_hours(Decimal(10), Decimal("2.5")) == 4
    assert runway_hours(Decimal(-1), Decimal(1)) == 0
