"""The simulated RunPod: accounts, pods, money. A pure state machine.

It does no I/O and reads no clock: every method takes `now`, and what has consequences
returns the effects the shell must perform on the pods' machines. Whoever operates on the
world calls `settle(now)` first: it is what notices an empty balance. It knows neither
GraphQL nor REST. Rules carry the id under which docs/runpod-api.md gives their source.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from runpod_sim import billing
from runpod_sim.catalog import Catalog
from runpod_sim.estate import WorldSettings
from runpod_sim.model import (
    BootMachine,
    DeclinedError,
    Effect,
    NetworkVolume,
    Template,
)
from runpod_sim.pod_operations import STOP_GRACE_SECONDS, PodOperations
from runpod_sim.refusals import TEMPLATE_IN_USE, VOLUME_IN_USE
from runpod_sim.runtime import count_crashes, runtime_at
from runpod_sim.seeding import SeedOrder, make_pods

CRASHES_LOGGED_AT_ONCE = 20
SEEDED_HOURS = 1000

__all__ = ["World", "WorldSettings"]


class World(PodOperations):
    """Accounts, pods and machines, and what happens to them over time."""

    def __init__(
        self, catalog: Catalog, settings: WorldSettings, *, seed: int | None
    ) -> None:
        super().__init__(catalog, settings, seed=seed)
        self._crashes: dict[tuple[str, int], int] = {}

    def set_balance(
        self, account_id: str, balance_usd: Decimal, now: datetime
    ) -> list[Effect]:
        """Give the account exactly that much credit, with what follows from it."""
        effects = self.settle(now)
        self.book.set_balance(account_id, balance_usd)
        return effects + self.settle(now)

    def seed_pods(self, account_id: str, order: SeedOrder, now: datetime) -> list[str]:
        """Make many pods without machines, and give credit for what they cost."""
        made = make_pods(order, account_id, self.catalog, self.stock, self.rng, now)
        ids = [self.put(pod, now).id for pod in made]
        needed = self.spend_usd_per_hour(account_id) * SEEDED_HOURS
        balance = self.get_account(account_id).balance_exact_usd
        if balance < needed:
            self.book.set_balance(account_id, billing.as_decimal(needed))
        return ids

    # Storage and templates --------------------------------------------------------

    def create_network_volume(
        self, wanted: NetworkVolume, now: datetime
    ) -> NetworkVolume:
        """Make a network volume of the wanted account, name, size and site."""
        at = self.book.charge(wanted.account_id, now)
        return self.volumes.create(wanted, at)

    def change_network_volume(
        self, volume: NetworkVolume, name: str, size_gb: int, now: datetime
    ) -> NetworkVolume:
        """Rename a network volume or let it grow."""
        at = self.book.charge(volume.account_id, now)
        return self.volumes.change(volume, name, size_gb, at)

    def delete_network_volume(
        self, account_id: str, volume_id: str, now: datetime
    ) -> None:
        """Delete a network volume that no pod uses."""
        volume = self.volumes.get(account_id, volume_id)
        # rule SIM-VOL-4
        if any(p.spec.network_volume_id == volume_id for p in self.pods_of(account_id)):
            raise DeclinedError(VOLUME_IN_USE)
        self.volumes.delete(volume, self.book.charge(account_id, now))

    def delete_template(self, template: Template) -> None:
        """Delete a template that no pod refers to."""
        owner = template.account_id or ""
        # rule SIM-TPL-4
        if any(pod.spec.template_id == template.id for pod in self.pods_of(owner)):
            raise DeclinedError(TEMPLATE_IN_USE)
        self.templates.delete(template)

    # Time -----------------------------------------------------------------------

    def settle(self, now: datetime) -> list[Effect]:
        """Let time pass up to `now`: charge everyone, boot what is due."""
        effects: list[Effect] = []
        for at in self._instants(now):
            effects += self._settle_accounts(at)
            effects += self._give_up(at)
            if self.market.walk is not None and self.market.walk.next_at <= at:
                self.market.step()
                effects += self.outbid_low(at)
        effects += self._settle_accounts(now)
        for pod in self.shelf.unbooted():
            up_at = runtime_at(pod)
            if up_at is not None and now >= up_at:
                booting = self.put(replace(pod, boot_requested=True), now)
                self.append_log(pod.id, "system", "start container", now)
                effects.append(BootMachine(booting))
        self._log_crashes(now)
        return effects

    def _instants(self, now: datetime) -> Iterator[datetime]:
        """Yield when something is due to happen by itself, in order, up to `now`."""
        while True:
            due = list(self.shelf.failing().values())
            if self.market.walk is not None:
                due.append(self.market.walk.next_at)
            at = min(due, default=None)
            if at is None or at > now:
                return
            yield at

    def _give_up(self, now: datetime) -> list[Effect]:
        effects: list[Effect] = []
        for pod_id, at in list(self.shelf.failing().items()):
            if at <= now:
                pod = self.shelf.get(pod_id)
                ended = self.exit_pod(pod, "Exited by Runpod", at, 0, has_failed=True)
                effects += ended.effects
        return effects

    def outbid_low(self, now: datetime) -> list[Effect]:
        """Take the GPUs of every spot pod whose bid is under the lowest accepted."""
        effects: list[Effect] = []
        for pod in self.shelf.running_spot():
            gpu_type = self.catalog.find_gpu_type(pod.gpu_type_id or "")
            bid = pod.spec.bid_usd_per_hour
            if gpu_type is None or bid is None or not pod.gpu_count:
                continue
            lowest = gpu_type.minimum_bid_usd_per_hour(pod.cloud_type)
            # rule SIM-SPOT-4
            if lowest is not None and bid < lowest:
                effects += self.outbid(pod.id, now).effects
        return effects

    def _log_crashes(self, now: datetime) -> None:
        for pod in self.shelf.crashing():
            key = (pod.id, pod.start_number)
            known, crashes = self._crashes.get(key, 0), count_crashes(pod, now)
            # rule SIM-HALF-7
            for _ in range(max(known, crashes - CRASHES_LOGGED_AT_ONCE), crashes):
                line = "Traceback (most recent call last): container exited, code 1"
                self.append_log(pod.id, "container", line, now)
                self.append_log(pod.id, "system", "start container", now)
            self._crashes[key] = crashes

    def _settle_accounts(self, now: datetime) -> list[Effect]:
        effects: list[Effect] = []
        for account in self.book.all():
            empty_at = self.book.find_empty_at(account.id, now)
            if empty_at is not None:
                # rule SIM-BILL-5
                self.book.charge(account.id, empty_at)
                effects += self._cut_off(account.id, empty_at)
            self.book.charge(account.id, now)
        return effects

    def _cut_off(self, account_id: str, now: datetime) -> list[Effect]:
        effects: list[Effect] = []
        for pod in self.pods_of(account_id):
            if pod.spec.network_volume_id is None:
                transition = self.end_pod(pod, "Terminated by RunPod", now)
            elif pod.is_running:
                transition = self.exit_pod(
                    pod, "Exited by Runpod", now, STOP_GRACE_SECONDS
                )
            else:
                continue
            effects += transition.effects
        return effects
