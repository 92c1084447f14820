"""Runners are spread evenly or packed tightly, and never onto a drained pod."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runner_installer.balance import Balance, choose_pods

LOADS = st.dictionaries(st.text("abc", min_size=1), st.integers(0, 6), max_size=8)


def test_spread_keeps_the_largest_load_near_the_mean_over_ten_thousand_runners() -> (
    None
):
    chance = random.Random(13)  # noqa: S311  # a reproducible trace
    loads = Counter({f"pod{number}": 0 for number in range(40)})
    worst = 0.0

    for _ in range(10_000):
        (pod,) = choose_pods(
            loads, capacity=1000, count=1, balance=Balance.SPREAD, drained=["pod7"]
        )
        loads[pod] += 1
        if chance.random() < 0.4:
            done = chance.choice([pod for pod, load in loads.items() if load])
            loads[done] -= 1
        used = [load for pod, load in loads.items() if pod != "pod7"]
        if sum(used) > 20 * len(used):
            worst = max(worst, max(used) / (sum(used) / len(used)))

    assert 1.0 <= worst <= 1.15
    assert loads["pod7"] == 0


def test_pack_fills_one_pod_before_it_begins_another() -> None:
    chosen = choose_pods(
        {"a": 1, "b": 3, "c": 0}, capacity=4, count=5, balance=Balance.PACK
    )

    assert chosen == ["b", "a", "a", "a", "c"]


def test_spread_takes_the_emptiest_pods_first() -> None:
    chosen = choose_pods(
        {"a": 1, "b": 3, "c": 0}, capacity=4, count=4, balance=Balance.SPREAD
    )

    assert Counter(chosen) == {"c": 2, "a": 2}


@given(
    loads=LOADS,
    capacity=st.integers(1, 5),
    count=st.integers(0, 30),
    balance=st.sampled_from(Balance),
    data=st.data(),
)
def test_no_pod_gets_more_than_it_holds_and_none_that_could_hold_one_is_passed_over(
    loads: dict[str, int],
    capacity: int,
    count: int,
    balance: Balance,
    data: st.DataObject,
) -> None:
    drained = data.draw(st.sets(st.sampled_from(sorted(loads)))) if loads else set()

    chosen = Counter(
        choose_pods(
            loads, capacity=capacity, count=count, balance=balance, drained=drained
        )
    )

    free = sum(max(capacity - n, 0) for pod, n in loads.items() if pod not in drained)
    assert chosen.total() == min(count, free)
    assert not drained & set(chosen)
    assert all(loads[pod] + more <= capacity for pod, more in chosen.items())
