"""Jobs whose spot pod was taken away under them: found, followed, run again once.

GitHub notices late that a runner is gone (some ten minutes) and only then fails its
job; a job can be run again only after that. What is followed stands in the memory, so
that a restart of this program forgets none.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from runner_installer.demand import Board
from runner_installer.pools import Pool, PoolFile
from runner_installer.scaling import LostJob
from runner_installer.serve_memory import LostJobMemory, Memory
from runner_installer.workplace import Workplace
from runpod_client import Error, NotFoundError
from runpod_client.logs import get_logger

log = get_logger(__name__)
LONGEST = timedelta(hours=24)
BETWEEN_LOOKS = timedelta(seconds=25)


class Losses:
    """Follows what spot pods took with them."""

    def __init__(
        self,
        pools: PoolFile,
        board: Board,
        workplace: Workplace,
        memory: Memory,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._pools = pools
        self._board = board
        self._workplace = workplace
        self._memory = memory
        self._now = now
        self._looked_at: datetime | None = None

    def note_gone(self, pod_ids: Iterable[str]) -> None:
        """Take note of pods that went without being sent."""
        for pod_id in pod_ids:
            memory = self._memory.pods.pop(pod_id)
            log.warning("serve_pod_lost", pod_id=pod_id, pool=memory.pool)
            if memory.is_spot:
                self.note_lost(pod_id)

    def note_lost(self, pod_id: str) -> None:
        """Take note of the jobs that ran on a pod that was taken away."""
        for name, runner in self._memory.runners.items():
            if runner.pod_id != pod_id or not runner.is_busy:
                continue
            job = self._board.find_running(name)
            pool = self._pools.find(runner.pool)
            if job is None or pool is None or not pool.rerun_on_spot_loss:
                continue
            if f"{job.repository}/{job.run_id}/{job.name}" in self._memory.rerun:
                continue
            self._memory.lost_jobs.setdefault(
                job.job_id,
                LostJobMemory(
                    pool=pool.name,
                    repository=job.repository,
                    job_id=job.job_id,
                    run_id=job.run_id,
                    name=job.name,
                    at=self._now(),
                ),
            )

    async def follow(self) -> None:
        """Ask how lost jobs ended; those that did not fail are none."""
        now = self._now()
        if self._looked_at is not None and now - self._looked_at < BETWEEN_LOOKS:
            return
        self._looked_at = now
        for job_id, lost in list(self._memory.lost_jobs.items()):
            if now - lost.at > LONGEST:
                del self._memory.lost_jobs[job_id]
                continue
            try:
                job = await self._workplace.get_job(lost.repository, job_id)
            except NotFoundError:
                del self._memory.lost_jobs[job_id]
                continue
            except Error as error:
                log.info("lost_job_unknown", error_detail=error.message)
                continue
            self._board.hear(job)
            if job.status == "completed" and job.conclusion == "success":
                del self._memory.lost_jobs[job_id]
            else:
                lost.is_failed = job.status == "completed"

    def list_lost(self, pool: Pool) -> tuple[LostJob, ...]:
        """Return the pool's lost jobs."""
        return tuple(
            LostJob(
                repository=lost.repository,
                job_id=lost.job_id,
                run_id=lost.run_id,
                is_failed=lost.is_failed,
            )
            for lost in self._memory.lost_jobs.values()
            if lost.pool == pool.name
        )
