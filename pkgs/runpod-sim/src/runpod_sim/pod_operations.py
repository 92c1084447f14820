"""What customers do with pods, and what RunPod does to them: each a transition.

Pure. Every method takes `now` and returns the pod afterwards with the effects the shell
must perform; whoever calls it has settled the world up to `now`. Rules carry the id
under which docs/runpod-api.md gives their source.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from runpod_sim.estate import Estate
from runpod_sim.model import (
    BootPlan,
    DeclinedError,
    DesiredStatus,
    Mishap,
    Pod,
    PodSpec,
    Refusal,
    StopMachine,
    Transition,
)
from runpod_sim.refusals import (
    LOCKED,
    NO_CAPACITY,
    NO_GPU_ON_HOST,
    NO_SPOT_CAPACITY,
    NOT_RUNNING,
    SOMETHING_WRONG,
    SPOT_RESUME,
    TERMINATE_UNKNOWN,
)
from runpod_sim.renting import (
    Placement,
    beside_volume,
    complete_spec,
    make_pod,
    price_usd_per_hour,
    status_change,
)
from runpod_sim.runtime import FAILING, parse_ports
from runpod_sim.stock import new_id

STOP_GRACE_SECONDS = 2.0
OUTBID_GRACE_SECONDS = 5.0


class PodOperations(Estate):
    """The life of pods, one step at a time."""

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
        usd_per_hour = price_usd_per_hour(self.catalog, spec, machine)
        self.book.check_credit(account_id, usd_per_hour)
        placement = Placement(account_id, spec, machine, usd_per_hour, boot)
        pod = self.put(make_pod(self.catalog, placement, self.rng, now), now)
        self.append_log(pod.id, "system", f"create pod on {machine.id}", now)
        self._log_pull(pod, now)
        return Transition(pod)

    def _completed(self, account_id: str, spec: PodSpec) -> PodSpec:
        if spec.network_volume_id is not None:
            volume = self.volumes.get(account_id, spec.network_volume_id)
            spec = beside_volume(spec, volume)
        pub_key = self.book.get(account_id).pub_key
        return complete_spec(spec, pub_key, lambda: new_id(self.rng, 20))

    def _log_pull(self, pod: Pod, now: datetime) -> None:
        mishap = pod.boot.mishap
        # rule SIM-HALF-5
        if mishap is Mishap.PROVISIONING_FOREVER:
            return
        self.append_log(pod.id, "system", f"pull image {pod.spec.image}", now)
        if mishap in FAILING:
            text = FAILING[mishap].format(image=pod.spec.image)
            self.append_log(pod.id, "system", text, now)

    def stop(self, account_id: str, pod_id: str, now: datetime) -> Transition:
        """Stop a pod: its GPUs are released, its container disk is wiped."""
        pod = self.own_pod(account_id, pod_id)
        if pod.locked:
            raise DeclinedError(LOCKED)
        if not pod.is_running:
            return Transition(pod)
        return self.exit_pod(pod, "Exited by user", now, STOP_GRACE_SECONDS)

    def exit_pod(
        self,
        pod: Pod,
        reason: str,
        now: datetime,
        grace_seconds: float,
        *,
        has_failed: bool = False,
    ) -> Transition:
        """Stop a running pod, for a reason that its latest change will show."""
        # rule SIM-POD-6
        stopped = replace(
            pod,
            desired_status=DesiredStatus.EXITED,
            last_status_change=status_change(reason, now),
            stopped_at=now,
            has_failed=has_failed,
        )
        self.put(stopped, now)
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
        pod = self.own_pod(account_id, pod_id)
        # rule SIM-SPOT-2
        if pod.is_spot != (bid_usd_per_hour is not None) and not zero_gpu:
            raise DeclinedError(SPOT_RESUME)
        if pod.is_running:
            return Transition(pod)
        wanted = pod.spec.gpu_count if gpu_count is None else gpu_count
        if self.stock.get(pod.machine_id).is_lost:
            raise DeclinedError(NO_GPU_ON_HOST)
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
            free = Decimal(0)
            usd_per_hour = (
                price_usd_per_hour(self.catalog, spec, machine) if gpus else free
            )
        self.book.charge(pod.account_id, now)
        if not pod.is_running:
            self.book.check_credit(pod.account_id, usd_per_hour)
        started = replace(
            pod,
            gpu_count=gpus,
            usd_per_hour=usd_per_hour,
            desired_status=DesiredStatus.RUNNING,
            last_status_change=status_change("Resumed by user", now),
            started_at=now,
            stopped_at=None,
            boot=boot,
            start_number=pod.start_number + 1,
            boot_requested=False,
            has_failed=False,
            # rule SIM-PORT-2
            public_ports=(),
            http_ports=(),
        )
        self.put(started, now)
        if boot.mishap in FAILING:
            self._log_pull(started, now)
        return Transition(started)

    def restart(
        self, account_id: str, pod_id: str, now: datetime, *, boot: BootPlan
    ) -> Transition:
        """Stop and start a running pod's container in one step."""
        pod = self.own_pod(account_id, pod_id)
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
        pod = self.own_pod(account_id, pod_id)
        # rule SIM-POD-13
        if spec.volume_gb < pod.spec.volume_gb:
            raise DeclinedError(SOMETHING_WRONG)
        edited = self.put(replace(pod, spec=spec), now)
        if not pod.is_running:
            return Transition(edited)
        return self.restart(account_id, pod_id, now, boot=boot)

    def rename(
        self, account_id: str, pod_id: str, name: str, now: datetime
    ) -> Transition:
        """Give a pod another name, without a restart."""
        pod = self.own_pod(account_id, pod_id)
        renamed = replace(pod, spec=replace(pod.spec, name=name))
        return Transition(self.put(renamed, now))

    def lock(
        self, account_id: str, pod_id: str, now: datetime, *, locked: bool
    ) -> Transition:
        """Lock a pod against stop and reset, or unlock it."""
        pod = self.own_pod(account_id, pod_id)
        return Transition(self.put(replace(pod, locked=locked), now))

    def terminate(self, account_id: str, pod_id: str, now: datetime) -> Transition:
        """Delete a pod and its disks."""
        pod = self.own_pod(account_id, pod_id, TERMINATE_UNKNOWN)
        return self.end_pod(pod, "Terminated by user", now)

    def end_pod(self, pod: Pod, reason: str, now: datetime) -> Transition:
        """Delete a pod and its disks, whoever wants it."""
        # rule SIM-POD-7
        gone = replace(
            pod,
            desired_status=DesiredStatus.EXITED,
            last_status_change=status_change(reason, now),
            stopped_at=pod.stopped_at or now,
            terminated_at=now,
        )
        self.put(gone, now)
        self.append_log(pod.id, "system", "terminate pod", now)
        return Transition(
            gone, (StopMachine(gone, STOP_GRACE_SECONDS, delete_volume=True),)
        )

    def outbid(self, pod_id: str, now: datetime) -> Transition:
        """Take a running spot pod's GPUs away, as a higher bid does."""
        pod = self.shelf.get(pod_id)
        if not pod.is_running or not pod.is_spot:
            raise DeclinedError(
                Refusal(f"pod {pod_id} is no running spot pod", "RUNPOD", 409)
            )
        # rule SIM-SPOT-3
        return self.exit_pod(pod, "Outbid", now, OUTBID_GRACE_SECONDS)

    def lose_host(self, pod_id: str, now: datetime) -> list[Transition]:
        """Take a running pod's host off, with every pod that runs on it."""
        pod = self.shelf.get(pod_id)
        if not pod.is_running:
            raise DeclinedError(Refusal(f"pod {pod_id} is not running", "RUNPOD", 409))
        # rule SIM-HALF-10
        self.stock.lose(pod.machine_id)
        ended = []
        for neighbour in self.shelf.on(pod.machine_id):
            text = f"host {pod.machine_id} is unreachable"
            self.append_log(neighbour.id, "system", text, now)
            ended.append(self.exit_pod(neighbour, "Exited by Runpod", now, 0))
        return ended

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
        pod = self.shelf.get(pod_id)
        if pod.start_number != start_number or not pod.is_running:
            return False
        http = tuple(
            (port, self.rng.randrange(60_000, 61_000))
            for port in parse_ports(pod, "http")
        )
        attached = replace(pod, public_ports=tuple(public_ports), http_ports=http)
        self.put(attached, self.book.get(pod.account_id).settled_at)
        return True
