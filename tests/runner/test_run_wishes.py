"""What `up` is to bring about, as data: which slots are taken, and what may be tried."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner_installer.model import Scope
from runner_installer.run_wishes import (
    Wanted,
    find_missing,
    get_most,
    on_demand,
    with_fallback,
)
from runner_installer.runs import Run, RunPod
from runpod_client import CloudType, Constraints, Placement, Pod, PodSpec, PodStatus

RUN = Run(repository="acme/widgets", run_id=4711, attempt=1)
SCOPE = Scope(owner="acme", repository="widgets")
SPEC = PodSpec(
    name="gpu",
    image="x",
    place=Constraints(gpu_types=("L4",)),
    env={"MODE": "test"},
    lease=timedelta(hours=2),
)


def make_wanted(pod_count: int) -> Wanted:
    return Wanted(
        run=RUN,
        name="gpu",
        spec=SPEC,
        pod_count=pod_count,
        runners_per_pod=1,
        scope=SCOPE,
    )


def make_run_pod(number: int, slot: int, status: PodStatus) -> RunPod:
    pod = Pod(
        pod_id=f"pod{number}",
        name="x",
        status=status,
        gpu_type="L4",
        gpu_count=1,
        image="x",
        price_usd_per_hour=Decimal(1),
    )
    return RunPod(pod=pod, run=RUN, name="gpu", scope=SCOPE, slot=slot)


PRESENT = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(list(PodStatus))), max_size=12
).map(lambda rows: [make_run_pod(n, *row) for n, row in enumerate(rows)])


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine's is
@given(PRESENT, st.integers(1, 6))
def test_every_pod_is_either_taken_once_or_of_no_use(
    present: list[RunPod], pod_count: int
) -> None:
    taken, useless = find_missing(present, make_wanted(pod_count))

    assert sorted([*taken.values(), *useless], key=id) == sorted(present, key=id)
    assert set(taken) <= set(range(1, pod_count + 1))
    assert all(pod.is_usable and pod.slot == slot for slot, pod in taken.items())
    usable = {p.slot for p in present if p.is_usable and 1 <= p.slot <= pod_count}
    assert set(taken) == usable


def test_pod_whose_runners_register_elsewhere_is_of_no_use() -> None:
    other = replace(make_run_pod(1, 1, PodStatus.RUNNING), scope=Scope(owner="acme"))

    assert find_missing([other], make_wanted(1)) == ({}, (other,))


def test_pod_of_a_slot_is_the_same_at_every_repetition_and_marked() -> None:
    wanted = make_wanted(2)

    spec = wanted.spec_for(2)

    assert spec == wanted.spec_for(2)
    assert spec.name == "gpu-4711-1-2"
    assert spec.env == {
        "MODE": "test",
        "RUNNER_INSTALLER_RUN": "acme/widgets/4711/1",
        "RUNNER_INSTALLER_NAME": "gpu",
        "RUNNER_INSTALLER_SCOPE": "acme/widgets",
    }
    assert spec.lease == timedelta(hours=2)


@pytest.mark.parametrize("bid", ["floor", "floor+10%", "p75", "share:0.6"])
def test_spot_falls_back_to_on_demand_at_the_same_place(bid: str) -> None:
    spec = replace(SPEC, place=replace(SPEC.place, bid=bid))

    wanted = with_fallback(spec)

    assert wanted.place.bid == bid
    assert wanted.fallbacks == (SPEC.place,)


@pytest.mark.parametrize("bid", ["0.21", "$0.21", ".2", ""])
def test_bid_that_is_a_price_is_a_limit_and_has_no_fallback(bid: str) -> None:
    spec = replace(SPEC, place=replace(SPEC.place, bid=bid))

    assert with_fallback(spec) == spec


def test_after_a_pod_failed_another_is_rented_on_demand_for_no_more_than_agreed() -> (
    None
):
    spot = with_fallback(replace(SPEC, place=replace(SPEC.place, bid="floor")))

    again = on_demand(spot, Decimal("0.5"))

    limit = Constraints(gpu_types=("L4",), max_price_usd_per_hour=Decimal("0.5"))
    assert (again.place, again.fallbacks) == (limit, ())
    assert (again.name, again.env) == (spot.name, spot.env)


def test_most_that_may_be_paid_is_that_of_the_dearest_way() -> None:
    ways = [
        Placement(
            gpu_type="L4",
            gpu_count=1,
            cloud_type=CloudType.SECURE,
            price_usd_per_hour=Decimal(price),
        )
        for price in ("0.2", "0.7", "0.4")
    ]

    assert get_most(ways) == Decimal("0.7")
