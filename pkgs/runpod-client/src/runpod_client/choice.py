"""Which of the machines that can be rented to rent: the cheapest that fits; pure.

Stock is RunPod's hint and no promise: an offer whose stock is unknown counts as
available, and the candidates come as a list to walk down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runpod_client.bids import (
    BidDecision,
    BidStrategy,
    Market,
    Way,
    decide_bid,
    parse_bid,
)
from runpod_client.errors import ConfigError
from runpod_client.model import (
    CloudType,
    Constraints,
    GPUOffer,
    Placement,
    Preference,
    Stock,
)
from runpod_client.prices import render_usd

# floors seen lately, by GPU type and cloud
History = Mapping[tuple[str, CloudType], Sequence[Decimal]]

NOT_ASKED_FOR = "not among the GPU types asked for"
NO_HISTORY: History = {}
_STOCK_RANKS = {
    Stock.HIGH: 0,
    Stock.MEDIUM: 1,
    Stock.LOW: 2,
    Stock.UNKNOWN: 3,
    Stock.NONE: 4,
}


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An offer that does not do, and the first reason why."""

    offer: GPUOffer
    reason: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What can be rented as wanted.

    Attributes:
        candidates: Best first; empty where nothing fits.
        offers: The offer behind each candidate.
        notes: How the price of each candidate comes about.
    """

    candidates: tuple[Placement, ...]
    offers: tuple[GPUOffer, ...]
    notes: tuple[str, ...]
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What is wanted, with its texts parsed once for all offers."""

    wanted: Constraints
    positions: Mapping[str, int]
    data_centers: frozenset[str]
    min_cuda: tuple[int, ...]
    bid: BidStrategy | None
    history: History


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    placement: Placement
    offer: GPUOffer
    stock: Stock
    note: str


def choose(
    offers: Sequence[GPUOffer],
    wanted: Constraints,
    *,
    history: History = NO_HISTORY,
) -> Choice:
    """Return every way to rent what is wanted, best first, and what does not do.

    Cheapest first; between equals the larger stock, then secure before community, then
    by id. `Preference.ORDER` puts the position in `wanted.gpu_types` before all that.

    Args:
        history: Floors seen lately, for bids by percentile.

    Raises:
        ConfigError: The bid or the CUDA version wanted cannot be read.
    """
    rules = _make_rules(wanted, history=history)
    found: list[_Candidate] = []
    rejected: list[Rejection] = []
    for offer in offers:
        judged = _judge(offer, rules)
        if isinstance(judged, str):
            rejected.append(Rejection(offer=offer, reason=judged))
        else:
            found.append(judged)
    found.sort(key=lambda candidate: _sort_key(candidate, rules))
    return Choice(
        candidates=tuple(c.placement for c in found),
        offers=tuple(c.offer for c in found),
        notes=tuple(c.note for c in found),
        rejected=tuple(rejected),
    )


def parse_cuda(text: str) -> tuple[int, ...]:
    """Return a CUDA version as numbers, since 12.11 is newer than 12.2.

    Raises:
        ConfigError: It is no version.
    """
    parts = text.strip().split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"{text!r} is no CUDA version like 12.4", setting="min_cuda")
    numbers = [int(part) for part in parts]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()  # 12.0 is 12
    return tuple(numbers)


def _make_rules(wanted: Constraints, *, history: History) -> _Rules:
    return _Rules(
        wanted=wanted,
        positions={g: i for i, g in reversed(list(enumerate(wanted.gpu_types)))},
        data_centers=frozenset(wanted.data_center_ids),
        min_cuda=parse_cuda(wanted.min_cuda) if wanted.min_cuda else (),
        bid=parse_bid(wanted.bid) if wanted.bid else None,
        history=history,
    )


def _judge(offer: GPUOffer, rules: _Rules) -> _Candidate | str:
    """Return the way to rent an offer, or why it does not do."""
    reason = _find_mismatch(offer, rules)
    if reason is not None:
        return reason
    stock, centers = _find_stock(offer, rules)
    if stock is Stock.NONE:
        where = f" in {', '.join(rules.wanted.data_center_ids)}" * bool(centers)
        return f"out of stock{where}"
    decision = _decide(offer, rules)
    if decision.usd_per_gpu_hour is None:
        return decision.reason
    price = decision.usd_per_gpu_hour * rules.wanted.gpu_count
    limit = rules.wanted.max_price_usd_per_hour
    if limit is not None and price > limit:
        return f"costs {render_usd(price)}, above the limit of {render_usd(limit)}"
    placement = Placement(
        gpu_type=offer.gpu_type,
        gpu_count=rules.wanted.gpu_count,
        cloud_type=offer.cloud_type,
        data_center_ids=centers,
        min_cuda=rules.wanted.min_cuda,
        bid_usd_per_gpu_hour=decision.bid_usd_per_gpu_hour,
        price_usd_per_hour=price,
    )
    return _Candidate(
        placement=placement, offer=offer, stock=stock, note=decision.reason
    )


def _find_mismatch(offer: GPUOffer, rules: _Rules) -> str | None:
    """Return what an offer lacks, whatever its stock and price."""
    wanted = rules.wanted
    if rules.positions and offer.gpu_type not in rules.positions:
        return NOT_ASKED_FOR
    if wanted.cloud_type not in {CloudType.ANY, offer.cloud_type}:
        return f"in the {offer.cloud_type} cloud, not the {wanted.cloud_type} one"
    if offer.memory_gb < wanted.min_memory_gb:
        return f"has {offer.memory_gb} GB per GPU, not {wanted.min_memory_gb}"
    if offer.max_gpu_count is not None and offer.max_gpu_count < wanted.gpu_count:
        return f"at most {offer.max_gpu_count} per pod, not {wanted.gpu_count}"
    return _find_local_mismatch(offer, rules)


def _find_local_mismatch(offer: GPUOffer, rules: _Rules) -> str | None:
    """Return what an offer's machines lack as far as RunPod tells about them."""
    wanted = rules.wanted
    if rules.min_cuda and offer.cuda_versions:
        newest = max(offer.cuda_versions, key=_cuda_key)
        if _cuda_key(newest) < rules.min_cuda:
            return f"has CUDA {newest} at most, not {wanted.min_cuda}"
    is_placed = rules.data_centers and offer.data_centers
    if is_placed and rules.data_centers.isdisjoint(offer.data_centers):
        return f"not in {', '.join(wanted.data_center_ids)}"
    return None


def _cuda_key(version: str) -> tuple[int, ...]:
    """Return a version RunPod told as numbers; one that is none counts as oldest."""
    try:
        return parse_cuda(version)
    except ConfigError:
        return ()


def _find_stock(offer: GPUOffer, rules: _Rules) -> tuple[Stock, tuple[str, ...]]:
    """Return the stock where a pod may be placed, and the data centers that have it."""
    wanted = rules.wanted.data_center_ids
    if not wanted or not offer.data_centers:
        return offer.stock, wanted
    there = {i: offer.data_centers[i] for i in wanted if i in offer.data_centers}
    having = tuple(i for i in there if there[i] is not Stock.NONE)
    best = min(there.values(), key=_STOCK_RANKS.__getitem__)
    return best, having or tuple(there)


def _decide(offer: GPUOffer, rules: _Rules) -> BidDecision:
    """Return how an offer is rented: at a bid, on demand, or not at all."""
    on_demand = offer.usd_per_gpu_hour
    if rules.bid is None:
        way = Way.NOT if on_demand is None else Way.ON_DEMAND
        reason = "not offered on demand" if on_demand is None else "on demand"
        return BidDecision(way=way, usd_per_gpu_hour=on_demand, reason=reason)
    market = Market(
        floor=offer.minimum_bid_usd_per_gpu_hour,
        on_demand=on_demand,
        history=rules.history.get((offer.gpu_type, offer.cloud_type), ()),
    )
    return decide_bid(rules.bid, market)


def _sort_key(candidate: _Candidate, rules: _Rules) -> tuple[Any, ...]:
    placement = candidate.placement
    is_ordered = rules.wanted.prefer is Preference.ORDER
    return (
        rules.positions.get(placement.gpu_type, 0) if is_ordered else 0,
        placement.price_usd_per_hour,
        _STOCK_RANKS[candidate.stock],
        placement.cloud_type is not CloudType.SECURE,
        placement.gpu_type,
    )
