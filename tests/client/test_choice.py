import random
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from runpod_client.choice import Choice, choose, parse_cuda
from runpod_client.errors import ConfigError, NoCapacityError
from runpod_client.explanations import choice_document, choices_sheet
from runpod_client.model import (
    CloudType,
    Constraints,
    GPUOffer,
    Placement,
    Preference,
    Stock,
)
from runpod_client.placements import explain_failure, get_placements

CATALOGUES = 10_000
CENTERS = ("EU-RO-1", "US-TX-3", "US-KS-2", "CA-MTL-1")
CUDAS = ("11.8", "12.1", "12.2", "12.4", "12.10", "12.11", "13.0")
STOCKS = (Stock.HIGH, Stock.MEDIUM, Stock.LOW, Stock.UNKNOWN)

RTX_4090 = GPUOffer(
    gpu_type="NVIDIA GeForce RTX 4090",
    display_name="RTX 4090",
    memory_gb=24,
    cloud_type=CloudType.COMMUNITY,
    usd_per_gpu_hour=Decimal("0.34"),
    minimum_bid_usd_per_gpu_hour=Decimal("0.20"),
    stock=Stock.HIGH,
    max_gpu_count=8,
)
H100 = GPUOffer(
    gpu_type="NVIDIA H100 80GB HBM3",
    display_name="H100 SXM",
    memory_gb=80,
    cloud_type=CloudType.SECURE,
    usd_per_gpu_hour=Decimal("3.29"),
    stock=Stock.LOW,
    max_gpu_count=8,
)


def random_catalogue(rng: random.Random, types: int) -> list[GPUOffer]:
    """Return offers with few distinct prices, so that ties are frequent."""
    return [
        GPUOffer(
            gpu_type=f"gpu {number}",
            display_name=f"GPU {number}",
            memory_gb=rng.choice((16, 24, 48, 80)),
            cloud_type=cloud,
            usd_per_gpu_hour=rng.choice((None, *map(Decimal, ("0.2", "0.34", "1.5")))),
            stock=rng.choice((*STOCKS, Stock.NONE)),
            max_gpu_count=rng.choice((None, 1, 2, 8)),
            data_centers={
                center: rng.choice((*STOCKS, Stock.NONE))
                for center in rng.sample(CENTERS, rng.randrange(len(CENTERS)))
            },
            cuda_versions=tuple(rng.sample(CUDAS, rng.randrange(3))),
        )
        for number in range(types)
        for cloud in (CloudType.SECURE, CloudType.COMMUNITY)
        if rng.random() < 0.8
    ]


def random_wish(rng: random.Random, types: int) -> Constraints:
    names = [f"gpu {number}" for number in range(types)]
    return Constraints(
        gpu_types=tuple(rng.sample(names, rng.choice((0, 0, 1, min(3, types))))),
        gpu_count=rng.choice((1, 1, 2, 4)),
        cloud_type=rng.choice(list(CloudType)),
        data_center_ids=tuple(rng.sample(CENTERS, rng.choice((0, 0, 1, 2)))),
        min_memory_gb=rng.choice((0, 0, 24, 80)),
        min_cuda=rng.choice(("", "", "12.2", "12.11")),
        max_price_usd_per_hour=rng.choice((None, Decimal("0.5"), Decimal(2))),
        prefer=rng.choice(list(Preference)),
    )


# The brute force shares nothing with the code: it writes the rules down once more, as
# one predicate, and finds the best by comparing every pair.


def fits(offer: GPUOffer, wish: Constraints) -> bool:
    if offer.usd_per_gpu_hour is None:
        return False
    told = [[int(x) for x in v.split(".")] for v in offer.cuda_versions]
    least = [int(x) for x in wish.min_cuda.split(".")] if wish.min_cuda else []
    limit = wish.max_price_usd_per_hour
    return (
        (not wish.gpu_types or offer.gpu_type in wish.gpu_types)
        and wish.cloud_type in ("any", offer.cloud_type)
        and offer.memory_gb >= wish.min_memory_gb
        and (offer.max_gpu_count is None or offer.max_gpu_count >= wish.gpu_count)
        and (not least or not told or any(v >= least for v in told))
        and stock_for(offer, wish) != "none"
        and (limit is None or offer.usd_per_gpu_hour * wish.gpu_count <= limit)
    )


def stock_for(offer: GPUOffer, wish: Constraints) -> str:
    if not wish.data_center_ids or not offer.data_centers:
        return str(offer.stock)
    there = {str(offer.data_centers.get(c, "none")) for c in wish.data_center_ids}
    order = ("high", "medium", "low", "unknown", "none")
    return next(stock for stock in order if stock in there)


def is_better(one: GPUOffer, other: GPUOffer, wish: Constraints) -> bool:
    """Return whether one goes before the other, rule by rule."""
    assert one.usd_per_gpu_hour is not None
    assert other.usd_per_gpu_hour is not None
    if wish.prefer == "order" and one.gpu_type != other.gpu_type and wish.gpu_types:
        return wish.gpu_types.index(one.gpu_type) < wish.gpu_types.index(other.gpu_type)
    if one.usd_per_gpu_hour != other.usd_per_gpu_hour:
        return one.usd_per_gpu_hour < other.usd_per_gpu_hour
    order = ("high", "medium", "low", "unknown")
    stocks = (stock_for(one, wish), stock_for(other, wish))
    if stocks[0] != stocks[1]:
        return order.index(stocks[0]) < order.index(stocks[1])
    if one.cloud_type != other.cloud_type:
        return one.cloud_type == "secure"
    return one.gpu_type < other.gpu_type


def brute_force(offers: list[GPUOffer], wish: Constraints) -> list[GPUOffer]:
    left = [offer for offer in offers if fits(offer, wish)]
    ranked = []
    while left:
        best = next(
            a for a in left if all(a is b or is_better(a, b, wish) for b in left)
        )
        ranked.append(best)
        left.remove(best)
    return ranked


def test_choice_equals_brute_force_on_random_catalogues() -> None:
    rng = random.Random(15)  # noqa: S311  # seeded, to repeat
    feasible = 0

    for _ in range(CATALOGUES):
        types = rng.randrange(1, 9)
        offers, wish = random_catalogue(rng, types), random_wish(rng, types)
        choice = choose(offers, wish)
        assert list(choice.offers) == brute_force(offers, wish)
        assert len(choice.candidates) + len(choice.rejected) == len(offers)
        feasible += bool(choice.candidates)

    # the catalogues are neither all empty nor all easy
    assert CATALOGUES * 0.2 < feasible < CATALOGUES * 0.9


def test_choice_takes_at_most_five_milliseconds_on_forty_types() -> None:
    rng = random.Random(40)  # noqa: S311  # seeded, to repeat
    catalogues = [random_catalogue(rng, 40) for _ in range(100)]
    wish = Constraints(bid="p75", data_center_ids=CENTERS[:2], min_cuda="12.1")
    spent = []

    for offers in catalogues:
        started = time.process_time()
        choose(offers, wish)
        spent.append(time.process_time() - started)

    median_ms = sorted(spent)[len(spent) // 2] * 1000
    print(f"a choice over 40 GPU types: {median_ms:.2f} ms")  # noqa: T201  # figures

    assert median_ms <= 5


def test_cheapest_feasible_offer_comes_first_with_its_price_for_the_whole_pod() -> None:
    choice = choose([H100, RTX_4090], Constraints(gpu_count=2))

    assert choice.candidates == (
        Placement(
            gpu_type=RTX_4090.gpu_type,
            gpu_count=2,
            cloud_type=CloudType.COMMUNITY,
            price_usd_per_hour=Decimal("0.68"),
        ),
        Placement(
            gpu_type=H100.gpu_type,
            gpu_count=2,
            cloud_type=CloudType.SECURE,
            price_usd_per_hour=Decimal("6.58"),
        ),
    )


def test_order_of_preference_goes_before_price_unless_price_is_preferred() -> None:
    wish = Constraints(gpu_types=(H100.gpu_type, RTX_4090.gpu_type))

    by_order = choose([RTX_4090, H100], wish)
    by_price = choose([RTX_4090, H100], replace(wish, prefer=Preference.PRICE))

    assert by_order.offers == (H100, RTX_4090)
    assert by_price.offers == (RTX_4090, H100)


def test_only_data_centers_with_stock_are_asked_for() -> None:
    centers = {"EU-RO-1": Stock.NONE, "US-TX-3": Stock.LOW, "US-KS-2": Stock.HIGH}
    offer = replace(RTX_4090, data_centers=centers, stock=Stock.NONE)

    choice = choose(
        [offer], Constraints(data_center_ids=("CA-MTL-1", "EU-RO-1", "US-TX-3"))
    )

    assert choice.candidates[0].data_center_ids == ("US-TX-3",)


@pytest.mark.parametrize(
    ("newer", "older"), [("12.11", "12.2"), ("13", "12.9"), ("12.4.1", "12.4")]
)
def test_cuda_versions_compare_as_numbers(newer: str, older: str) -> None:
    assert parse_cuda(newer) > parse_cuda(older)
    assert parse_cuda("12.0") == parse_cuda("12")


def test_cuda_version_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'12\.x' is no CUDA version"):
        choose([RTX_4090], Constraints(min_cuda="12.x"))


def test_cuda_version_of_the_catalogue_that_is_none_counts_as_oldest() -> None:
    offer = replace(RTX_4090, cuda_versions=("n/a", "12.4"))

    assert choose([offer], Constraints(min_cuda="12.4")).candidates
    assert not choose([offer], Constraints(min_cuda="12.5")).candidates


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Constraints(gpu_types=("x",)), "not among the GPU types asked for"),
        (
            Constraints(cloud_type=CloudType.SECURE),
            "in the community cloud, not the secure one",
        ),
        (Constraints(min_memory_gb=48), "has 24 GB per GPU, not 48"),
        (Constraints(gpu_count=9), "at most 8 per pod, not 9"),
        (Constraints(min_cuda="12.11"), "has CUDA 12.2 at most, not 12.11"),
        (Constraints(data_center_ids=("EU-RO-1",)), "not in EU-RO-1"),
        (Constraints(data_center_ids=("US-KS-2",)), "out of stock in US-KS-2"),
        (
            Constraints(max_price_usd_per_hour=Decimal("0.3")),
            "costs 0.34, above the limit of 0.30",
        ),
        (
            Constraints(bid="0.1"),
            "the bid of 0.10 is below the lowest that can win, 0.20",
        ),
    ],
)
def test_every_rejection_has_its_reason(wish: Constraints, reason: str) -> None:
    offer = replace(
        RTX_4090,
        cuda_versions=("12.1", "12.2"),
        data_centers={"US-TX-3": Stock.HIGH, "US-KS-2": Stock.NONE},
    )

    choice = choose([offer], wish)

    assert [(r.offer, r.reason) for r in choice.rejected] == [(offer, reason)]


def test_spot_is_chosen_at_the_bid_and_on_demand_where_there_is_none() -> None:
    wish = Constraints(bid="floor+10%")

    spot, on_demand = choose([RTX_4090, H100], wish).candidates

    assert spot.bid_usd_per_gpu_hour == spot.price_usd_per_hour == Decimal("0.22")
    assert on_demand.bid_usd_per_gpu_hour is None
    assert on_demand.price_usd_per_hour == Decimal("3.29")


def test_withdrawn_spot_is_rented_on_demand_with_the_same_constraints() -> None:
    wish = Constraints(bid="floor")

    (placement,) = choose(
        [replace(RTX_4090, minimum_bid_usd_per_gpu_hour=None)], wish
    ).candidates

    assert placement.bid_usd_per_gpu_hour is None
    assert placement.price_usd_per_hour == Decimal("0.34")


def test_price_limit_holds_when_a_bid_turns_into_on_demand() -> None:
    wish = Constraints(bid="floor", max_price_usd_per_hour=Decimal("0.3"))

    assert choose([RTX_4090], wish).candidates
    assert not choose(
        [replace(RTX_4090, minimum_bid_usd_per_gpu_hour=None)], wish
    ).candidates


def test_history_of_floors_is_that_of_the_type_and_cloud() -> None:
    history = {
        (RTX_4090.gpu_type, CloudType.COMMUNITY): [Decimal("0.25")] * 4,
        (RTX_4090.gpu_type, CloudType.SECURE): [Decimal("0.29")] * 4,
    }

    (placement,) = choose(
        [RTX_4090], Constraints(bid="p75"), history=history
    ).candidates

    assert placement.bid_usd_per_gpu_hour == Decimal("0.25")


def test_failure_names_the_constraint_that_stands_in_the_way() -> None:
    wish = Constraints(
        max_price_usd_per_hour=Decimal("0.3"), cloud_type=CloudType.COMMUNITY
    )

    error = explain_failure([RTX_4090, H100], wish)

    assert isinstance(error, ConfigError)
    assert error.setting == "max_price"
    assert error.message == (
        "nothing fits; without max price 0.30 the cheapest is RTX 4090 at 0.34"
    )


def test_failure_prefers_the_constraint_whose_loss_leaves_the_cheapest() -> None:
    wish = Constraints(
        min_memory_gb=80,
        cloud_type=CloudType.COMMUNITY,
        max_price_usd_per_hour=Decimal(5),
    )

    error = explain_failure([RTX_4090, H100], wish)

    assert isinstance(error, ConfigError)
    assert error.setting == "min_memory"


def test_what_is_only_out_of_stock_is_a_lack_of_capacity() -> None:
    offers = [replace(H100, stock=Stock.NONE), RTX_4090]

    with pytest.raises(NoCapacityError, match=r"out of stock, H100 SXM at 3\.29"):
        get_placements(offers, [Constraints(min_memory_gb=80)])


def test_hopeless_wish_says_so() -> None:
    with pytest.raises(ConfigError, match="comes near"):
        get_placements([RTX_4090], [Constraints(min_memory_gb=999, gpu_count=99)])


def test_places_are_tried_in_their_order_and_each_placement_once() -> None:
    first = Constraints(gpu_types=(H100.gpu_type,))

    placements = get_placements([RTX_4090, H100], [first, Constraints()])

    assert [p.gpu_type for p in placements] == [H100.gpu_type, RTX_4090.gpu_type]


def test_capacity_at_one_place_is_the_failure_when_another_can_never_fit() -> None:
    offers = [replace(H100, stock=Stock.NONE)]
    places = [Constraints(gpu_count=99), Constraints()]

    with pytest.raises(NoCapacityError):
        get_placements(offers, places)


def explained() -> Choice:
    return choose([H100, RTX_4090], Constraints(min_memory_gb=80))


def test_explanation_has_every_offer_once_with_price_or_reason() -> None:
    document = choice_document(explained())

    assert document == {
        "candidates": [
            {
                "gpu_type": "NVIDIA H100 80GB HBM3",
                "display_name": "H100 SXM",
                "gpu_count": 1,
                "cloud_type": "secure",
                "data_center_ids": [],
                "stock": "low",
                "bid_usd_per_gpu_hour": None,
                "price_usd_per_hour": Decimal("3.29"),
                "note": "on demand",
            }
        ],
        "rejected": [
            {
                "gpu_type": "NVIDIA GeForce RTX 4090",
                "display_name": "RTX 4090",
                "cloud_type": "community",
                "reason": "has 24 GB per GPU, not 80",
            }
        ],
    }


def test_explanation_for_people_is_one_line_per_offer() -> None:
    lines = choices_sheet([explained()]).render_plain().splitlines()

    assert [" ".join(line.split()) for line in lines[1:]] == [
        "1 H100 SXM \N{MULTIPLICATION SIGN} 1 secure low 3.29 on demand",
        "- RTX 4090 community high - has 24 GB per GPU, not 80",
    ]
