"""What a wanted pod would cost, from the GPU catalogue; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from runpod_client.model import CloudType, GPUType, PodSpec

HOURS_PER_DAY = 24
HOURS_PER_MONTH = 730
# docs.runpod.io, pricing of pods: GB-months of disk while a pod runs
DISK_USD_PER_GB_MONTH = Decimal("0.10")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One acceptable GPU type and its price for the whole pod; None: not offered."""

    gpu_type: GPUType
    gpu_count: int
    price_usd_per_hour: Decimal | None

    @property
    def is_below_minimum_bid(self) -> bool:
        """Return whether a spot bid this low cannot win."""
        minimum = self.gpu_type.minimum_bid_usd_per_hour
        price = self.price_usd_per_hour
        return None not in (minimum, price) and price < minimum * self.gpu_count  # type: ignore[operator]  # neither is None here


def make_offers(spec: PodSpec, gpu_types: Iterable[GPUType]) -> list[Offer]:
    """Return what each acceptable GPU type would cost as `spec` wants it."""
    offers = []
    for gpu_type in gpu_types:
        per_gpu = spec.bid_usd_per_gpu_hour or price_per_gpu(gpu_type, spec.cloud_type)
        offers.append(
            Offer(
                gpu_type=gpu_type,
                gpu_count=spec.gpu_count,
                price_usd_per_hour=None
                if per_gpu is None
                else per_gpu * spec.gpu_count,
            )
        )
    return offers


def price_per_gpu(gpu_type: GPUType, cloud_type: CloudType) -> Decimal | None:
    """Return the on-demand price in one cloud; with ANY the dearest it can be."""
    prices = {
        CloudType.SECURE: (gpu_type.secure_usd_per_hour,),
        CloudType.COMMUNITY: (gpu_type.community_usd_per_hour,),
        CloudType.ANY: (
            gpu_type.secure_usd_per_hour,
            gpu_type.community_usd_per_hour,
        ),
    }[cloud_type]
    known = [price for price in prices if price is not None]
    return max(known) if known else gpu_type.on_demand_usd_per_hour


def disk_usd_per_hour(spec: PodSpec) -> Decimal:
    """Return what a pod's disks cost while it runs."""
    disk_gb = spec.container_disk_gb + spec.volume_gb
    return disk_gb * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH


def render_price(price_usd_per_hour: Decimal | None) -> str:
    """Return a price for people, by the hour and by the day."""
    if price_usd_per_hour is None:
        return "not offered now"
    per_day = price_usd_per_hour * HOURS_PER_DAY
    return f"${render_usd(price_usd_per_hour)}/hour (${render_usd(per_day)}/day)"


def render_usd(amount: Decimal) -> str:
    """Return an amount with cents, or with as many digits as a small one needs."""
    exact = amount.quantize(Decimal("0.0001")).normalize()
    cents = amount.quantize(Decimal("0.01"))
    return f"{cents:,f}" if exact == cents or amount >= 10 else f"{exact:,f}"
