"""From what RunPod and GitHub list to what is decided on: pods and runners of a pool.

Updates the memory (since when, how often) and must not act. Pods are recognised by
their marks, runners by their names, and both only where the pod is ours.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runner_installer.model import RunnerRecord
from runner_installer.pools import Pool
from runner_installer.scaling import PodPhase, SeenPod, SeenRunner
from runner_installer.serve_memory import Memory, PodMemory, RunnerMemory
from runpod_client import DesiredStatus, Pod, PodStatus

POOL = "RUNNER_INSTALLER_POOL"
# a pod that one listing lacks may be in the next
MISSING_MEANS_GONE = 2


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """What this process is doing at the moment; no listing shows it yet.

    Attributes:
        creating: Since when pods are being created, by pool.
        installing: How many runners are being installed, by pod.
        leaving: Pods being given back.
        starting: Pods being resumed.
    """

    creating: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    installing: Mapping[str, int] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    starting: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class View:
    """One pool as it is now; `lost` are pods that went without being sent."""

    pods: tuple[SeenPod, ...]
    runners: tuple[SeenRunner, ...]


def render_pod_name(pool: Pool, token: str) -> str:
    """Return a pod's name: 31 characters are the most there may be."""
    return f"{pool.prefix}-{token}"[:31]


def find_pool_name(pod: Pod, pools: Iterable[Pool]) -> str | None:
    """Return the pool a pod says it belongs to; its name is for listings without env."""
    marked = pod.env.get(POOL)
    for pool in pools:
        is_named = pod.name.startswith(f"{pool.prefix}-")
        rest = pod.name.removeprefix(f"{pool.prefix}-")
        if marked == pool.name or (marked is None and is_named and "-" not in rest):
            return pool.name
    return None


class Observer:
    """Keeps the memory in step with what is seen."""

    def __init__(
        self, pools: Sequence[Pool], memory: Memory, is_ours: Callable[[Pod], bool]
    ) -> None:
        self._pools = pools
        self._memory = memory
        self._is_ours = is_ours

    def list_ours(self, pods: Iterable[Pod]) -> dict[str, list[Pod]]:
        """Return the pods of each pool."""
        found: dict[str, list[Pod]] = {pool.name: [] for pool in self._pools}
        for pod in pods:
            name = find_pool_name(pod, self._pools)
            is_there = pod.status is not PodStatus.TERMINATED
            if name is not None and is_there and self._is_ours(pod):
                found[name].append(pod)
        return found

    def note_pods(
        self, pods: Mapping[str, Sequence[Pod]], under_way: UnderWay, now: datetime
    ) -> list[str]:
        """Remember what is there; return the ids of pods that are gone for good."""
        present: set[str] = set()
        for pool, listed in pods.items():
            for pod in listed:
                present.add(pod.pod_id)
                self._note_pod(pool, pod, now)
        gone = []
        for pod_id, memory in list(self._memory.pods.items()):
            if pod_id in present:
                continue
            memory.missing += 1
            is_leaving = pod_id in under_way.leaving
            if memory.missing >= MISSING_MEANS_GONE and not is_leaving:
                gone.append(pod_id)
        return gone

    def _note_pod(self, pool: str, pod: Pod, now: datetime) -> None:
        start = str(pod.started_at or pod.created_at or "")
        known = self._memory.pods.get(pod.pod_id)
        if known is None or (known.start != start and pod.status.is_billed):
            began = pod.started_at or pod.created_at or now
            self._memory.pods[pod.pod_id] = PodMemory(
                pool=pool,
                start=start,
                since=min(began, now),
                active_at=now,
                is_spot=pod.is_spot,
                is_drained=known.is_drained if known else False,
            )
        else:
            known.missing = 0

    def note_runners(
        self, pool: Pool, records: Iterable[RunnerRecord], now: datetime
    ) -> list[SeenRunner]:
        """Return the pool's runners, each with since when it is as it is."""
        seen = []
        for record in records:
            pod_id = find_pod_id(pool, record.name)
            if pod_id is None:
                continue
            known = self._memory.runners.get(record.name)
            if known is None:
                known = RunnerMemory(pool=pool.name, pod_id=pod_id, since=now)
                self._memory.runners[record.name] = known
            state = record.is_online, record.is_busy
            if (known.is_online, known.is_busy) != state:
                known.since = now
                known.is_online, known.is_busy = state
            known.gone_at = None
            seen.append(
                SeenRunner(
                    name=record.name,
                    runner_id=record.runner_id,
                    pod_id=pod_id,
                    is_online=record.is_online,
                    is_busy=record.is_busy,
                    since=known.since,
                )
            )
        names = {runner.name for runner in seen}
        for name, memory in self._memory.runners.items():
            is_gone = memory.pool == pool.name and name not in names
            if is_gone and memory.gone_at is None:
                memory.gone_at = now
        return seen

    def view(
        self,
        pool: Pool,
        pods: Sequence[Pod],
        runners: Sequence[SeenRunner],
        under_way: UnderWay,
        now: datetime,
    ) -> View:
        """Return what is decided on."""
        coming = [
            SeenPod(pod_id="", phase=PodPhase.CREATING, since=since)
            for since in under_way.creating.get(pool.name, ())
        ]
        seen = [self._see(pod, runners, under_way, now) for pod in pods]
        return View(pods=(*seen, *coming), runners=tuple(runners))

    def _see(
        self,
        pod: Pod,
        runners: Sequence[SeenRunner],
        under_way: UnderWay,
        now: datetime,
    ) -> SeenPod:
        memory = self._memory.pods[pod.pod_id]
        phase = find_phase(pod, under_way)
        own = [r for r in runners if r.pod_id == pod.pod_id]
        for runner in own:
            known = self._memory.runners[runner.name]
            known.price_usd_per_hour = pod.price_usd_per_hour
            known.gpu_type, known.is_spot = pod.gpu_type, pod.is_spot
        if any(r.is_online for r in own):
            memory.had_runner, memory.failures = True, 0
        installing = under_way.installing.get(pod.pod_id, 0)
        is_active = (
            phase is not PodPhase.READY or installing or any(r.is_busy for r in own)
        )
        if is_active:
            memory.active_at = now
        return SeenPod(
            pod_id=pod.pod_id,
            phase=phase,
            since=memory.since,
            price_usd_per_hour=pod.price_usd_per_hour,
            is_spot=pod.is_spot,
            idle_since=None if is_active else memory.active_at,
            installing=installing,
            failures=memory.failures,
            retry_at=memory.retry_at,
            trouble=memory.trouble or pod.status_reason,
            is_drained=memory.is_drained,
            is_kept=memory.is_kept,
            had_runner=memory.had_runner,
            lease_ends_at=pod.lease_ends_at,
        )


def find_phase(pod: Pod, under_way: UnderWay) -> PodPhase:
    """Return where a listed pod stands."""
    if pod.pod_id in under_way.leaving:
        return PodPhase.LEAVING
    if pod.status is PodStatus.RUNNING and pod.ssh_address is not None:
        return PodPhase.READY
    if pod.pod_id in under_way.starting:
        return PodPhase.BOOTING
    if pod.status is PodStatus.STOPPED:
        # stopped by somebody who is not us: a spot pod that was outbid
        is_taken = pod.is_spot and pod.desired is DesiredStatus.RUNNING
        return PodPhase.LOST if is_taken else PodPhase.STOPPED
    if pod.status is PodStatus.FAILED:
        return PodPhase.LOST
    return PodPhase.BOOTING


def find_pod_id(pool: Pool, runner_name: str) -> str | None:
    """Return the pod a runner of the pool is on, None for a runner of somebody else."""
    start = f"{pool.prefix[:24]}-"
    if not runner_name.startswith(start):
        return None
    pod_id, dash, token = runner_name.removeprefix(start).rpartition("-")
    return pod_id if dash and token and "-" not in pod_id else None
