"""The simulated RunPod: accounts, pods, money. A pure state machine.

It does no I/O and reads no clock: every method takes `now`, and every transition
returns the effects the shell must perform on the pod's machine. Whoever operates on the
world calls `settle(now)` first: it is what notices an empty balance. It knows neither
GraphQL nor REST. Rules carry the id under which docs/runpod-api.md gives their source.
"""

import hashlib
import random
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from runpod_sim import billing
from runpod_sim.catalog import Catalog
from runpod_sim.model import (
    Account,
    BootMachine,
    BootPlan,
    DeclinedError,
    DesiredStatus,
    Effect,
    LogLine,
    Machine,
    NetworkVolume,
    Pod,
    PodSpec,
    Refusal,
    Runtime,
    StopMachine,
    Transition,
)
from runpod_sim.refusals import (
    LOCKED,
    LOW_BALANCE,
    NO_CAPACITY,
    NO_GPU_ON_HOST,
    NO_SPOT_CAPACITY,
    NOT_RUNNING,
    POD_UNKNOWN,
    SOMETHING_WRONG,
    SPOT_RESUME,
    TERMINATE_UNKNOWN,
    over_spend_limit,
)
from runpod_sim.runtime import find_runtime, parse_ports, runtime_at
from runpod_sim.stock import Stock, new_id

LOG_LINES_KEPT = 5000
STOP_GRACE_SECONDS = 2.0
OUTBID_GRACE_SECONDS = 5.0
DATE_FORMAT = "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"


@dataclass(frozen=True)
class WorldSettings:
    """How the simulated platform behaves by default, in simulated seconds."""

    pull_seconds: float = 2.0
    ports_seconds: float = 1.0
    stale_seconds: float = 5.0
    first_balance_usd: Decimal = Decimal(100)


class World:
    """Accounts, pods and machines, and what happens to them over time."""

    def __init__(
        self, catalog: Catalog, settings: WorldSettings, *, seed: int | None
    ) -> None:
        self.catalog = catalog
        self.settings = settings
        self._rng = random.Random(seed)  # noqa: S311 - identifiers, not secrets
        self.stock = Stock(catalog, self._rng)
        self._accounts: dict[str, Account] = {}
        self._pods: dict[str, Pod] = {}
        self._volumes: dict[str, NetworkVolume] = {}
        self._charges: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
        self._logs: dict[str, deque[LogLine]] = {}

    # Accounts -----------------------------------------------------------------

    def open_account(self, api_key: str, now: datetime) -> Account:
        """Return the account behind a key, opened at its first use."""
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        account_id = f"user_{digest[:24]}"
        known = self._accounts.get(account_id)
        if known is not None:
            return known
        account = Account(
            id=account_id,
            email=f"{digest[:8]}@example.com",
            deposited_usd=self.settings.first_balance_usd,
            settled_at=now,
        )
        self._accounts[account_id] = account
        return account

    def accounts(self) -> tuple[Account, ...]:
        """Return every account that was ever used."""
        return tuple(self._accounts.values())

    def get_account(self, account_id: str) -> Account:
        """Return the account of that id."""
        return self._accounts[account_id]

    def set_pub_key(self, account_id: str, pub_key: str) -> Account:
        """Replace the account's SSH public keys, newline separated."""
        self._accounts[account_id] = replace(
            self._accounts[account_id], pub_key=pub_key
        )
        return self._accounts[account_id]

    def set_balance(
        self, account_id: str, balance_usd: Decimal, now: datetime
    ) -> list[Effect]:
        """Give the account exactly that much credit, with what follows from it."""
        effects = self.settle(now)
        account = self._accounts[account_id]
        difference = Fraction(balance_usd) - account.balance_exact_usd
        self._accounts[account_id] = replace(
            account, charged_usd=account.charged_usd - difference
        )
        return effects + self.settle(now)

    def spend_usd_per_hour(self, account_id: str) -> Fraction:
        """Return what everything the account has costs per hour right now."""
        pods = sum(
            (billing.pod_usd_per_hour(p) for p in self.pods_of(account_id)),
            Fraction(0),
        )
        volumes = sum(
            (
                billing.network_volume_usd_per_hour(v)
                for v in self.network_volumes_of(account_id)
            ),
            Fraction(0),
        )
        return pods + volumes

    # Reading ------------------------------------------------------------------

    def pods_of(self, account_id: str) -> tuple[Pod, ...]:
        """Return the account's pods; terminated ones have disappeared."""
        # rule SIM-POD-7
        return tuple(
            pod
            for pod in self._pods.values()
            if pod.account_id == account_id and pod.terminated_at is None
        )

    def pods(self) -> tuple[Pod, ...]:
        """Return every pod there ever was."""
        return tuple(self._pods.values())

    def find_pod(self, account_id: str, pod_id: str) -> Pod | None:
        """Return a pod of that account, None when it is gone or not theirs."""
        pod = self._pods.get(pod_id)
        if pod is None or pod.account_id != account_id or pod.terminated_at is not None:
            return None
        return pod

    def get_pod(self, pod_id: str) -> Pod:
        """Return a pod by id, whatever its state."""
        return self._pods[pod_id]

    def _own(self, account_id: str, pod_id: str, refusal: Refusal = POD_UNKNOWN) -> Pod:
        pod = self.find_pod(account_id, pod_id)
        if pod is None:
            raise DeclinedError(refusal)
        return pod

    def runtime_of(self, pod: Pod, now: datetime) -> Runtime | None:
        """Return what the pod's host reports at that instant."""
        return find_runtime(pod, now, stale_seconds=self.settings.stale_seconds)

    def used_gpus(self) -> dict[str, int]:
        """Return the GPUs in use by our pods, by machine id."""
        used: dict[str, int] = defaultdict(int)
        for pod in self._pods.values():
            if pod.is_running and pod.gpu_type_id is not None:
                used[pod.machine_id] += pod.gpu_count
        return used

    def log_of(self, pod_id: str) -> tuple[LogLine, ...]:
        """Return the pod's log, oldest first."""
        return tuple(self._logs.get(pod_id, ()))

    def append_log(self, pod_id: str, source: str, line: str, now: datetime) -> None:
        """Add a line to a pod's log."""
        lines = self._logs.setdefault(pod_id, deque(maxlen=LOG_LINES_KEPT))
        # Each line's instant is its own, as readers resume a stream after one.
        last_at = lines[-1].at if lines else now - timedelta(microseconds=1)
        at = max(now, last_at + timedelta(microseconds=1))
        lines.append(LogLine(at=at, source=source, line=line))

    def charges_usd(self, pod_id: str) -> dict[str, Decimal]:
        """Return what a pod has cost so far, by kind (compute, storage)."""
        return {
            kind: billing.as_decimal(self._charges[pod_id, kind])
            for kind in ("compute", "storage")
        }

    # Pods ---------------------------------------------------------------------

    def deploy(
        self, account_id: str, spec: PodSpec, now: datetime, *, boot: BootPlan
    ) -> Transition:
        """Rent a pod; it bills from the moment this returns.

        Raises:
            DeclinedError: Nothing fits, or the account may not spend that much.
        """
        spec = self._completed(account_id, spec)
        machine = self.stock.place(spec, self.used_gpus())
        if machine is None:
            # rule SIM-POD-11
            is_spot = spec.bid_usd_per_hour is not None
            raise DeclinedError(NO_SPOT_CAPACITY if is_spot else NO_CAPACITY)
        usd_per_hour = self._price(spec, machine)
        self._check_credit(account_id, usd_per_hour)
        pod = self._new_pod(account_id, spec, machine, usd_per_hour, now, boot)
        self._pods[pod.id] = pod
        self.append_log(pod.id, "system", f"create pod on {machine.id}", now)
        self.append_log(pod.id, "system", f"pull image {spec.image}", now)
        return Transition(pod)

    def _completed(self, account_id: str, spec: PodSpec) -> PodSpec:
        env = dict(spec.env)
        pub_key = self._accounts[account_id].pub_key
        # rule SIM-SSH-1
        if spec.start_ssh and pub_key:
            env.setdefault("PUBLIC_KEY", pub_key)
        # rule SIM-SSH-2
        if spec.start_jupyter:
            env.setdefault("JUPYTER_PASSWORD", new_id(self._rng, 20))
        return replace(spec, env=tuple(env.items()))

    def _price(self, spec: PodSpec, machine: Machine) -> Decimal:
        if spec.cpu_flavor_id is not None:
            flavor = self.catalog.find_cpu_flavor(spec.cpu_flavor_id)
            if flavor is None:
                raise DeclinedError(NO_CAPACITY)
            return flavor.usd_per_vcpu_hour * spec.vcpu_count
        gpu_type = self.catalog.find_gpu_type(machine.gpu_type_id or "")
        price = gpu_type.usd_per_hour(machine.cloud_type) if gpu_type else None
        if gpu_type is None or price is None:
            raise DeclinedError(NO_CAPACITY)
        if spec.bid_usd_per_hour is None:
            return price * spec.gpu_count
        # rule SIM-SPOT-1
        minimum = gpu_type.minimum_bid_usd_per_hour(machine.cloud_type)
        if minimum is None or spec.bid_usd_per_hour < minimum:
            raise DeclinedError(NO_SPOT_CAPACITY)
        return spec.bid_usd_per_hour * spec.gpu_count

    def _check_credit(self, account_id: str, usd_per_hour: Decimal) -> None:
        account = self._accounts[account_id]
        spending = self.spend_usd_per_hour(account_id)
        # rule SIM-BILL-4
        if spending + Fraction(usd_per_hour) > account.spend_limit_usd_per_hour:
            raise DeclinedError(over_spend_limit(account.spend_limit_usd_per_hour))
        # rule SIM-BILL-3
        if account.balance_exact_usd < Fraction(usd_per_hour):
            raise DeclinedError(LOW_BALANCE)

    def _new_pod(
        self,
        account_id: str,
        spec: PodSpec,
        machine: Machine,
        usd_per_hour: Decimal,
        now: datetime,
        boot: BootPlan,
    ) -> Pod:
        gpu_type = self.catalog.find_gpu_type(machine.gpu_type_id or "")
        # rule SIM-ID-1
        return Pod(
            id=new_id(self._rng, 14),
            account_id=account_id,
            spec=spec,
            machine_id=machine.id,
            host_suffix=f"{self._rng.getrandbits(32):08x}",
            cloud_type=machine.cloud_type,
            data_center_id=machine.data_center_id,
            gpu_type_id=machine.gpu_type_id,
            gpu_count=spec.gpu_count if gpu_type else 0,
            usd_per_hour=usd_per_hour,
            memory_gb=(
                gpu_type.host_memory_gb_per_gpu * spec.gpu_count
                if gpu_type
                else spec.memory_gb
            ),
            vcpu_count=(
                gpu_type.vcpu_per_gpu * spec.gpu_count if gpu_type else spec.vcpu_count
            ),
            # rule SIM-POD-1
            desired_status=DesiredStatus.RUNNING,
            last_status_change=f"Rented by User: {now.strftime(DATE_FORMAT)}",
            created_at=now,
            started_at=now,
            boot=boot,
        )

    def stop(self, account_id: str, pod_id: str, now: datetime) -> Transition:
        """Stop a pod: its GPUs are released, its container disk is wiped."""
        pod = self._own(account_id, pod_id)
        if pod.locked:
            raise DeclinedError(LOCKED)
        if not pod.is_running:
            return Transition(pod)
        return self._exit(pod, "Exited by user", now, STOP_GRACE_SECONDS)

    def _exit(
        self, pod: Pod, reason: str, now: datetime, grace_seconds: float
    ) -> Transition:
        self._charge(pod.account_id, now)
        # rule SIM-POD-6
        stopped = replace(
            pod,
            desired_status=DesiredStatus.EXITED,
            last_status_change=f"{reason}: {now.strftime(DATE_FORMAT)}",
            stopped_at=now,
        )
        self._pods[pod.id] = stopped
        self.append_log(pod.id, "system", "stop container", now)
        return Transition(stopped, (StopMachine(stopped, grace_seconds),))

    def resume(
        self,
        account_id: str,
        pod_id: str,
        now: datetime,
        *,
        boot: BootPlan,
        gpu_count: int | None = None,
        bid_usd_per_hour: Decimal | None = None,
        zero_gpu: bool = False,
    ) -> Transition:
        """Start a stopped pod on its own machine.

        Args:
            gpu_count: None for as many as before.
            bid_usd_per_hour: Given for spot pods, and for them only.
            zero_gpu: Start with CPUs alone, to get at the data.

        Raises:
            DeclinedError: Unknown pod, a spot pod without a bid, no free GPU, no credit.
        """
        pod = self._own(account_id, pod_id)
        # rule SIM-SPOT-2
        if pod.is_spot != (bid_usd_per_hour is not None) and not zero_gpu:
            raise DeclinedError(SPOT_RESUME)
        if pod.is_running:
            return Transition(pod)
        wanted = pod.spec.gpu_count if gpu_count is None else gpu_count
        if zero_gpu or pod.gpu_type_id is None:
            wanted = 0
        elif wanted < 1 or wanted > self.stock.free_gpus(
            pod.machine_id, self.used_gpus()
        ):
            # rule SIM-POD-8
            raise DeclinedError(NO_GPU_ON_HOST)
        spec = pod.spec
        if bid_usd_per_hour is not None:
            spec = replace(spec, bid_usd_per_hour=bid_usd_per_hour)
        return self._start(replace(pod, spec=spec), wanted, now, boot)

    def _start(
        self,
        pod: Pod,
        gpus: int,
        now: datetime,
        boot: BootPlan,
    ) -> Transition:
        machine = self.stock.get(pod.machine_id)
        usd_per_hour = pod.usd_per_hour
        if pod.gpu_type_id is not None:
            spec = replace(pod.spec, gpu_count=max(1, gpus))
            # rule SIM-POD-9
            usd_per_hour = self._price(spec, machine) if gpus else Decimal(0)
        self._charge(pod.account_id, now)
        if not pod.is_running:
            self._check_credit(pod.account_id, usd_per_hour)
        started = replace(
            pod,
            gpu_count=gpus,
            usd_per_hour=usd_per_hour,
            desired_status=DesiredStatus.RUNNING,
            last_status_change=f"Resumed by user: {now.strftime(DATE_FORMAT)}",
            started_at=now,
            stopped_at=None,
            boot=boot,
            start_number=pod.start_number + 1,
            boot_requested=False,
            # rule SIM-PORT-2
            public_ports=(),
            http_ports=(),
        )
        self._pods[pod.id] = started
        self.append_log(pod.id, "system", "start container", now)
        return Transition(started)

    def restart(
        self, account_id: str, pod_id: str, now: datetime, *, boot: BootPlan
    ) -> Transition:
        """Stop and start a running pod's container in one step."""
        pod = self._own(account_id, pod_id)
        if pod.locked:
            raise DeclinedError(LOCKED)
        if not pod.is_running:
            raise DeclinedError(NOT_RUNNING)
        halted = StopMachine(pod, STOP_GRACE_SECONDS)
        started = self._start(pod, pod.gpu_count, now, boot)
        return Transition(started.pod, (halted, *started.effects))

    def edit(
        self, account_id: str, pod_id: str, spec: PodSpec, now: datetime, boot: BootPlan
    ) -> Transition:
        """Change a pod's container settings, which resets a running container."""
        pod = self._own(account_id, pod_id)
        # rule SIM-POD-13
        if spec.volume_gb < pod.spec.volume_gb:
            raise DeclinedError(SOMETHING_WRONG)
        self._charge(account_id, now)
        self._pods[pod_id] = replace(pod, spec=spec)
        if not pod.is_running:
            return Transition(self._pods[pod_id])
        return self.restart(account_id, pod_id, now, boot=boot)

    def rename(self, account_id: str, pod_id: str, name: str) -> Transition:
        """Give a pod another name, without a restart."""
        pod = self._own(account_id, pod_id)
        self._pods[pod_id] = replace(pod, spec=replace(pod.spec, name=name))
        return Transition(self._pods[pod_id])

    def lock(self, account_id: str, pod_id: str, *, locked: bool) -> Transition:
        """Lock a pod against stop and reset, or unlock it."""
        pod = self._own(account_id, pod_id)
        self._pods[pod_id] = replace(pod, locked=locked)
        return Transition(self._pods[pod_id])

    def terminate(self, account_id: str, pod_id: str, now: datetime) -> Transition:
        """Delete a pod and its disks."""
        pod = self._own(account_id, pod_id, TERMINATE_UNKNOWN)
        return self._terminate(pod, "Terminated by user", now)

    def _terminate(self, pod: Pod, reason: str, now: datetime) -> Transition:
        self._charge(pod.account_id, now)
        # rule SIM-POD-7
        gone = replace(
            pod,
            desired_status=DesiredStatus.EXITED,
            last_status_change=f"{reason}: {now.strftime(DATE_FORMAT)}",
            stopped_at=pod.stopped_at or now,
            terminated_at=now,
        )
        self._pods[pod.id] = gone
        self.append_log(pod.id, "system", "terminate pod", now)
        return Transition(
            gone, (StopMachine(gone, STOP_GRACE_SECONDS, delete_volume=True),)
        )

    def outbid(self, pod_id: str, now: datetime) -> Transition:
        """Take a running spot pod's GPUs away, as a higher bid does."""
        pod = self._pods[pod_id]
        if not pod.is_running or not pod.is_spot:
            raise DeclinedError(
                Refusal(f"pod {pod_id} is no running spot pod", "RUNPOD", 409)
            )
        # rule SIM-SPOT-3
        return self._exit(pod, "Outbid", now, OUTBID_GRACE_SECONDS)

    def attach(
        self,
        pod_id: str,
        start_number: int,
        public_ports: Iterable[tuple[int, int]],
    ) -> bool:
        """Record the public ports of a machine that has come up.

        Returns:
            False when that start is over and its machine is not wanted any more.
        """
        pod = self._pods[pod_id]
        if pod.start_number != start_number or not pod.is_running:
            return False
        http = tuple(
            (port, self._rng.randrange(60_000, 61_000))
            for port in parse_ports(pod, "http")
        )
        self._pods[pod_id] = replace(
            pod, public_ports=tuple(public_ports), http_ports=http
        )
        return True

    # Network volumes ------------------------------------------------------------

    def network_volumes_of(self, account_id: str) -> tuple[NetworkVolume, ...]:
        """Return the account's network volumes."""
        return tuple(v for v in self._volumes.values() if v.account_id == account_id)

    def create_network_volume(
        self,
        account_id: str,
        name: str,
        size_gb: int,
        data_center_id: str,
        now: datetime,
    ) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted."""
        if self.catalog.find_data_center(data_center_id) is None or size_gb < 1:
            raise DeclinedError(SOMETHING_WRONG)
        self._charge(account_id, now)
        volume = NetworkVolume(
            new_id(self._rng, 10), account_id, name, size_gb, data_center_id
        )
        self._volumes[volume.id] = volume
        return volume

    def delete_network_volume(
        self, account_id: str, volume_id: str, now: datetime
    ) -> None:
        """Delete a network volume that no pod uses."""
        volume = self._volumes.get(volume_id)
        if volume is None or volume.account_id != account_id:
            raise DeclinedError(Refusal("network volume not found", "NOT_FOUND", 404))
        if any(p.spec.network_volume_id == volume_id for p in self.pods_of(account_id)):
            raise DeclinedError(Refusal("network volume is in use", "RUNPOD", 409))
        self._charge(account_id, now)
        del self._volumes[volume_id]

    # Time -----------------------------------------------------------------------

    def settle(self, now: datetime) -> list[Effect]:
        """Let time pass up to `now`: charge everyone, boot what is due."""
        effects: list[Effect] = []
        for account_id in list(self._accounts):
            effects += self._settle_account(account_id, now)
        for pod in list(self._pods.values()):
            if pod.is_running and not pod.boot_requested and now >= runtime_at(pod):
                booting = replace(pod, boot_requested=True)
                self._pods[pod.id] = booting
                self.append_log(pod.id, "system", "start container", now)
                effects.append(BootMachine(booting))
        return effects

    def _settle_account(self, account_id: str, now: datetime) -> list[Effect]:
        account = self._accounts[account_id]
        rate = self.spend_usd_per_hour(account_id)
        balance = account.balance_exact_usd
        due = billing.charge_usd(rate, account.settled_at, now)
        if not rate or balance - due > 0:
            self._charge(account_id, now)
            return []
        # rule SIM-BILL-5
        seconds_left = float(max(Fraction(0), balance) / rate * 3600)
        empty_at = min(now, account.settled_at + timedelta(seconds=seconds_left))
        self._charge(account_id, empty_at)
        effects = self._cut_off(account_id, empty_at)
        self._charge(account_id, now)
        return effects

    def _charge(self, account_id: str, until_at: datetime) -> None:
        account = self._accounts[account_id]
        if until_at <= account.settled_at:
            return
        total = Fraction(0)
        since = account.settled_at
        # rule SIM-BILL-1
        for pod in self.pods_of(account_id):
            for kind, rate in (
                ("compute", billing.compute_usd_per_hour(pod)),
                ("storage", billing.storage_usd_per_hour(pod)),
            ):
                amount = billing.charge_usd(rate, since, until_at)
                self._charges[pod.id, kind] += amount
                total += amount
        for volume in self.network_volumes_of(account_id):
            rate = billing.network_volume_usd_per_hour(volume)
            total += billing.charge_usd(rate, since, until_at)
        self._accounts[account_id] = replace(
            account, charged_usd=account.charged_usd + total, settled_at=until_at
        )

    def _cut_off(self, account_id: str, now: datetime) -> list[Effect]:
        effects: list[Effect] = []
        for pod in self.pods_of(account_id):
            if pod.spec.network_volume_id is None:
                transition = self._terminate(pod, "Terminated by RunPod", now)
            elif pod.is_running:
                transition = self._exit(
                    pod, "Exited by Runpod", now, STOP_GRACE_SECONDS
                )
            else:
                continue
            effects += transition.effects
        return effects
