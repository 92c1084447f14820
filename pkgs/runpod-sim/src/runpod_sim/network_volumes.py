"""Network volumes: storage in one data center that outlives pods. Pure."""

import random
from dataclasses import replace
from datetime import datetime

from runpod_sim import billing
from runpod_sim.catalog import Catalog
from runpod_sim.ledger import Cost, Ledger, Line
from runpod_sim.model import DeclinedError, NetworkVolume
from runpod_sim.refusals import (
    VOLUME_SHRINKS,
    VOLUME_UNKNOWN,
    bad_volume,
)
from runpod_sim.stock import new_id

SMALLEST_GB = 10
LARGEST_GB = 4096


class NetworkVolumes:
    """Every account's network volumes."""

    def __init__(self, catalog: Catalog, ledger: Ledger, rng: random.Random) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._rng = rng
        self._volumes: dict[str, NetworkVolume] = {}

    def of(self, account_id: str) -> tuple[NetworkVolume, ...]:
        """Return the account's network volumes."""
        return tuple(v for v in self._volumes.values() if v.account_id == account_id)

    def find(self, account_id: str, volume_id: str | None) -> NetworkVolume | None:
        """Return a volume of that account, None when there is none."""
        volume = self._volumes.get(volume_id or "")
        if volume is None or volume.account_id != account_id:
            return None
        return volume

    def get(self, account_id: str, volume_id: str) -> NetworkVolume:
        """Return a volume of that account.

        Raises:
            DeclinedError: There is none.
        """
        volume = self.find(account_id, volume_id)
        if volume is None:
            raise DeclinedError(VOLUME_UNKNOWN)
        return volume

    def create(self, wanted: NetworkVolume, at: datetime) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted.

        Args:
            wanted: With any id, and a tier of "" for the site's own.

        Raises:
            DeclinedError: No such site or tier, or no such size.
        """
        center = self._catalog.find_data_center(wanted.data_center_id)
        if center is None:
            raise DeclinedError(bad_volume("the data center is unknown"))
        # rule SIM-VOL-1
        if not SMALLEST_GB <= wanted.size_gb <= LARGEST_GB:
            size = f"the size is not between {SMALLEST_GB} and {LARGEST_GB} GB"
            raise DeclinedError(bad_volume(size))
        # rule SIM-VOL-2
        tier = wanted.tier or next(iter(center.volume_types), "")
        if tier not in center.volume_types:
            raise DeclinedError(bad_volume("the data center has no such storage"))
        volume = replace(wanted, id=new_id(self._rng, 10), tier=tier)
        return self._put(volume, at)

    def change(
        self, volume: NetworkVolume, name: str, size_gb: int, at: datetime
    ) -> NetworkVolume:
        """Rename a volume or let it grow.

        Raises:
            DeclinedError: It would shrink, or exceed the largest size.
        """
        # rule SIM-VOL-3
        if size_gb < volume.size_gb:
            raise DeclinedError(VOLUME_SHRINKS)
        if size_gb > LARGEST_GB:
            raise DeclinedError(bad_volume(f"the size is over {LARGEST_GB} GB"))
        return self._put(replace(volume, name=name, size_gb=size_gb), at)

    def delete(self, volume: NetworkVolume, at: datetime) -> None:
        """Delete a volume, which nothing uses any more."""
        del self._volumes[volume.id]
        for cost in (Cost.STANDARD, Cost.HIGH_PERFORMANCE):
            line = Line(volume.account_id, volume.id, cost)
            self._ledger.set_rate(line, billing.FREE, at)

    def _put(self, volume: NetworkVolume, at: datetime) -> NetworkVolume:
        self._volumes[volume.id] = volume
        cost = Cost(volume.tier.lower())
        rate = billing.network_volume_usd_per_hour(volume)
        self._ledger.set_rate(Line(volume.account_id, volume.id, cost), rate, at)
        return volume
