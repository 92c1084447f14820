"""What a pod costs per hour in which state, and what a stretch of time comes to.

Pure arithmetic on exact fractions; it knows no clock and changes nothing.
"""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from runpod_sim.model import NetworkVolume, Pod

HOURS_PER_MONTH = 730
# rule SIM-BILL-2
CONTAINER_DISK_USD_PER_GB_MONTH = Fraction("0.10")
VOLUME_USD_PER_GB_MONTH_RUNNING = Fraction("0.10")
VOLUME_USD_PER_GB_MONTH_STOPPED = Fraction("0.20")
NETWORK_VOLUME_USD_PER_GB_MONTH = Fraction("0.07")
NETWORK_VOLUME_USD_PER_GB_MONTH_LARGE = Fraction("0.05")
HIGH_PERFORMANCE_USD_PER_GB_MONTH = Fraction("0.14")
LARGE_NETWORK_VOLUME_GB = 1000
FREE = Fraction(0)
MICROSECONDS_PER_HOUR = 3_600_000_000


def storage_usd_per_hour(pod: Pod) -> Fraction:
    """Return what the pod's own disks cost per hour in its present state."""
    if pod.terminated_at is not None:
        return FREE
    if pod.is_running:
        monthly = (
            pod.spec.container_disk_gb * CONTAINER_DISK_USD_PER_GB_MONTH
            + pod.spec.volume_gb * VOLUME_USD_PER_GB_MONTH_RUNNING
        )
    else:
        monthly = pod.spec.volume_gb * VOLUME_USD_PER_GB_MONTH_STOPPED
    return monthly / HOURS_PER_MONTH


def compute_usd_per_hour(pod: Pod) -> Fraction:
    """Return what the pod's GPUs or CPUs cost per hour in its present state."""
    return Fraction(pod.usd_per_hour) if pod.is_running else FREE


def pod_usd_per_hour(pod: Pod) -> Fraction:
    """Return all the pod costs per hour in its present state."""
    return compute_usd_per_hour(pod) + storage_usd_per_hour(pod)


def network_volume_usd_per_hour(volume: NetworkVolume) -> Fraction:
    """Return what a network volume costs per hour."""
    if volume.tier == "HIGH_PERFORMANCE":
        return volume.size_gb * HIGH_PERFORMANCE_USD_PER_GB_MONTH / HOURS_PER_MONTH
    large = volume.size_gb >= LARGE_NETWORK_VOLUME_GB
    price = (
        NETWORK_VOLUME_USD_PER_GB_MONTH_LARGE
        if large
        else NETWORK_VOLUME_USD_PER_GB_MONTH
    )
    return volume.size_gb * price / HOURS_PER_MONTH


def charge_usd(
    usd_per_hour: Fraction, since_at: datetime, until_at: datetime
) -> Fraction:
    """Return what a constant rate comes to between two instants."""
    elapsed = until_at - since_at
    microseconds = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000
    microseconds += elapsed.microseconds
    return usd_per_hour * microseconds / MICROSECONDS_PER_HOUR


def as_decimal(amount: Fraction, *, places: int = 6) -> Decimal:
    """Return an exact amount rounded half up, for showing."""
    scale = 10**places
    units: int = (amount * scale * 2 + 1) // 2
    return Decimal(units) / Decimal(scale)
