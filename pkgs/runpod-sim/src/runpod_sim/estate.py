"""What there is at one instant: accounts, pods, machines, logs, storage and prices.

Pure, and without a will of its own: it keeps records in step with each other. What
customers do is in pod_operations, what time does is in world.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from runpod_sim import billing
from runpod_sim.accounts import Accounts
from runpod_sim.catalog import Catalog
from runpod_sim.ledger import Cost
from runpod_sim.market import Market
from runpod_sim.model import Account, DeclinedError, LogLine, Pod, Refusal, Runtime
from runpod_sim.network_volumes import NetworkVolumes
from runpod_sim.pod_logs import PodLogs
from runpod_sim.pod_shelf import PodShelf
from runpod_sim.refusals import POD_UNKNOWN
from runpod_sim.runtime import find_runtime
from runpod_sim.stock import Stock
from runpod_sim.templates import Templates


@dataclass(frozen=True)
class WorldSettings:
    """How the simulated platform behaves by default, in simulated seconds."""

    pull_seconds: float = 2.0
    ports_seconds: float = 1.0
    stale_seconds: float = 5.0
    first_balance_usd: Decimal = Decimal(100)


class Estate:
    """Accounts, pods, machines, storage and prices at one instant."""

    def __init__(
        self, catalog: Catalog, settings: WorldSettings, *, seed: int | None
    ) -> None:
        self.settings = settings
        self.rng = random.Random(seed)  # noqa: S311 - identifiers, not secrets
        self.market = Market(catalog)
        self.stock = Stock(catalog, self.rng)
        self.book = Accounts(settings.first_balance_usd)
        self.ledger = self.book.ledger
        self.shelf = PodShelf(self.ledger)
        self.logs = PodLogs()
        self.volumes = NetworkVolumes(catalog, self.ledger, self.rng)
        self.templates = Templates(self.rng)

    @property
    def catalog(self) -> Catalog:
        """Return what is on offer, at the prices of now."""
        return self.market.catalog

    # Accounts -----------------------------------------------------------------

    def open_account(self, api_key: str, now: datetime) -> Account:
        """Return the account behind a key, opened at its first use."""
        return self.book.open(api_key, now)

    def accounts(self) -> tuple[Account, ...]:
        """Return every account that was ever used."""
        return self.book.all()

    def get_account(self, account_id: str) -> Account:
        """Return the account of that id."""
        return self.book.get(account_id)

    def set_pub_key(self, account_id: str, pub_key: str) -> Account:
        """Replace the account's SSH public keys, newline separated."""
        return self.book.set_pub_key(account_id, pub_key)

    def spend_usd_per_hour(self, account_id: str) -> Fraction:
        """Return what everything the account has costs per hour right now."""
        return self.ledger.usd_per_hour(account_id)

    def charges_usd(self, pod_id: str) -> dict[str, Decimal]:
        """Return what a pod has cost so far, by kind (compute, storage)."""
        account_id = self.shelf.get(pod_id).account_id
        until_at = self.book.get(account_id).settled_at
        cpu, gpu, disk = (
            self.ledger.charged_usd(pod_id, cost, until_at)
            for cost in (Cost.CPU, Cost.GPU, Cost.DISK)
        )
        return {
            "compute": billing.as_decimal(cpu + gpu),
            "storage": billing.as_decimal(disk),
        }

    # Reading ------------------------------------------------------------------

    def pods_of(self, account_id: str) -> tuple[Pod, ...]:
        """Return the account's pods; terminated ones have disappeared."""
        return self.shelf.of(account_id)

    def pods(self) -> tuple[Pod, ...]:
        """Return every pod there ever was."""
        return self.shelf.all()

    def find_pod(self, account_id: str, pod_id: str) -> Pod | None:
        """Return a pod of that account, None when it is gone or not theirs."""
        return self.shelf.find(account_id, pod_id)

    def get_pod(self, pod_id: str) -> Pod:
        """Return a pod by id, whatever its state."""
        return self.shelf.get(pod_id)

    def own_pod(
        self, account_id: str, pod_id: str, refusal: Refusal = POD_UNKNOWN
    ) -> Pod:
        """Return a pod of that account.

        Raises:
            DeclinedError: There is none; it says what `refusal` does.
        """
        pod = self.find_pod(account_id, pod_id)
        if pod is None:
            raise DeclinedError(refusal)
        return pod

    def runtime_of(self, pod: Pod, now: datetime) -> Runtime | None:
        """Return what the pod's host reports at that instant."""
        return find_runtime(pod, now, stale_seconds=self.settings.stale_seconds)

    def used_gpus(self) -> Mapping[str, int]:
        """Return the GPUs in use by our pods, by machine id."""
        return self.shelf.used_gpus()

    def log_of(self, pod_id: str) -> tuple[LogLine, ...]:
        """Return the pod's log, oldest first."""
        return self.logs.of(pod_id)

    def append_log(self, pod_id: str, source: str, line: str, now: datetime) -> None:
        """Add a line to a pod's log."""
        self.logs.append(pod_id, source, line, now)

    def put(self, pod: Pod, now: datetime) -> Pod:
        """Keep a pod's new record, with everything before it charged."""
        return self.shelf.put(pod, self.book.charge(pod.account_id, now))
