"""What may still be spent, booked pod by pod while one decision is made; pure.

A cap per day is kept by leases: a pod gets no longer one than the money left pays for,
so that it ends in time even where nobody is left to end it.
"""

from datetime import timedelta
from decimal import Decimal

SHORTEST_LEASE = timedelta(minutes=15)


class Budget:
    """Money left for one pool; None is without a cap."""

    def __init__(self, *, hour_left: Decimal | None, day_left: Decimal | None) -> None:
        self._hour_left = hour_left
        self._day_left = day_left

    def book(self, price: Decimal, lease: timedelta) -> tuple[timedelta | None, str]:
        """Take one pod's money; return its lease, or None and why there is none."""
        if self._hour_left is not None and price > self._hour_left:
            return None, (
                f"not rented: ${price}/h is above the ${max(self._hour_left, 0)}/h "
                "that max_usd_per_hour leaves"
            )
        affordable = self._find_affordable(price, lease)
        if affordable is None:
            return None, (
                "not rented: max_usd_per_day leaves "
                f"${max(self._day_left or 0, 0):.2f}, not enough for "
                f"{render_length(SHORTEST_LEASE)} at ${price}/h"
            )
        if self._hour_left is not None:
            self._hour_left -= price
        self._take(price, affordable)
        return affordable, ""

    def renew(
        self, price: Decimal, lease: timedelta, left: timedelta
    ) -> timedelta | None:
        """Return a running pod's new lease from now on; None where there is no money.

        Args:
            left: What it has left of its lease, which is paid for already.
        """
        left = max(left, timedelta())
        more = self._find_affordable(price, lease - left)
        if more is None:
            return None
        self._take(price, more)
        return left + more

    def _find_affordable(self, price: Decimal, lease: timedelta) -> timedelta | None:
        """Return as much of a lease as the day's money pays for, None for too little."""
        if self._day_left is None or price <= 0:
            return lease
        hours = max(self._day_left, Decimal(0)) / price
        affordable = min(lease, timedelta(hours=float(hours)))
        # whole minutes, downwards: a lease is written to the minute above
        affordable = timedelta(minutes=affordable.total_seconds() // 60 - 1)
        return affordable if affordable >= min(SHORTEST_LEASE, lease) else None

    def _take(self, price: Decimal, length: timedelta) -> None:
        if self._day_left is not None:
            self._day_left -= price * Decimal(length.total_seconds()) / 3600


def render_length(length: timedelta) -> str:
    """Return a length of time for people."""
    seconds = length.total_seconds()
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
