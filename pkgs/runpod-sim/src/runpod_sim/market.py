"""Prices that move: set by hand, or on a seeded walk of the lowest accepted bids.

Pure: a walk is decided by its seed and the instants of its steps alone, so the same
seed and clock give the same prices. It knows no pods.
"""

import math
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from runpod_sim.catalog import Catalog, GpuType

CLOUDS = ("SECURE", "COMMUNITY")
# A walk keeps a lowest bid within these shares of the on-demand price.
LOWEST_SHARE = 0.2
HIGHEST_SHARE = 1.0


@dataclass(frozen=True)
class Walk:
    """A random walk of lowest bids.

    Args:
        step_seconds: Simulated time between two changes.
        volatility: Standard deviation of one step, as a share of the price.
        gpu_type_ids: The types it moves; empty for all.
    """

    seed: int
    step_seconds: float
    volatility: float
    began_at: datetime
    gpu_type_ids: tuple[str, ...] = ()
    steps_done: int = 0

    @property
    def next_at(self) -> datetime:
        """Return when the prices move next."""
        elapsed = self.step_seconds * (self.steps_done + 1)
        return self.began_at + timedelta(seconds=elapsed)


class Market:
    """What everything costs now."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.walk: Walk | None = None

    def set_price(
        self,
        gpu_type_id: str,
        cloud: str,
        *,
        usd_per_hour: Decimal | None = None,
        minimum_bid_usd_per_hour: Decimal | None = None,
    ) -> None:
        """Set a GPU type's price or lowest bid on one cloud; None leaves it.

        Raises:
            KeyError: There is no such GPU type.
        """
        found = self.catalog.find_gpu_type(gpu_type_id)
        if found is None:
            raise KeyError(gpu_type_id)
        prefix = cloud.lower()
        changes: dict[str, Decimal] = {}
        if usd_per_hour is not None:
            changes[f"{prefix}_usd_per_hour"] = usd_per_hour
        if minimum_bid_usd_per_hour is not None:
            changes[f"{prefix}_bid_usd_per_hour"] = minimum_bid_usd_per_hour
        self._replace({gpu_type_id: replace(found, **changes)})  # type: ignore[arg-type]  # its prices

    def step(self) -> None:
        """Let every lowest bid of the walk move once."""
        walk = self.walk
        if walk is None:
            return
        # rule SIM-SPOT-4
        # Each step has dice of its own, so that it does not matter who else rolls any.
        dice = random.Random(  # noqa: S311 - reproducible, no secret
            f"{walk.seed}/{walk.steps_done}"
        )
        self._replace(
            {
                gpu_type.id: _moved(gpu_type, walk.volatility, dice)
                for gpu_type in self.catalog.gpu_types
                if not walk.gpu_type_ids or gpu_type.id in walk.gpu_type_ids
            }
        )
        self.walk = replace(walk, steps_done=walk.steps_done + 1)

    def _replace(self, changed: dict[str, GpuType]) -> None:
        types = tuple(changed.get(g.id, g) for g in self.catalog.gpu_types)
        self.catalog = replace(self.catalog, gpu_types=types)


def _moved(gpu_type: GpuType, volatility: float, dice: random.Random) -> GpuType:
    bids: dict[str, Decimal] = {}
    for cloud in CLOUDS:
        price = gpu_type.usd_per_hour(cloud)
        bid = gpu_type.minimum_bid_usd_per_hour(cloud)
        if not price or bid is None:
            continue
        # The logarithm is what is normal; its bounds keep the power from overflowing.
        power = max(-50.0, min(50.0, dice.gauss(0, volatility)))
        share = float(bid / price) * math.exp(power)
        share = min(HIGHEST_SHARE, max(LOWEST_SHARE, share))
        moved = (price * Decimal(repr(share))).quantize(Decimal("0.001"))
        bids[f"{cloud.lower()}_bid_usd_per_hour"] = moved
    return replace(gpu_type, **bids)  # type: ignore[arg-type]  # its lowest bids
