"""A RunPod, a GitHub and pods in memory, for whole lives of a pool in no time.

It keeps the rules that matter to a reconciler: a pod boots, a registration is offline
until its runner runs, a runner takes one job and is gone, GitHub notices late when a
busy runner died, and a listing shows what there is, not what is on its way.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from runner_installer.demand import Board
from runner_installer.errors import RunnerBusyError
from runner_installer.model import RunnerRecord, Scope, WorkflowJob
from runner_installer.observing import POOL, find_pod_id, render_pod_name
from runner_installer.pools import Pool
from runpod_client import (
    DesiredStatus,
    Error,
    NoCapacityError,
    NotFoundError,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
)

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BOOT_SECONDS = 20
JOB_SECONDS = 45
# when GitHub gives a job up whose runner is gone
LOCK_SECONDS = 600
OWNER = "owner-1"
_PORTS = (
    PortMapping(
        private_port=22,
        public_port=2222,
        ip="127.0.0.1",
        is_public=True,
        protocol=Protocol.TCP,
    ),
)


@dataclass
class Runner:
    """A registration at GitHub, and the process that should be behind it."""

    record: RunnerRecord
    pod_id: str
    job_id: int | None = None
    done_at: datetime | None = None
    is_alive: bool = False


@dataclass
class SmallWorld:
    """Implements `Workplace` and `JobLists`."""

    is_spot: bool = False
    stock: int = 1000
    boots: bool = True
    installs: bool = True
    is_reachable: bool = True
    price: Decimal = Decimal("0.34")
    clock: datetime = START
    pods: dict[str, Pod] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    jobs: dict[int, WorkflowJob] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    rerun: list[int] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    hooks: list[Callable[[WorkflowJob], None]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.clock

    def monotonic(self) -> float:
        return (self.clock - START).total_seconds()

    def advance(self, seconds: float) -> None:
        """Let time pass, and with it boots, jobs and GitHub's patience."""
        self.clock += timedelta(seconds=seconds)
        for pod in list(self.pods.values()):
            self._boot(pod)
        for runner in list(self.runners.values()):
            self._work(runner)
        self.hand_out()

    def _boot(self, pod: Pod) -> None:
        began = pod.started_at or START
        is_due = self.clock - began >= timedelta(seconds=BOOT_SECONDS)
        if pod.status is PodStatus.STARTING and self.boots and is_due:
            self.pods[pod.pod_id] = replace(pod, status=PodStatus.RUNNING, ports=_PORTS)

    def _work(self, runner: Runner) -> None:
        if runner.job_id is None or runner.done_at is None:
            return
        if self.clock < runner.done_at:
            return
        job = self.jobs[runner.job_id]
        self._tell(
            replace(
                job,
                status="completed",
                conclusion="success" if runner.is_alive else "failure",
                completed_at=self.clock,
            )
        )
        if runner.is_alive:
            del self.runners[runner.record.name]
            return
        runner.job_id = runner.done_at = None
        runner.record = replace(runner.record, is_busy=False)

    def hand_out(self) -> None:
        """Give queued jobs to idle runners."""
        for job in list(self.jobs.values()):
            free = next(
                (r for r in self.runners.values() if r.is_alive and r.job_id is None),
                None,
            )
            if job.status != "queued" or free is None:
                continue
            free.job_id = job.job_id
            free.done_at = self.clock + timedelta(seconds=JOB_SECONDS)
            free.record = replace(free.record, is_busy=True)
            self._tell(
                replace(
                    job,
                    status="in_progress",
                    runner_name=free.record.name,
                    started_at=self.clock,
                )
            )

    def queue(self) -> WorkflowJob:
        """Let a workflow ask for a runner."""
        number = next(self.numbers)
        job = WorkflowJob(
            job_id=number,
            run_id=1000 + number,
            run_attempt=1,
            name="train",
            workflow_name="CI",
            repository="acme/widgets",
            status="queued",
            conclusion="",
            labels=("gpu",),
            runner_name="",
            runner_id=None,
            created_at=self.clock,
            started_at=None,
            completed_at=None,
        )
        self._tell(job)
        self.hand_out()
        return self.jobs[number]

    def _tell(self, job: WorkflowJob) -> None:
        self.jobs[job.job_id] = job
        for hook in self.hooks:
            hook(job)

    def tell(self, board: Board) -> None:
        """Let a board hear of every change."""

        def hear(job: WorkflowJob) -> None:
            board.hear(job)

        self.hooks = [hear]

    def kill_pod(self, pod_id: str) -> None:
        """Take a pod away, and the runners on it."""
        del self.pods[pod_id]
        for runner in self.runners.values():
            if runner.pod_id == pod_id:
                self.kill_runner(runner.record.name)

    def kill_runner(self, name: str) -> None:
        """End a runner's process; GitHub keeps a busy one's record for a while."""
        runner = self.runners[name]
        runner.is_alive = False
        runner.record = replace(runner.record, is_online=False)
        if runner.job_id is not None:
            runner.done_at = self.clock + timedelta(seconds=LOCK_SECONDS)

    @property
    def ghosts(self) -> list[str]:
        """Return registrations that no process is behind and no job holds."""
        return [
            name
            for name, r in self.runners.items()
            if not r.is_alive and not r.record.is_busy
        ]

    # what the reconciler calls -----------------------------------------------------

    def is_ours(self, pod: Pod) -> bool:
        return pod.owner == OWNER

    async def list_pods(self) -> list[Pod]:
        await asyncio.sleep(0)
        return list(self.pods.values())

    async def list_runners(self, scope: Scope) -> list[RunnerRecord]:
        await asyncio.sleep(0)
        assert str(scope) == "acme/widgets"
        return [runner.record for runner in self.runners.values()]

    async def find_price(self, pool: Pool) -> Decimal:
        assert pool.name
        return self.price

    async def rent(self, pool: Pool, lease: timedelta) -> str:
        await asyncio.sleep(0)
        if self.stock <= 0:
            raise NoCapacityError("nothing is free")
        self.stock -= 1
        pod_id = f"pod{next(self.numbers)}"
        self.pods[pod_id] = Pod(
            pod_id=pod_id,
            name=render_pod_name(pool, f"{len(self.events):06x}"),
            status=PodStatus.STARTING,
            desired=DesiredStatus.RUNNING,
            gpu_type="NVIDIA L4",
            gpu_count=1,
            image="x",
            price_usd_per_hour=self.price,
            is_spot=self.is_spot,
            created_at=self.clock,
            started_at=self.clock,
            env={POOL: pool.name},
            owner=OWNER,
            lease_ends_at=self.clock + lease,
        )
        self.events.append(f"rent {pod_id}")
        await asyncio.sleep(0)  # here a kill loses the answer
        return pod_id

    async def resume(self, pod_id: str, lease: timedelta) -> None:
        await asyncio.sleep(0)
        self.pods[pod_id] = replace(
            self.pods[pod_id],
            status=PodStatus.STARTING,
            desired=DesiredStatus.RUNNING,
            started_at=self.clock,
            lease_ends_at=self.clock + lease,
        )
        self.events.append(f"resume {pod_id}")

    async def install(self, pool: Pool, pod_id: str, *, timeout_seconds: float) -> str:
        assert timeout_seconds > 0
        await asyncio.sleep(0)
        if not self.installs or pod_id not in self.pods:
            raise Error("the step unpack failed on the pod")
        number = next(self.numbers)
        name = f"{pool.prefix}-{pod_id}-{number:06x}"
        self.runners[name] = Runner(
            record=RunnerRecord(
                runner_id=number, name=name, is_online=False, is_busy=False
            ),
            pod_id=pod_id,
        )
        await asyncio.sleep(0)  # here a kill leaves a registration without a runner
        runner = self.runners.get(name)
        if runner is None or pod_id not in self.pods:
            raise Error("the pod is gone")
        runner.is_alive = True
        runner.record = replace(runner.record, is_online=True)
        self.events.append(f"install {pod_id}")
        self.hand_out()
        return name

    async def take_off(self, pool: Pool, pod_id: str, *, is_lost: bool) -> None:
        await asyncio.sleep(0)
        own = [
            r
            for r in self.runners.values()
            if find_pod_id(pool, r.record.name) == pod_id
        ]
        for runner in own:
            if runner.record.is_busy and not is_lost:
                raise RunnerBusyError("on a job", runner_name=runner.record.name)
        for runner in own:
            if not runner.record.is_busy:
                del self.runners[runner.record.name]
        await asyncio.sleep(0)

    async def end(self, pod_id: str, *, keep: bool) -> None:
        await asyncio.sleep(0)
        if pod_id not in self.pods:
            return
        if keep:
            self.pods[pod_id] = replace(
                self.pods[pod_id],
                status=PodStatus.STOPPED,
                desired=DesiredStatus.STOPPED,
                ports=(),
            )
        else:
            del self.pods[pod_id]
        self.events.append(f"{'stop' if keep else 'end'} {pod_id}")

    async def delete_runner(self, scope: Scope, name: str) -> None:
        await asyncio.sleep(0)
        assert str(scope) == "acme/widgets"
        runner = self.runners.get(name)
        if runner is not None and not runner.record.is_online:
            del self.runners[name]

    async def renew(self, pod_id: str, lease: timedelta) -> None:
        pod = self.pods[pod_id]
        self.pods[pod_id] = replace(pod, lease_ends_at=self.clock + lease)
        self.events.append(f"renew {pod_id}")

    async def get_job(self, repository: str, job_id: int) -> WorkflowJob:
        await asyncio.sleep(0)
        assert repository == "acme/widgets"
        if not self.is_reachable:
            raise Error("GitHub does not answer")
        if job_id not in self.jobs:
            raise NotFoundError("no such job", service="GitHub", operation="get_job")
        return self.jobs[job_id]

    async def rerun_job(self, repository: str, job_id: int) -> None:
        assert repository == "acme/widgets"
        self.rerun.append(job_id)
        self.queue()

    async def list_queued_jobs(self, repository: str) -> list[WorkflowJob]:
        assert repository == "acme/widgets"
        return [job for job in self.jobs.values() if job.status == "queued"]

    async def list_jobs(self, repository: str, run_id: int) -> list[WorkflowJob]:
        assert repository == "acme/widgets"
        return [job for job in self.jobs.values() if job.run_id == run_id]
