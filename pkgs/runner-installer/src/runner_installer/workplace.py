"""What the reconciler does to the world: RunPod, GitHub and the pods themselves.

Every operation may be repeated, has a time limit and checks afresh what it depends on.
It must not decide anything.
"""

import asyncio
import contextlib
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runner_installer.errors import RunnerBusyError
from runner_installer.github import GitHub
from runner_installer.install import Installation
from runner_installer.model import (
    RunnerRecord,
    RunnerSpec,
    Scope,
    WorkflowJob,
    render_name,
)
from runner_installer.observing import POOL, find_pod_id, render_pod_name
from runner_installer.pod_model import InstallOptions
from runner_installer.pools import Pool
from runner_installer.remote import open_remote
from runner_installer.tarball import TarballCache
from runpod_client import (
    DEFAULT_IMAGE,
    Constraints,
    Error,
    NotFoundError,
    Pod,
    PodSpec,
    RunPodClient,
)
from runpod_client.logs import get_logger
from runpod_ssh import NotDirectError, SSHError

log = get_logger(__name__)
Result = TypeVar("Result")
THREADS = 24
_PLAN_SECONDS = 60.0
_CONNECT_PAUSE_SECONDS = 1.0
_INSTALLS_AT_ONCE = 16

# a pool and the lease its pod gets -> the pod its template describes
RenderTemplate = Callable[[str], PodSpec]


class Workplace(Protocol):
    """What the reconciler needs done."""

    def is_ours(self, pod: Pod) -> bool:
        """Tell whether a pod was rented by us."""
        ...

    async def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""
        ...

    async def list_runners(self, scope: Scope) -> list[RunnerRecord]:
        """Return all runners of a scope."""
        ...

    async def find_price(self, pool: Pool) -> Decimal:
        """Return the most the next pod of a pool may cost per hour."""
        ...

    async def rent(self, pool: Pool, lease: timedelta) -> str:
        """Rent a pod and return its id."""
        ...

    async def resume(self, pod_id: str, lease: timedelta) -> None:
        """Start a stopped pod."""
        ...

    async def install(self, pool: Pool, pod_id: str, *, timeout_seconds: float) -> str:
        """Make a pod a runner for one more job and return the runner's name."""
        ...

    async def take_off(self, pool: Pool, pod_id: str, *, is_lost: bool) -> None:
        """Take a pod's runners off GitHub; refuses where one is on a job."""
        ...

    async def end(self, pod_id: str, *, keep: bool) -> None:
        """Stop a pod, or terminate it."""
        ...

    async def delete_runner(self, scope: Scope, name: str) -> None:
        """Delete a registration that nothing runs, by a fresh look."""
        ...

    async def renew(self, pod_id: str, lease: timedelta) -> None:
        """Let a pod live for so long from now on."""
        ...

    async def get_job(self, repository: str, job_id: int) -> WorkflowJob:
        """Return a job, fresh."""
        ...

    async def rerun_job(self, repository: str, job_id: int) -> None:
        """Run a job again."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Planned:
    plan: Any
    price: Decimal
    at: float


class RealWorkplace:
    """RunPod, GitHub and pods over SSH."""

    def __init__(
        self,
        client: RunPodClient,
        github: GitHub,
        *,
        state_dir: Path,
        cache_folder: Path,
        render_template: RenderTemplate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._github = github
        self._state_dir = state_dir
        self._tarballs = TarballCache(cache_folder, github.download)
        self._render_template = render_template
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="serve")
        self._installs = asyncio.Semaphore(_INSTALLS_AT_ONCE)
        self._plans: dict[str, _Planned] = {}
        self._planning = threading.Lock()

    def close(self) -> None:
        """End the threads; what they do is bounded by the calls' own limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, function: Callable[..., Result], *given: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *given)

    def is_ours(self, pod: Pod) -> bool:
        """Tell whether a pod was rented by us: by its mark, else by our journal."""
        if pod.owner is not None:
            return pod.owner == self._client.owner
        return self._client.was_rented_here(pod.pod_id)

    async def list_pods(self) -> list[Pod]:
        """Return all pods, with the creates of dead processes settled by them."""

        def work() -> list[Pod]:
            pods = self._client.list_pods()
            self._client.settle(pods)
            return pods

        return await self._call(work)

    async def list_runners(self, scope: Scope) -> list[RunnerRecord]:
        """Return all runners of a scope."""
        return await self._call(self._github.list_runners, scope)

    async def find_price(self, pool: Pool) -> Decimal:
        """Return what the dearest way to rent the pool's next pod costs."""
        return (await self._call(self._plan, pool)).price

    def _plan(self, pool: Pool) -> _Planned:
        with self._planning:
            known = self._plans.get(pool.name)
            if known is not None and self._clock() - known.at < _PLAN_SECONDS:
                return known
            plan = self._client.plan(self._spec(pool))
            price = max(p.price_usd_per_hour for p in plan.get_placements())
            planned = _Planned(plan=plan, price=price, at=self._clock())
            self._plans[pool.name] = planned
            return planned

    def _spec(self, pool: Pool) -> PodSpec:
        wish = pool.wish
        place = Constraints(
            gpu_types=wish.gpu_types,
            gpu_count=wish.gpu_count,
            cloud_type=wish.cloud_type,
            data_center_ids=wish.data_center_ids,
            min_memory_gb=wish.min_memory_gb,
            max_price_usd_per_hour=wish.max_price_usd_per_hour,
            bid=wish.bid,
        )
        if wish.template:
            return _overlay(self._render_template(wish.template), pool, place)
        return PodSpec(
            name=pool.prefix,
            image=wish.image or DEFAULT_IMAGE,
            place=place,
            fallbacks=(dataclasses.replace(place, bid=""),) if wish.bid else (),
            container_disk_gb=wish.disk_gb,
            volume_gb=wish.volume_gb,
            network_volume_id=wish.network_volume_id,
            env={POOL: pool.name},
        )

    async def rent(self, pool: Pool, lease: timedelta) -> str:
        """Rent a pod; an answer that is lost is settled by the client's journal.

        Raises:
            Error: There is none to be had.
        """

        def work() -> str:
            planned = self._plan(pool)
            spec = dataclasses.replace(
                planned.plan.spec,
                name=render_pod_name(pool, secrets.token_hex(3)),
                lease=lease,
            )
            plan = dataclasses.replace(planned.plan, spec=spec)
            # the name is random: to look for another of that name is not needed
            pod = self._client.create_pod(spec, plan=plan, allow_duplicate_name=True)
            return pod.pod_id

        try:
            return await self._call(work)
        except Error:
            self._plans.pop(pool.name, None)  # stock and prices may have changed
            raise

    async def resume(self, pod_id: str, lease: timedelta) -> None:
        """Give a stopped pod a new lease and start it."""

        def work() -> None:
            pod = self._client.get_pod(pod_id)
            self._client.leases.set_end(pod, self._client.now() + lease)
            bid = None
            if pod.is_spot:
                plan = self._client.plan_start(pod, bid_usd_per_gpu_hour=None)
                bid = plan.bid_usd_per_gpu_hour
            self._client.start_pod(pod_id, wait=False, bid_usd_per_gpu_hour=bid)

        await self._call(work)

    async def install(self, pool: Pool, pod_id: str, *, timeout_seconds: float) -> str:
        """Connect, retrying while the pod's sshd comes up, and install.

        Raises:
            TimeoutError: It took too long.
            Error: The pod or GitHub refused.
        """
        spec = RunnerSpec(
            name=render_name(
                prefix=pool.prefix, pod_id=pod_id, token=secrets.token_hex(3)
            ),
            scope=pool.scope,
            labels=pool.labels,
            group_id=await self._find_group(pool),
            scale_set=pool.scale_set,
        )
        async with asyncio.timeout(timeout_seconds), self._installs:
            while True:
                try:
                    return await self._install_once(pool, spec, pod_id)
                except (SSHError, NotDirectError) as error:
                    log.info(
                        "pod_not_reachable", pod_id=pod_id, error_detail=error.message
                    )
                await asyncio.sleep(_CONNECT_PAUSE_SECONDS)

    async def _install_once(self, pool: Pool, spec: RunnerSpec, pod_id: str) -> str:
        async with open_remote(self._client, pod_id, state_dir=self._state_dir) as (
            remote,
            _,
        ):
            installation = Installation(
                remote,
                self._github,
                self._tarballs,
                options=InstallOptions(steps=pool.steps),
            )
            # with a name of its own it lives beside the pod's other runners
            done = await installation.run(spec, new_name=None)
            return done.runner.name

    async def _find_group(self, pool: Pool) -> int:
        if not pool.group:
            return 1
        group = await self._call(self._github.find_group, pool.scope, pool.group)
        if group is None:
            raise NotFoundError(
                f"{pool.scope} has no runner group {pool.group!r}",
                service="GitHub",
                operation="find_group",
            )
        return group.group_id

    async def take_off(self, pool: Pool, pod_id: str, *, is_lost: bool) -> None:
        """Delete a pod's runners at GitHub, by a fresh list.

        Raises:
            RunnerBusyError: One is on a job; the others may be gone by then.
        """

        def work() -> None:
            own = [
                record
                for record in self._github.list_runners(pool.scope)
                if find_pod_id(pool, record.name) == pod_id
            ]
            busy = [record.name for record in own if record.is_busy]
            if busy and not is_lost:
                raise RunnerBusyError(f"{busy[0]} is on a job", runner_name=busy[0])
            for record in own:
                with contextlib.suppress(*([RunnerBusyError] if is_lost else [])):
                    self._github.delete_runner(pool.scope, record.runner_id)

        await self._call(work)

    async def end(self, pod_id: str, *, keep: bool) -> None:
        """Stop or terminate a pod; one that is gone already is fine."""

        def work() -> None:
            with contextlib.suppress(NotFoundError):
                if keep:
                    self._client.stop_pod(pod_id)
                else:
                    self._client.terminate_pod(pod_id)

        await self._call(work)

    async def delete_runner(self, scope: Scope, name: str) -> None:
        """Delete a registration, unless by now something runs it.

        Raises:
            RunnerBusyError: It has just taken a job.
        """

        def work() -> None:
            record = self._github.find_runner(scope, name)
            if record is not None and not record.is_online:
                self._github.delete_runner(scope, record.runner_id)

        await self._call(work)

    async def renew(self, pod_id: str, lease: timedelta) -> None:
        """Move the end of a pod's lease."""

        def work() -> None:
            pod = self._client.get_pod(pod_id)
            self._client.leases.set_end(pod, self._client.now() + lease)

        await self._call(work)

    async def get_job(self, repository: str, job_id: int) -> WorkflowJob:
        """Return a job, fresh."""
        return await self._call(self._github.get_job, repository, job_id)

    async def rerun_job(self, repository: str, job_id: int) -> None:
        """Run a job again."""
        await self._call(self._github.rerun_job, repository, job_id)

    async def list_queued_jobs(self, repository: str) -> Sequence[WorkflowJob]:
        """Return the jobs queued in a repository."""
        return await self._call(self._github.list_queued_jobs, repository)

    async def list_jobs(self, repository: str, run_id: int) -> Sequence[WorkflowJob]:
        """Return the jobs of a run."""
        return await self._call(self._github.list_jobs, repository, run_id)


def _overlay(spec: PodSpec, pool: Pool, place: Constraints) -> PodSpec:
    """Lay what a pool says over its template: where it says nothing, the template."""
    given = {
        field.name: value
        for field in dataclasses.fields(Constraints)
        if (value := getattr(place, field.name)) != field.default
    }
    return dataclasses.replace(
        spec,
        name=pool.prefix,
        place=dataclasses.replace(spec.place, **given),
        env={**spec.env, POOL: pool.name},
    )
