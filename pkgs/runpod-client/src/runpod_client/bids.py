"""What to bid for a spot pod, and when to rent on demand instead; pure.

A pod costs its bid, so the best bid is a low one that is not outbid too often; by the
bench in this module's test that is a little above the floor (`floor+10%`).

    floor        the lowest bid that can win now
    floor+10%    that much above the floor
    p75          the 75th percentile of the floors seen lately; without a history, three
                 quarters of the way from the floor to the on-demand price
    share:0.6    60 % of the on-demand price
    0.21         this price per GPU-hour, and never more

Where spot is gone or saves nothing the pod is rented on demand. All but the last say
how to save, not what to spend; a fixed price is a limit, so it does that only if the
on-demand price keeps it, and else rents nothing.
Every decision comes with a sentence for people. Amounts are USD per GPU-hour.
"""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from runpod_client.errors import ConfigError
from runpod_client.prices import render_usd

STEP = Decimal("0.001")
# a bid above this share of the on-demand price saves less than its interruptions cost
DEFAULT_CAP_SHARE = Decimal("0.8")
RAISE_SHARE = Decimal("0.10")
# without an on-demand price to compare with: no bid above this many times the floor
MAX_FLOOR_FACTOR = 2
MAX_OUTBIDS = 6
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")
_MARGIN = re.compile(r"floor(?:\s*\+\s*(\d{1,3}(?:\.\d+)?)\s*%)?")
_SHARE = re.compile(r"share:\s*(\d*\.?\d+)")
_HINT = "Write floor, floor+10%, p75, share:0.6, or a price per GPU-hour like 0.21."


class BidKind(enum.StrEnum):
    """What a strategy's figure means."""

    FLOOR = "floor"
    PERCENTILE = "percentile"
    SHARE = "share"
    FIXED = "fixed"


@dataclass(frozen=True, kw_only=True)
class BidStrategy:
    """How to bid.

    Attributes:
        figure: FLOOR: the share on top (0.1 is 10 %). PERCENTILE: 0 to 100. SHARE: of
            the on-demand price, above 0 and up to 1. FIXED: USD per GPU-hour.
    """

    kind: BidKind
    figure: Decimal


@dataclass(frozen=True, kw_only=True)
class Market:
    """What one GPU type in one cloud costs, per GPU-hour.

    Attributes:
        floor: The lowest bid that can win now; None where there is no spot.
        on_demand: None where it is not to be had on demand.
        history: Floors seen lately, in any order; may be empty.
    """

    floor: Decimal | None
    on_demand: Decimal | None
    history: Sequence[Decimal] = ()


class Way(enum.StrEnum):
    """How to rent."""

    SPOT = "spot"
    ON_DEMAND = "on demand"
    NOT = "not"


@dataclass(frozen=True, kw_only=True)
class BidDecision:
    """How to rent, what each GPU then costs per hour (None: do not rent), and why."""

    way: Way
    usd_per_gpu_hour: Decimal | None
    reason: str

    @property
    def bid_usd_per_gpu_hour(self) -> Decimal | None:
        """Return the bid, None where none is to be made."""
        return self.usd_per_gpu_hour if self.way is Way.SPOT else None


def parse_bid(text: str) -> BidStrategy:
    """Return the strategy a text names.

    Raises:
        ConfigError: It names none, or one that makes no sense.
    """
    strategy = _match_strategy(text.strip().lower())
    if strategy is None or not _makes_sense(strategy):
        raise ConfigError(
            f"{text!r} is no way to bid for a spot pod", setting="bid", hint=_HINT
        )
    return strategy


def decide_bid(
    strategy: BidStrategy,
    market: Market,
    *,
    cap_share: Decimal = DEFAULT_CAP_SHARE,
) -> BidDecision:
    """Return how to rent in this market.

    Args:
        cap_share: The largest share of the on-demand price to bid. A strategy that
            names a share itself, or a price, does not heed it.
    """
    floor = market.floor
    if floor is None:
        return _give_up(strategy, market, "spot is not offered")
    if strategy.kind is BidKind.FIXED:
        return _decide_fixed(strategy, market, floor)
    cap = _find_cap(strategy, floor, market.on_demand, cap_share)
    if floor > cap:
        return _give_up(
            strategy,
            market,
            f"the lowest bid, {render_usd(floor)}, is above {render_usd(cap)}, the "
            "most that is worth bidding",
        )
    wish, why = _wish(strategy, floor, market)
    if wish > cap:
        return _spot(cap, f"{why}, capped at {render_usd(cap)}")
    return _spot(min(_round_up(wish), cap), why)


def decide_next_bid(
    strategy: BidStrategy,
    market: Market,
    *,
    last_bid: Decimal,
    outbid_count: int,
    cap_share: Decimal = DEFAULT_CAP_SHARE,
) -> BidDecision:
    """Return how to rent again after having been outbid.

    The bid is what the strategy says now and a tenth of the floor more for each time,
    up to the cap; a pod outbid more than `MAX_OUTBIDS` times goes on demand, since its
    restarts cost more than spot saves. It may be below the last bid where the floor
    has fallen again: a pod costs its bid for as long as it runs.

    Args:
        last_bid: What was outbid.
        outbid_count: How often this pod was outbid so far, this time included; 0
            for one that was stopped otherwise.
    """
    first = decide_bid(strategy, market, cap_share=cap_share)
    floor, bid = market.floor, first.bid_usd_per_gpu_hour
    is_fixed = strategy.kind is BidKind.FIXED
    if floor is None or bid is None or is_fixed or outbid_count < 1:
        return first
    times = f"outbid {outbid_count} time{'s' * (outbid_count != 1)}"
    if outbid_count > MAX_OUTBIDS and market.on_demand is not None:
        return _give_up(strategy, market, f"it was {times}")
    raised = _round_up(bid + floor * RAISE_SHARE * outbid_count)
    cap = _find_cap(strategy, floor, market.on_demand, cap_share)
    return _spot(
        min(raised, cap),
        f"{times}, last at {render_usd(last_bid)}, so {render_usd(raised)} and at "
        f"most {render_usd(cap)}",
    )


def decide_return(
    strategy: BidStrategy,
    market: Market,
    *,
    left_hours: float,
    restart_hours: float,
    outbid_count: int,
    cap_share: Decimal = DEFAULT_CAP_SHARE,
) -> BidDecision:
    """Return whether a pod that went on demand should be rented as spot again.

    It should if the rest of its work would save twice what starting anew costs.

    Args:
        left_hours: How long its work will still take.
        restart_hours: What starting anew costs of it, work done again included.
        outbid_count: How often it was outbid so far.
    """
    stay = _give_up(strategy, market, "going back to spot would not pay")
    if outbid_count > MAX_OUTBIDS or market.on_demand is None:
        return stay
    back = decide_bid(strategy, market, cap_share=cap_share)
    bid = back.bid_usd_per_gpu_hour
    if bid is None:
        return stay
    saved = (market.on_demand - bid) * Decimal(str(left_hours))
    cost = market.on_demand * Decimal(str(restart_hours))
    return back if saved > 2 * cost else stay


def _match_strategy(text: str) -> BidStrategy | None:
    if found := _MARGIN.fullmatch(text):
        return BidStrategy(
            kind=BidKind.FLOOR, figure=Decimal(found[1] or 0) / Decimal(100)
        )
    if found := _PERCENTILE.fullmatch(text):
        return BidStrategy(kind=BidKind.PERCENTILE, figure=Decimal(found[1]))
    if found := _SHARE.fullmatch(text):
        return BidStrategy(kind=BidKind.SHARE, figure=Decimal(found[1]))
    try:
        return BidStrategy(kind=BidKind.FIXED, figure=Decimal(text.removeprefix("$")))
    except InvalidOperation:
        return None


def _makes_sense(strategy: BidStrategy) -> bool:
    figure = strategy.figure
    least, most = {
        BidKind.FLOOR: (Decimal(0), Decimal(10)),
        BidKind.PERCENTILE: (Decimal(0), Decimal(100)),
        BidKind.SHARE: (STEP, Decimal(1)),
        BidKind.FIXED: (STEP, Decimal(1000)),
    }[strategy.kind]
    return figure.is_finite() and least <= figure <= most


def _decide_fixed(strategy: BidStrategy, market: Market, floor: Decimal) -> BidDecision:
    price, on_demand = strategy.figure, market.on_demand
    if price < floor:
        return _do_not(
            f"the bid of {render_usd(price)} is below the lowest that can win, "
            f"{render_usd(floor)}"
        )
    if on_demand is not None and on_demand <= price:
        return _give_up(
            strategy, market, f"that costs no more than {render_usd(price)}"
        )
    return _spot(price, f"bid as asked; the floor is {render_usd(floor)}")


def _find_cap(
    strategy: BidStrategy,
    floor: Decimal,
    on_demand: Decimal | None,
    cap_share: Decimal,
) -> Decimal:
    """Return the most to bid per GPU-hour."""
    if on_demand is None:
        return floor * MAX_FLOOR_FACTOR
    is_share = strategy.kind is BidKind.SHARE
    return on_demand * (strategy.figure if is_share else cap_share)


def _wish(strategy: BidStrategy, floor: Decimal, market: Market) -> tuple[Decimal, str]:
    """Return what a strategy would bid if nothing capped it, and why."""
    figure, on_demand = strategy.figure, market.on_demand
    at_floor = f"the floor is {render_usd(floor)}"
    if strategy.kind is BidKind.FLOOR:
        margin = f", and {figure:.0%} on top" * bool(figure)
        return floor * (1 + figure), f"{at_floor}{margin}"
    if strategy.kind is BidKind.PERCENTILE and market.history:
        seen = max(_percentile(market.history, figure), floor)
        return seen, f"percentile {figure:f} of {len(market.history)} floors seen"
    if on_demand is None:
        return floor, f"{at_floor}, and no on-demand price to compare with"
    if strategy.kind is BidKind.PERCENTILE:
        above = max(on_demand - floor, Decimal(0)) * figure / 100
        return floor + above, (
            f"{figure:f} % of the way from the floor, {render_usd(floor)}, to "
            f"{render_usd(on_demand)} on demand"
        )
    share = on_demand * figure
    return share, f"{figure:.0%} of {render_usd(on_demand)} on demand"


def _percentile(history: Sequence[Decimal], percent: Decimal) -> Decimal:
    """Return the nearest-rank percentile: a price that was really seen."""
    ordered = sorted(history)
    rank = (percent * len(ordered) / 100).to_integral_value(ROUND_CEILING)
    return ordered[max(int(rank), 1) - 1]


def _give_up(strategy: BidStrategy, market: Market, why: str) -> BidDecision:
    """Return the way out where no bid makes sense."""
    on_demand = market.on_demand
    if on_demand is None:
        return _do_not(f"{why}, nor on demand")
    if strategy.kind is BidKind.FIXED and on_demand > strategy.figure:
        return _do_not(f"{why}, and on demand costs more than the bid")
    return BidDecision(
        way=Way.ON_DEMAND, usd_per_gpu_hour=on_demand, reason=f"on demand, since {why}"
    )


def _do_not(why: str) -> BidDecision:
    return BidDecision(way=Way.NOT, usd_per_gpu_hour=None, reason=why)


def _spot(bid: Decimal, why: str) -> BidDecision:
    return BidDecision(way=Way.SPOT, usd_per_gpu_hour=bid, reason=f"spot: {why}")


def _round_up(amount: Decimal) -> Decimal:
    """Return an amount rounded up, since a bid rounded below the floor cannot win."""
    return amount.quantize(STEP, ROUND_CEILING)
