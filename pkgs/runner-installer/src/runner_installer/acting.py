"""Carrying out one action of a decision, and remembering how it went.

What must still hold is checked in the workplace, afresh; a refusal is no failure, the
next tick decides anew.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from runner_installer.back_off import find_back_off
from runner_installer.errors import RunnerBusyError
from runner_installer.flights import Flight
from runner_installer.pools import Pool
from runner_installer.scaling import (
    DeleteRunner,
    InstallRunner,
    RenewLease,
    RentPod,
    RerunJob,
    ResumePod,
    RetirePod,
)
from runner_installer.serve_memory import Memory, PoolMemory
from runner_installer.workplace import Workplace
from runpod_client import (
    AuthenticationError,
    Error,
    NoCapacityError,
    RateLimitedError,
    RejectedError,
)
from runpod_client.logs import get_logger

log = get_logger(__name__)
BOOT = "boot: "
# where a limit does not say how long it holds
_UNTOLD_SECONDS = 60.0


class Actor:
    """Carries out actions on a workplace."""

    def __init__(
        self, workplace: Workplace, memory: Memory, *, now: Callable[[], datetime]
    ) -> None:
        self._workplace = workplace
        self._memory = memory
        self._now = now

    async def act(self, pool: Pool, flight: Flight) -> None:
        """Carry out a flight's action; what goes wrong is remembered, not raised."""
        action = flight.action
        try:
            match action:
                case RentPod():
                    await self._rent(pool, flight, action)
                case ResumePod():
                    await self._resume(pool, action)
                case InstallRunner():
                    await self._install(pool, action)
                case RetirePod():
                    await self._retire(pool, action)
                case DeleteRunner():
                    await self._workplace.delete_runner(pool.scope, action.name)
                case RenewLease():
                    await self._workplace.renew(action.pod_id, action.lease)
                case RerunJob():
                    await self._rerun(action)
        except RunnerBusyError as error:
            self._note_busy(getattr(action, "pod_id", ""), error)
        except Error as error:
            log.warning(
                "serve_action_failed",
                action=type(action).__name__,
                pool=pool.name,
                pod_id=flight.pod_id,
                error=type(error).__name__,
                error_detail=error.message,
            )

    async def _rent(self, pool: Pool, flight: Flight, action: RentPod) -> None:
        memory = self._memory.pool(pool.name)
        try:
            flight.pod_id = await self._workplace.rent(pool, action.lease)
        except RateLimitedError as error:
            seconds = error.retry_after_seconds or _UNTOLD_SECONDS
            memory.retry_at = self._now() + timedelta(seconds=seconds)
            memory.trouble = f"RunPod's quota: {error.message}"
            raise
        except Error as error:
            # stock comes and goes: it is asked for again for as long as it is wanted
            is_stock = isinstance(error, NoCapacityError)
            kind = "out of stock" if is_stock else "renting failed"
            self._fail(memory, f"{kind}: {error.message}", is_bounded=not is_stock)
            raise
        if memory.trouble and not memory.trouble.startswith(BOOT):
            self._recover(memory)
        log.info("serve_pod_rented", pool=pool.name, pod_id=flight.pod_id)

    async def _resume(self, pool: Pool, action: ResumePod) -> None:
        try:
            await self._workplace.resume(action.pod_id, action.lease)
        except (NoCapacityError, RejectedError):
            # its machine has no GPU free: another pod has to do, this one may go
            await self._workplace.end(action.pod_id, keep=False)
            self._memory.pods.pop(action.pod_id, None)
            raise
        log.info("serve_pod_resumed", pool=pool.name, pod_id=action.pod_id)

    async def _install(self, pool: Pool, action: InstallRunner) -> None:
        memory = self._memory.pods.get(action.pod_id)
        try:
            name = await self._workplace.install(
                pool, action.pod_id, timeout_seconds=action.timeout_seconds
            )
        except (Error, TimeoutError) as error:
            said = getattr(error, "message", "") or "it took too long"
            if memory is not None:
                memory.failures += 1
                memory.retry_at = self._now() + find_back_off(memory.failures + 1)
                memory.trouble = said
                # the user asked for the pod to be left as it is
                memory.is_kept = getattr(error, "on_failure", "") == "keep_pod"
            log.warning(
                "serve_install_failed",
                pool=pool.name,
                pod_id=action.pod_id,
                error=type(error).__name__,
                error_detail=said,
            )
            return
        if memory is not None:
            memory.failures, memory.retry_at, memory.trouble = 0, None, ""
            memory.had_runner = True
            memory.active_at = self._now()
        self._recover(self._memory.pool(pool.name))
        log.info("serve_runner_installed", pool=pool.name, runner_name=name)

    async def _retire(self, pool: Pool, action: RetirePod) -> None:
        await self._workplace.take_off(pool, action.pod_id, is_lost=action.is_lost)
        await self._workplace.end(action.pod_id, keep=action.keep)
        if not action.keep:
            self._memory.pods.pop(action.pod_id, None)
        if action.phase in {"boot", "install"}:
            self._fail(self._memory.pool(pool.name), BOOT + action.why, is_bounded=True)
        log.info(
            "serve_pod_retired",
            pool=pool.name,
            pod_id=action.pod_id,
            is_kept=action.keep,
            reason=action.why,
        )

    async def _rerun(self, action: RerunJob) -> None:
        # noted before it is done: a job is never run again twice
        lost = self._memory.lost_jobs.pop(action.job_id, None)
        if lost is not None:
            self._memory.rerun.append(f"{lost.repository}/{lost.run_id}/{lost.name}")
            del self._memory.rerun[:-1000]
        try:
            await self._workplace.rerun_job(action.repository, action.job_id)
        except AuthenticationError:
            # refused for sure, most often since the run's other jobs are not over
            if lost is not None:
                self._memory.rerun.pop()
                lost.is_failed = False
                self._memory.lost_jobs[action.job_id] = lost
            raise
        log.info("serve_job_rerun", repository=action.repository, job_id=action.job_id)

    def _note_busy(self, pod_id: str, error: RunnerBusyError) -> None:
        memory = self._memory.pods.get(pod_id)
        if memory is not None:
            memory.active_at = self._now()
        log.info("serve_retire_refused", pod_id=pod_id, error_detail=error.message)

    def _fail(self, memory: PoolMemory, trouble: str, *, is_bounded: bool) -> None:
        memory.failures += 1
        wait = find_back_off(memory.failures + 1, is_bounded=is_bounded)
        memory.retry_at = self._now() + max(wait, timedelta(seconds=1))
        memory.trouble = trouble

    def _recover(self, memory: PoolMemory) -> None:
        memory.failures, memory.retry_at, memory.trouble = 0, None, ""
