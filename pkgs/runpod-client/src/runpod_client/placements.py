"""The ways to rent a wanted pod, in the order to try them, or why there are none; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from runpod_client.choice import (
    NO_HISTORY,
    NOT_ASKED_FOR,
    Choice,
    History,
    choose,
)
from runpod_client.errors import ConfigError, NoCapacityError
from runpod_client.model import (
    CloudType,
    Constraints,
    GPUOffer,
    Placement,
    Preference,
    Stock,
)
from runpod_client.prices import render_usd

_HINT = "Prices are USD per hour for the whole pod; --explain shows every offer."


def get_placements(
    offers: Sequence[GPUOffer],
    places: Sequence[Constraints],
    *,
    history: History = NO_HISTORY,
) -> tuple[Placement, ...]:
    """Return the ways to rent at several places, those of the first place first.

    Args:
        places: `PodSpec.place` and then its `fallbacks`; at least one.

    Raises:
        NoCapacityError: What fits somewhere is out of stock.
        ConfigError: Nothing can fit; says what stands in the way at the first place.
    """
    found: dict[Placement, None] = {}
    for place in places:
        choice = choose(offers, place, history=history)
        found.update(dict.fromkeys(choice.candidates))
    if found:
        return tuple(found)
    failures = [explain_failure(offers, place, history=history) for place in places]
    # what is out of stock comes back; the rest must be asked for otherwise
    raise next((f for f in failures if isinstance(f, NoCapacityError)), failures[0])


def explain_failure(
    offers: Sequence[GPUOffer],
    wanted: Constraints,
    *,
    history: History = NO_HISTORY,
) -> ConfigError | NoCapacityError:
    """Return the error for what nothing fits: the constraint that stands in the way.

    Each constraint is lifted alone; of those that then leave something to rent, the one
    with the cheapest result is named.
    """

    def cheapest(among: Sequence[GPUOffer], place: Constraints) -> Choice:
        return choose(
            among,
            replace(place, prefer=Preference.PRICE),
            history=history,
        )

    in_stock = cheapest([_with_stock(offer) for offer in offers], wanted)
    if in_stock.candidates:
        return NoCapacityError(
            f"everything that fits is out of stock, {_render_best(in_stock)} first",
            gpu_type=in_stock.candidates[0].gpu_type,
            operation="choosePlacement",
            hint="Try again later, or name further GPU types, clouds or data centers.",
        )
    lifted = [
        (choice, setting, words)
        for setting, words, looser in _lift_each(wanted)
        if (choice := cheapest(offers, looser)).candidates
    ]
    if not lifted:
        return ConfigError(
            "no GPU type offered comes near what is wanted",
            setting="place",
            hint="See what there is: runpod-client gpus list",
        )
    best, setting, words = min(
        lifted, key=lambda row: row[0].candidates[0].price_usd_per_hour
    )
    return ConfigError(
        f"nothing fits; without {words} the cheapest is {_render_best(best)}",
        setting=setting,
        hint=f"{_render_first_reason(cheapest(offers, wanted))}{_HINT}",
    )


def _render_first_reason(choice: Choice) -> str:
    """Return why the first of the offers asked for will not do."""
    for rejection in choice.rejected:
        if rejection.reason != NOT_ASKED_FOR:
            offer = rejection.offer
            where = f"{offer.display_name} in the {offer.cloud_type} cloud"
            return f"{where}: {rejection.reason}. "
    return ""


def _render_best(choice: Choice) -> str:
    price = render_usd(choice.candidates[0].price_usd_per_hour)
    return f"{choice.offers[0].display_name} at {price}"


def _with_stock(offer: GPUOffer) -> GPUOffer:
    """Return an offer as if every machine of it were free."""
    centers = dict.fromkeys(offer.data_centers, Stock.HIGH)
    return replace(offer, stock=Stock.HIGH, data_centers=centers)


def _lift_each(wanted: Constraints) -> Iterator[tuple[str, str, Constraints]]:
    """Yield each constraint that is set: its name, its words, and all but it."""
    limit = wanted.max_price_usd_per_hour
    price = "" if limit is None else render_usd(limit)
    gpus, centers = ", ".join(wanted.gpu_types), ", ".join(wanted.data_center_ids)
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("max_price", f"max price {price}", {"max_price_usd_per_hour": None}),
        ("bid", f"the bid {wanted.bid}", {"bid": ""}),
        ("gpu", f"the GPU types {gpus}", {"gpu_types": ()}),
        ("min_memory", f"min memory {wanted.min_memory_gb} GB", {"min_memory_gb": 0}),
        ("gpu_count", f"GPU count {wanted.gpu_count}", {"gpu_count": 1}),
        ("cloud", f"cloud {wanted.cloud_type}", {"cloud_type": CloudType.ANY}),
        ("data_centers", f"data centers {centers}", {"data_center_ids": ()}),
        ("min_cuda", f"min CUDA {wanted.min_cuda}", {"min_cuda": ""}),
    )
    for setting, words, change in rows:
        looser = replace(wanted, **change)
        if looser != wanted:
            yield setting, words, looser
