from dataclasses import replace
from decimal import Decimal

import pytest

from runpod_client import (
    CloudType,
    ConfigError,
    Constraints,
    GPUOffer,
    NetworkVolume,
    NotFoundError,
    Pod,
    PodSpec,
    PodStatus,
    Stock,
)
from runpod_client.plans import bind_to_volume, make_plan, make_start_plan

L4 = GPUOffer(
    gpu_type="NVIDIA L4",
    display_name="L4",
    memory_gb=24,
    cloud_type=CloudType.SECURE,
    usd_per_gpu_hour=Decimal("0.49"),
    minimum_bid_usd_per_gpu_hour=Decimal("0.20"),
    stock=Stock.HIGH,
)
A40 = replace(
    L4, gpu_type="NVIDIA A40", display_name="A40", usd_per_gpu_hour=Decimal("0.44")
)
STOPPED = Pod(
    pod_id="x",
    name="x",
    status=PodStatus.STOPPED,
    gpu_type="NVIDIA L4",
    gpu_count=2,
    image="img",
    price_usd_per_hour=Decimal(0),
)
SPOT = replace(
    STOPPED,
    is_spot=True,
    env={"RUNPOD_CLIENT_BID": "0.21"},
    status_reason="Outbid: Sun Nov 22 2026",
)


def spec_of(*places: Constraints) -> PodSpec:
    return PodSpec(name="x", image="img", place=places[0], fallbacks=places[1:])


def test_fallbacks_come_after_the_place_wanted_even_where_they_are_cheaper() -> None:
    wanted = spec_of(Constraints(gpu_types=("l4",)), Constraints(gpu_types=("A40",)))

    plan = make_plan(wanted, [A40, L4])

    assert [p.gpu_type for p in plan.get_placements()] == ["NVIDIA L4", "NVIDIA A40"]
    assert plan.spec.place.gpu_types == ("NVIDIA L4",)


def test_way_that_two_places_have_in_common_is_tried_once() -> None:
    plan = make_plan(spec_of(Constraints(gpu_types=("L4",)), Constraints()), [L4])

    assert len(plan.get_placements()) == 1


def test_unknown_gpu_type_of_a_fallback_is_told() -> None:
    wanted = spec_of(Constraints(), Constraints(gpu_types=("A41",)))

    with pytest.raises(NotFoundError) as caught:
        make_plan(wanted, [A40, L4])

    assert "'A40'" in caught.value.hint


def test_plan_for_nothing_can_be_explained_before_it_fails() -> None:
    plan = make_plan(spec_of(Constraints(gpu_types=("L4",), min_memory_gb=80)), [L4])

    assert [row.reason for row in plan.choices[0].rejected] == [
        "has 24 GB per GPU, not 80"
    ]
    with pytest.raises(ConfigError, match="without min memory 80 GB"):
        plan.get_placements()


def test_start_costs_what_the_catalogue_says_where_the_pod_does_not() -> None:
    plan = make_start_plan(STOPPED, [A40, L4], bid_usd_per_gpu_hour=None)

    assert plan.price_usd_per_hour == Decimal("0.98")
    assert plan.bid_usd_per_gpu_hour is None


def test_pod_that_was_outbid_bids_more() -> None:
    plan = make_start_plan(SPOT, [L4], bid_usd_per_gpu_hour=None)

    assert plan.bid_usd_per_gpu_hour == Decimal("0.24")
    assert plan.price_usd_per_hour == Decimal("0.48")
    assert "outbid 1 time, last at 0.21" in plan.reason


def test_bid_that_was_given_is_not_questioned() -> None:
    plan = make_start_plan(SPOT, [L4], bid_usd_per_gpu_hour=Decimal("0.40"))

    assert (plan.bid_usd_per_gpu_hour, plan.reason) == (Decimal("0.40"), "")


@pytest.mark.parametrize(
    "offers", [[], [replace(L4, minimum_bid_usd_per_gpu_hour=None)]]
)
def test_last_bid_is_repeated_where_nobody_tells_the_floor(
    offers: list[GPUOffer],
) -> None:
    plan = make_start_plan(SPOT, offers, bid_usd_per_gpu_hour=None)

    assert plan.bid_usd_per_gpu_hour == Decimal("0.21")
    assert "last bid" in plan.reason


VOLUME = NetworkVolume(
    volume_id="vol1", name="data", size_gb=100, data_center_id="EU-RO-1"
)


def test_pod_with_a_network_volume_goes_where_the_volume_is() -> None:
    wanted = replace(
        spec_of(Constraints(gpu_types=("L4",)), Constraints(min_memory_gb=24)),
        network_volume_id="vol1",
    )

    bound = bind_to_volume(wanted, [VOLUME])

    for place in (bound.place, *bound.fallbacks):
        assert place.data_center_ids == ("EU-RO-1",)
        assert place.cloud_type is CloudType.SECURE


def test_network_volume_elsewhere_or_unknown_is_explained() -> None:
    elsewhere = Constraints(data_center_ids=("US-TX-3",))

    with pytest.raises(ConfigError, match="is in EU-RO-1, not in US-TX-3"):
        bind_to_volume(replace(spec_of(elsewhere), network_volume_id="vol1"), [VOLUME])
    with pytest.raises(NotFoundError) as caught:
        bind_to_volume(
            replace(spec_of(Constraints()), network_volume_id="vol"), [VOLUME]
        )

    assert "'vol1'" in caught.value.hint
