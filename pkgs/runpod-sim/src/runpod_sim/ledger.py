"""What everything costs and has cost: meters that run at a rate until it changes.

Exact, and independent of how often anybody looks: a meter's amount is its rates times
their stretches of time. It knows no pods and no balances.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from runpod_sim.billing import charge_usd


class Cost(StrEnum):
    """What an amount was for."""

    GPU = "gpu"
    CPU = "cpu"
    DISK = "disk"
    STANDARD = "standard"
    HIGH_PERFORMANCE = "high_performance"


@dataclass(frozen=True)
class Line:
    """Who pays, for which pod or volume, and what for."""

    account_id: str
    subject_id: str
    cost: Cost


@dataclass
class _Meter:
    line: Line
    usd_per_hour: Fraction
    since_at: datetime
    closed_usd: Fraction = Fraction(0)
    past: list[tuple[datetime, datetime, Fraction]] = field(default_factory=list)

    def change(self, usd_per_hour: Fraction, at: datetime) -> None:
        if at > self.since_at and self.usd_per_hour:
            self.closed_usd += charge_usd(self.usd_per_hour, self.since_at, at)
            self.past.append((self.since_at, at, self.usd_per_hour))
        self.usd_per_hour = usd_per_hour
        self.since_at = max(self.since_at, at)

    def total_usd(self, until_at: datetime) -> Fraction:
        if until_at <= self.since_at:
            return self.closed_usd
        return self.closed_usd + charge_usd(self.usd_per_hour, self.since_at, until_at)

    def between_usd(self, since_at: datetime, until_at: datetime) -> Fraction:
        total = Fraction(0)
        open_stretch = (self.since_at, until_at, self.usd_per_hour)
        for begin, end, rate in (*self.past, open_stretch):
            first, last = max(begin, since_at), min(end, until_at)
            if first < last:
                total += charge_usd(rate, first, last)
        return total


class Ledger:
    """All meters, by what they measure."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, Cost], _Meter] = {}
        self._rates: dict[str, Fraction] = defaultdict(Fraction)

    def set_rate(self, line: Line, usd_per_hour: Fraction, at: datetime) -> None:
        """Let a line cost that much from an instant on."""
        key = (line.subject_id, line.cost)
        meter = self._meters.get(key)
        if meter is None:
            if not usd_per_hour:
                return
            meter = self._meters[key] = _Meter(line, Fraction(0), at)
        self._rates[line.account_id] += usd_per_hour - meter.usd_per_hour
        meter.change(usd_per_hour, at)

    def usd_per_hour(self, account_id: str) -> Fraction:
        """Return what everything of an account costs per hour now."""
        return self._rates[account_id]

    def charged_usd(self, subject_id: str, cost: Cost, until_at: datetime) -> Fraction:
        """Return what one thing has cost up to an instant, of one kind."""
        meter = self._meters.get((subject_id, cost))
        return meter.total_usd(until_at) if meter else Fraction(0)

    def between(
        self,
        account_id: str,
        costs: Collection[Cost],
        since_at: datetime,
        until_at: datetime,
    ) -> Iterator[tuple[str, Cost, Fraction]]:
        """Yield subject, kind and amount of what an account paid in a stretch."""
        for (subject_id, cost), meter in self._meters.items():
            if meter.line.account_id == account_id and cost in costs:
                amount = meter.between_usd(since_at, until_at)
                if amount:
                    yield subject_id, cost, amount
