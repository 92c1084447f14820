"""The board where every source of demand writes, and the reconciler reads.

What is written here is a hint: it may be late, repeated, out of order or lost. Only a
listing of a repository's queue (`replace_queued`) also takes jobs away. Lives on one
event loop; must not know where a hint comes from.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from runner_installer.model import WorkflowJob
from runner_installer.pools import Pool

MOST_JOBS = 20_000
# GitHub fails a job that has been queued for so long
LONGEST_QUEUED = timedelta(hours=24)
_ORDER = {"waiting": 0, "queued": 1, "in_progress": 2, "completed": 3}


class DemandSource(Protocol):
    """Something that tells of jobs.

    A scale set's message queue writes `board.assign(pool, count)`; its capacity to
    report to GitHub is `board.capacity(pool)`.
    """

    @property
    def name(self) -> str:
        """Return what it is called in logs."""
        ...

    async def run(self, board: "Board") -> None:
        """Write to the board until cancelled; survives every refusal by itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A job, when it was last heard of, and since when it waits as far as we know."""

    job: WorkflowJob
    heard_at: datetime
    first_at: datetime


class Board:
    """What is known of demand.

    Attributes:
        changed: Set by whatever is news.
        has_moved: A job has begun or ended, so that runners are not as they were.
    """

    def __init__(self, pools: Sequence[Pool], *, now: Callable[[], datetime]) -> None:
        self.pools = tuple(pools)
        self.changed = asyncio.Event()
        self._now = now
        self._jobs: OrderedDict[int, Heard] = OrderedDict()
        self._assigned: dict[str, int] = {}
        self._capacity: dict[str, int] = {}
        self._completed: list[WorkflowJob] = []
        self._repositories: dict[str, None] = {}
        self._runs: OrderedDict[tuple[str, int], datetime] = OrderedDict()
        self.has_moved = False

    def hear(self, job: WorkflowJob) -> bool:
        """Take note of a job's state; tell whether that was news.

        A state that a later one has overtaken is no news.
        """
        if self.find_pool(job) is None:
            return False
        known = self._jobs.get(job.job_id)
        if known is not None and _rank(job) <= _rank(known.job):
            return False
        now = self._now()
        self._jobs[job.job_id] = Heard(
            job=job, heard_at=now, first_at=known.first_at if known else now
        )
        self._repositories[job.repository] = None
        if job.status == "completed":
            self._completed.append(job)
        else:
            self._runs[job.repository, job.run_id] = now
        # what runners do shows at GitHub then, and not before
        self.has_moved = self.has_moved or job.status != "queued"
        while len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)
        while len(self._runs) > MOST_JOBS:
            self._runs.popitem(last=False)
        self.changed.set()
        return True

    def replace_queued(
        self, repository: str, jobs: Iterable[WorkflowJob], *, asked_at: datetime
    ) -> None:
        """Take a listing of a repository's queued jobs for the truth as of `asked_at`."""
        listed = {job.job_id: job for job in jobs}
        for job in listed.values():
            self.hear(job)
        for job_id, heard in list(self._jobs.items()):
            is_waiting = heard.job.status == "queued"
            is_here = heard.job.repository.casefold() == repository.casefold()
            if is_waiting and is_here and job_id not in listed:
                # heard of after the question: the answer may not know it yet
                if heard.heard_at < asked_at:
                    self.forget(job_id)
            elif job_id in listed and is_waiting:
                self.confirm(job_id)

    def confirm(self, job_id: int) -> None:
        """Take note that GitHub has just called a job queued."""
        heard = self._jobs.get(job_id)
        if heard is not None:
            self._jobs[job_id] = Heard(
                job=heard.job, heard_at=self._now(), first_at=heard.first_at
            )

    def forget(self, job_id: int) -> None:
        """Drop a job that waits no longer, whatever became of it."""
        if self._jobs.pop(job_id, None) is not None:
            self.changed.set()

    def assign(self, pool: str, count: int) -> None:
        """Take note of how many jobs a scale set says are assigned to it."""
        if self._assigned.get(pool) != count:
            self._assigned[pool] = count
            self.changed.set()

    def assigned(self, pool: str) -> int | None:
        """Return what a scale set said last, None where the pool has none."""
        return self._assigned.get(pool)

    def set_capacity(self, pool: str, count: int) -> None:
        """Take note of how many jobs a pool could serve at most now."""
        self._capacity[pool] = count

    def capacity(self, pool: str) -> int:
        """Return how many jobs a pool could serve at most."""
        return self._capacity.get(pool, 0)

    def list_waiting(self, pool: Pool) -> list[Heard]:
        """Return the jobs queued for a pool, the longest-waiting first."""
        oldest = self._now() - LONGEST_QUEUED
        ripe = self._now() - pool.settle
        return [
            heard
            for heard in self._jobs.values()
            if heard.job.status == "queued"
            and oldest < heard.first_at <= ripe
            and self.find_pool(heard.job) is pool
        ]

    def find_pool(self, job: WorkflowJob) -> Pool | None:
        """Return the first pool whose runners may take a job."""
        for pool in self.pools:
            if pool.serves(job.repository, job.labels):
                return pool
        return None

    def find_running(self, runner_name: str) -> WorkflowJob | None:
        """Return the job a runner was last heard to be on."""
        for heard in reversed(self._jobs.values()):
            if heard.job.runner_name == runner_name:
                return heard.job
        return None

    def take_completed(self) -> list[WorkflowJob]:
        """Return the jobs that have ended since the last call."""
        taken, self._completed = self._completed, []
        return taken

    def list_repositories(self) -> list[str]:
        """Return every repository whose queue is to be looked at."""
        named = [
            name
            for pool in self.pools
            for name in (
                *pool.repositories,
                *([str(pool.scope)] if "/" in str(pool.scope) else []),
            )
            if not name.casefold().startswith("enterprises/")
        ]
        return list(dict.fromkeys([*named, *self._repositories]))

    def list_open_runs(self) -> list[tuple[str, int]]:
        """Return runs that were heard of and are not known to be over."""
        oldest = self._now() - LONGEST_QUEUED
        return [run for run, heard_at in self._runs.items() if heard_at > oldest]

    def close_run(self, repository: str, run_id: int) -> None:
        """Take note that every job of a run has ended."""
        self._runs.pop((repository, run_id), None)

    def next_ripe_at(self) -> datetime | None:
        """Return when the next job has been queued for long enough; None for never."""
        now = self._now()
        moments = [
            heard.first_at + pool.settle
            for heard in self._jobs.values()
            if heard.job.status == "queued"
            and (pool := self.find_pool(heard.job)) is not None
        ]
        return min((m for m in moments if m > now), default=None)


def _rank(job: WorkflowJob) -> int:
    return _ORDER.get(job.status, 1)
