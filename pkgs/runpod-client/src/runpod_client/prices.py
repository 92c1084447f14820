"""Amounts of money as people read them, and what disks cost; pure."""

from decimal import Decimal

from runpod_client.model import PodSpec

HOURS_PER_DAY = 24
HOURS_PER_MONTH = 730
# docs.runpod.io, pricing of pods: GB-months of disk while a pod runs
DISK_USD_PER_GB_MONTH = Decimal("0.10")
# the same: a volume disk while its pod is stopped, and storage that outlives pods
STOPPED_VOLUME_USD_PER_GB_MONTH = Decimal("0.20")
NETWORK_VOLUME_USD_PER_GB_MONTH = Decimal("0.07")
NETWORK_VOLUME_USD_PER_GB_MONTH_BEYOND = Decimal("0.05")
CHEAPER_BEYOND_GB = 1000


def disk_usd_per_hour(spec: PodSpec) -> Decimal:
    """Return what a pod's disks cost while it runs."""
    disk_gb = spec.container_disk_gb + spec.volume_gb
    return disk_gb * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH


def network_volume_usd_per_month(size_gb: int) -> Decimal:
    """Return what a network volume costs; what is beyond a terabyte is cheaper."""
    beyond = max(size_gb - CHEAPER_BEYOND_GB, 0)
    return (
        (size_gb - beyond) * NETWORK_VOLUME_USD_PER_GB_MONTH
        + beyond * NETWORK_VOLUME_USD_PER_GB_MONTH_BEYOND
    )


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
