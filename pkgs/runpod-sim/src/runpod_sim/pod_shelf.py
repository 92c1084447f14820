"""Every pod there ever was, found by what is asked for often.

It keeps the indexes and the meters in step with the records; what happens to a pod is
decided elsewhere.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from runpod_sim import billing
from runpod_sim.ledger import Cost, Ledger, Line
from runpod_sim.model import Mishap, Pod
from runpod_sim.runtime import fails_at


class PodShelf:
    """All pods, by id, by account, by what is due to happen to them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pods: dict[str, Pod] = {}
        self._living: dict[str, dict[str, Pod]] = defaultdict(dict)
        self._used_gpus: dict[str, int] = defaultdict(int)
        self._spot: dict[str, Pod] = {}
        self._unbooted: dict[str, Pod] = {}
        self._failing: dict[str, datetime] = {}
        self._crashing: dict[str, Pod] = {}

    def put(self, pod: Pod, at: datetime) -> Pod:
        """Keep a pod's new record, which holds and costs from that instant on."""
        before = self._pods.get(pod.id)
        self._used_gpus[pod.machine_id] += held_gpus(pod) - held_gpus(before)
        self._pods[pod.id] = pod
        living = self._living[pod.account_id]
        if pod.terminated_at is None:
            living[pod.id] = pod
        else:
            living.pop(pod.id, None)
        runs = pod.is_running
        _keep(self._spot, pod, wanted=runs and pod.is_spot)
        _keep(self._unbooted, pod, wanted=runs and not pod.boot_requested)
        crashes = pod.boot.mishap is Mishap.CRASH_LOOP
        _keep(self._crashing, pod, wanted=runs and crashes)
        self._failing.pop(pod.id, None)
        failing = fails_at(pod)
        if failing is not None:
            self._failing[pod.id] = failing
        self._meter(pod, at)
        return pod

    def _meter(self, pod: Pod, at: datetime) -> None:
        compute = Cost.CPU if pod.gpu_type_id is None else Cost.GPU
        for cost, rate in (
            (compute, billing.compute_usd_per_hour(pod)),
            (Cost.DISK, billing.storage_usd_per_hour(pod)),
        ):
            self._ledger.set_rate(Line(pod.account_id, pod.id, cost), rate, at)

    def all(self) -> tuple[Pod, ...]:
        """Return every pod there ever was."""
        return tuple(self._pods.values())

    def get(self, pod_id: str) -> Pod:
        """Return a pod by id, whatever its state."""
        return self._pods[pod_id]

    def find(self, account_id: str, pod_id: str) -> Pod | None:
        """Return a pod of that account, None when it is gone or not theirs."""
        return self._living[account_id].get(pod_id)

    def of(self, account_id: str) -> tuple[Pod, ...]:
        """Return the account's pods; terminated ones have disappeared."""
        # rule SIM-POD-7
        return tuple(self._living[account_id].values())

    def on(self, machine_id: str) -> tuple[Pod, ...]:
        """Return the running pods of a machine."""
        return tuple(
            pod
            for pod in self._pods.values()
            if pod.machine_id == machine_id and pod.is_running
        )

    def used_gpus(self) -> Mapping[str, int]:
        """Return the GPUs in use by our pods, by machine id."""
        return self._used_gpus

    def running_spot(self) -> tuple[Pod, ...]:
        """Return the spot pods that run."""
        return tuple(self._spot.values())

    def unbooted(self) -> tuple[Pod, ...]:
        """Return the running pods whose machine was not asked for yet."""
        return tuple(self._unbooted.values())

    def crashing(self) -> tuple[Pod, ...]:
        """Return the running pods whose container crashes again and again."""
        return tuple(self._crashing.values())

    def failing(self) -> Mapping[str, datetime]:
        """Return when RunPod gives up on which pod."""
        return self._failing


def held_gpus(pod: Pod | None) -> int:
    """Return how many GPUs a pod holds."""
    if pod is None or not pod.is_running or pod.gpu_type_id is None:
        return 0
    return pod.gpu_count


def _keep(shelf: dict[str, Pod], pod: Pod, *, wanted: bool) -> None:
    if wanted:
        shelf[pod.id] = pod
    else:
        shelf.pop(pod.id, None)
