"""One operation at a time: let time pass, apply faults, change the world, act on it.

Both wire faces go through here, so that GraphQL and REST agree. It knows neither wire.
"""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from runpod_sim.asyncssh_server import PodSessions
from runpod_sim.clock import Clock
from runpod_sim.faults import Fault, FaultBook, Kind
from runpod_sim.machines import Machines
from runpod_sim.market import Walk
from runpod_sim.model import (
    Account,
    BootPlan,
    DeclinedError,
    Mishap,
    NetworkVolume,
    Pod,
    PodSpec,
    Refusal,
    Runtime,
    Transition,
)
from runpod_sim.refusals import (
    LOW_BALANCE,
    NO_CAPACITY,
    NO_GPU_ON_HOST,
    NO_SPOT_CAPACITY,
    SOMETHING_WRONG,
)
from runpod_sim.runtime import find_runtime
from runpod_sim.seeding import SeedOrder
from runpod_sim.world import World

TICK_SECONDS = 0.05


class NullResult(Exception):  # noqa: N818 - an answer of the platform, not a failure
    """The platform answers null and says nothing, which means no capacity too."""


class Service:
    """The platform's operations, on behalf of one account each."""

    def __init__(
        self, world: World, machines: Machines, clock: Clock, faults: FaultBook
    ) -> None:
        self.world = world
        self.machines = machines
        self.clock = clock
        self.faults = faults

    def now(self) -> datetime:
        """Let time pass up to now, and return it."""
        now = self.clock.now()
        self.machines.perform(self.world.settle(now))
        return now

    async def run(self) -> None:
        """Let time pass until cancelled: pulls end, bills grow, balances run out."""
        while True:
            self.now()
            await asyncio.sleep(TICK_SECONDS)

    def _done(self, transition: Transition) -> Pod:
        self.machines.perform(transition.effects)
        return transition.pod

    def _boot_plan(self, operations: Collection[str], cloud_type: str) -> BootPlan:
        settings = self.world.settings
        slow = self.faults.take(Kind.SLOW_PULL, operations)
        never = self.faults.take(Kind.PORTS_NEVER, operations)
        plan = BootPlan(
            pull_seconds=slow.duration_seconds if slow else settings.pull_seconds,
            ports_seconds=None if never else settings.ports_seconds,
        )
        for mishap in Mishap:
            # rule SIM-HALF-9
            if mishap is Mishap.NO_PUBLIC_IP and cloud_type != "COMMUNITY":
                continue
            fault = self.faults.take(Kind(mishap.value), operations)
            if fault is not None:
                seconds = fault.duration_seconds
                return replace(plan, mishap=mishap, mishap_seconds=seconds)
        return plan

    def _cloud_of(self, account: Account, pod_id: str) -> str:
        pod = self.world.find_pod(account.id, pod_id)
        return pod.cloud_type if pod else ""

    def _refuse_by_fault(
        self, operations: Collection[str], refusals: dict[Kind, Refusal]
    ) -> None:
        for kind, refusal in refusals.items():
            if self.faults.take(kind, operations):
                raise DeclinedError(refusal)

    def open_account(self, api_key: str) -> Account:
        """Return the account behind a key."""
        return self.world.open_account(api_key, self.now())

    def deploy(
        self, account: Account, spec: PodSpec, operations: Collection[str]
    ) -> Pod:
        """Rent a pod.

        Raises:
            DeclinedError: RunPod declines.
            NullResult: RunPod answers null.
        """
        now = self.now()
        is_spot = spec.bid_usd_per_hour is not None
        self._refuse_by_fault(
            operations,
            {
                Kind.NO_CAPACITY: NO_SPOT_CAPACITY if is_spot else NO_CAPACITY,
                Kind.INSUFFICIENT_BALANCE: LOW_BALANCE,
                Kind.INTERNAL_ERROR: SOMETHING_WRONG,
            },
        )
        if self.faults.take(Kind.NULL_RESULT, operations):
            raise NullResult
        boot = self._boot_plan(operations, spec.cloud_type)
        # rule SIM-HALF-12
        if self.faults.take(Kind.NO_SSH_PORT, operations):
            ports = tuple(port for port in spec.ports if port != "22/tcp")
            spec = replace(spec, ports=ports)
        return self._done(self.world.deploy(account.id, spec, now, boot=boot))

    def resume(
        self,
        account: Account,
        pod_id: str,
        operations: Collection[str],
        *,
        gpu_count: int | None = None,
        bid_usd_per_hour: Decimal | None = None,
        zero_gpu: bool = False,
    ) -> Pod:
        """Start a stopped pod."""
        now = self.now()
        if not zero_gpu:
            self._refuse_by_fault(operations, {Kind.NO_GPU_ON_RESUME: NO_GPU_ON_HOST})
        if "resume" in operations:
            self._refuse_by_fault(
                operations,
                {
                    Kind.INSUFFICIENT_BALANCE: LOW_BALANCE,
                    Kind.INTERNAL_ERROR: SOMETHING_WRONG,
                },
            )
        boot = self._boot_plan(operations, self._cloud_of(account, pod_id))
        # rule SIM-HALF-11
        zero_gpu = zero_gpu or bool(self.faults.take(Kind.ZERO_GPU, operations))
        return self._done(
            self.world.resume(
                account.id,
                pod_id,
                now,
                boot=boot,
                gpu_count=gpu_count,
                bid_usd_per_hour=bid_usd_per_hour,
                zero_gpu=zero_gpu,
            )
        )

    def restart(
        self, account: Account, pod_id: str, operations: Collection[str]
    ) -> Pod:
        """Restart a running pod's container."""
        now = self.now()
        boot = self._boot_plan(operations, self._cloud_of(account, pod_id))
        return self._done(self.world.restart(account.id, pod_id, now, boot=boot))

    def edit(
        self, account: Account, pod_id: str, spec: PodSpec, operations: Collection[str]
    ) -> Pod:
        """Change a pod's container settings."""
        now = self.now()
        boot = self._boot_plan(operations, self._cloud_of(account, pod_id))
        return self._done(self.world.edit(account.id, pod_id, spec, now, boot))

    def rename(self, account: Account, pod_id: str, name: str) -> Pod:
        """Rename a pod."""
        return self._done(self.world.rename(account.id, pod_id, name, self.now()))

    def lock(self, account: Account, pod_id: str, *, locked: bool) -> Pod:
        """Lock or unlock a pod."""
        now = self.now()
        return self._done(self.world.lock(account.id, pod_id, now, locked=locked))

    def stop(self, account: Account, pod_id: str) -> Pod:
        """Stop a pod."""
        return self._done(self.world.stop(account.id, pod_id, self.now()))

    def terminate(self, account: Account, pod_id: str) -> Pod:
        """Delete a pod."""
        return self._done(self.world.terminate(account.id, pod_id, self.now()))

    # RunPod's SSH proxy ------------------------------------------------------------

    def find_pod_by_host(self, host_id: str) -> Pod | None:
        """Return the pod that is assigned to a machine under that id."""
        pods = self.world.pods()
        return next((p for p in pods if p.host_id == host_id and p.is_running), None)

    def account_of(self, pod: Pod) -> Account:
        """Return whose pod it is."""
        return next(a for a in self.world.accounts() if a.id == pod.account_id)

    def sessions_in(self, pod: Pod) -> PodSessions | None:
        """Return the way into a pod that runs, None for one that does not."""
        return self.machines.sessions_in(pod)

    def outbid(self, pod_id: str) -> Pod:
        """Take a spot pod's GPUs away."""
        return self._done(self.world.outbid(pod_id, self.now()))

    def create_network_volume(
        self,
        account: Account,
        name: str,
        size_gb: int,
        data_center_id: str,
        tier: str = "",
    ) -> NetworkVolume:
        """Make a network volume; a tier of "" is the site's own."""
        wanted = NetworkVolume("", account.id, name, size_gb, data_center_id, tier)
        return self.world.create_network_volume(wanted, self.now())

    def change_network_volume(
        self, account: Account, volume_id: str, name: str | None, size_gb: int | None
    ) -> NetworkVolume:
        """Rename a network volume or let it grow; None leaves what is."""
        now = self.now()
        volume = self.world.volumes.get(account.id, volume_id)
        return self.world.change_network_volume(
            volume, name or volume.name, size_gb or volume.size_gb, now
        )

    def delete_network_volume(self, account: Account, volume_id: str) -> None:
        """Delete a network volume with its data."""
        self.world.delete_network_volume(account.id, volume_id, self.now())
        self.machines.delete_volume(volume_id)

    # The market, and many pods at once ---------------------------------------------

    def set_price(
        self,
        gpu_type_id: str,
        cloud: str,
        *,
        usd_per_hour: Decimal | None,
        minimum_bid_usd_per_hour: Decimal | None,
    ) -> None:
        """Set a price or a lowest bid; spot pods under it lose their GPUs."""
        now = self.now()
        self.world.market.set_price(
            gpu_type_id,
            cloud,
            usd_per_hour=usd_per_hour,
            minimum_bid_usd_per_hour=minimum_bid_usd_per_hour,
        )
        self.machines.perform(self.world.outbid_low(now))

    def set_walk(self, walk: Walk | None) -> None:
        """Let lowest bids move by themselves from now on, or no more."""
        self.now()
        self.world.market.walk = walk

    def seed_pods(self, account: Account, order: SeedOrder) -> list[str]:
        """Make many pods without machines, with credit for them."""
        return self.world.seed_pods(account.id, order, self.now())

    def apply_at_once(self, fault: Fault) -> None:
        """Do what a fault that strikes when it is set says."""
        now = self.now()
        if fault.kind is Kind.BALANCE_ZERO:
            for account in self.world.accounts():
                effects = self.world.set_balance(account.id, Decimal(0), now)
                self.machines.perform(effects)
            return
        for pod in self.world.pods():
            if fault.pod_id in {None, pod.id} and pod.terminated_at is None:
                with contextlib.suppress(DeclinedError):
                    self._strike(fault, pod, now)

    def _strike(self, fault: Fault, pod: Pod, now: datetime) -> None:
        if fault.kind is Kind.OUTBID:
            self.outbid(pod.id)
        elif fault.kind is Kind.HOST_LOST:
            for transition in self.world.lose_host(pod.id, now):
                self._done(transition)
        elif fault.kind is Kind.LOCKED:
            # rule SIM-HALF-13
            self.world.lock(pod.account_id, pod.id, now, locked=True)

    def runtime_of(
        self, pod: Pod, now: datetime, wire: str
    ) -> tuple[Runtime | None, int]:
        """Return what the host reports and its uptime, with the faults of reading."""
        runtime = find_runtime(
            pod, now, stale_seconds=self.world.settings.stale_seconds
        )
        if runtime is None:
            return None, 0
        names = ("list", "get", wire)
        if self.faults.take(Kind.RUNTIME_GAP, names):
            return None, 0
        negative = self.faults.take(Kind.NEGATIVE_UPTIME, names)
        if negative:
            return runtime, -int(negative.duration_seconds)
        return runtime, runtime.uptime_seconds
