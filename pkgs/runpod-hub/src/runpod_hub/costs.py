"""Money as decisions: what the fleet costs now, and whether that is too much.

Pure: no clock, no I/O. Days have 24 hours, months 730, and texts say so. Storage of
stopped pods is not in these figures: RunPod does not list it with the pod.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from runpod_client import PodStatus
from runpod_hub.model import PodRecord

HOURS_PER_DAY = 24
HOURS_PER_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class CostSummary:
    """How many pods there are and what they cost while nothing changes."""

    total_pods: int
    running_pods: int
    usd_per_hour: Decimal

    @property
    def usd_per_day(self) -> Decimal:
        """Return the cost of 24 hours at the present rate."""
        return self.usd_per_hour * HOURS_PER_DAY

    @property
    def usd_per_month(self) -> Decimal:
        """Return the cost of 730 hours at the present rate."""
        return self.usd_per_hour * HOURS_PER_MONTH


class Crossing(enum.StrEnum):
    """The hourly cost passed its threshold in one direction."""

    EXCEEDED = "cost_threshold_exceeded"
    CLEARED = "cost_threshold_cleared"


def summarize(pods: Iterable[PodRecord]) -> CostSummary:
    """Add up the pods that are still there."""
    present = [pod for pod in pods if pod.gone_at is None]
    return CostSummary(
        total_pods=len(present),
        running_pods=sum(pod.status is PodStatus.RUNNING for pod in present),
        usd_per_hour=sum(
            (pod.price_usd_per_hour for pod in present if pod.is_billed), Decimal(0)
        ),
    )


def runway_hours(balance_usd: Decimal, usd_per_hour: Decimal) -> Decimal | None:
    """Return how long the balance lasts; None while nothing spends it."""
    if usd_per_hour <= 0:
        return None
    return max(balance_usd, Decimal(0)) / usd_per_hour


def decide_crossing(
    before: Decimal, after: Decimal, *, threshold: Decimal
) -> Crossing | None:
    """Say whether the cost rose above or came back to the threshold; else None."""
    if before <= threshold < after:
        return Crossing.EXCEEDED
    if after <= threshold < before:
        return Crossing.CLEARED
    return None


def render_usd(amount: Decimal, *, cents: bool = True) -> str:
    """Return dollars for people: `$1,292.10`, or `$1,292` without cents."""
    return f"${amount:,.2f}" if cents else f"${amount:,.0f}"


def render_summary_line(
    summary: CostSummary, *, threshold: Decimal, balance: Decimal | None = None
) -> str:
    """Return the fleet in one line for the log."""
    parts = [
        f"{summary.running_pods}/{summary.total_pods} pods running",
        f"{render_usd(summary.usd_per_hour)}/hour"
        f" ({render_usd(summary.usd_per_day)}/day,"
        f" {render_usd(summary.usd_per_month, cents=False)}/month"
        f" of {HOURS_PER_MONTH} h)",
    ]
    if balance is not None:
        parts.append(f"balance {render_usd(balance)}")
    if summary.usd_per_hour > threshold:
        parts.append(f"over the alert of {render_usd(threshold)}/hour")
    return " · ".join(parts)
