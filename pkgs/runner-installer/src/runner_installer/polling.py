"""The slow poll: the safety net under every other source of demand.

It lists each repository's queued jobs, and the jobs of runs that are not over, and so
makes good what was never told, or told and lost. An unchanged answer costs no quota.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from runner_installer.demand import Board
from runner_installer.model import WorkflowJob
from runpod_client import APIError
from runpod_client.logs import get_logger

log = get_logger(__name__)
DEFAULT_SECONDS = 60.0
MOST_RUNS = 100
_AT_ONCE = 8
_JITTER = 0.1


class JobLists(Protocol):
    """Who knows of jobs."""

    async def list_queued_jobs(self, repository: str) -> Sequence[WorkflowJob]:
        """Return the jobs queued in a repository."""
        ...

    async def list_jobs(self, repository: str, run_id: int) -> Sequence[WorkflowJob]:
        """Return the jobs of a run."""
        ...


class QueuePoll:
    """A `DemandSource` that asks GitHub every minute or so."""

    name = "poll"

    def __init__(
        self,
        lists: JobLists,
        *,
        now: Callable[[], datetime],
        seconds: float = DEFAULT_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._lists = lists
        self._now = now
        self._seconds = seconds
        self._sleep = sleep
        self._chance = chance

    async def run(self, board: Board) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll_once(board)
            await self._sleep(self._seconds * (1 + _JITTER * self._chance()))

    async def poll_once(self, board: Board) -> None:
        """Ask once about every repository and every open run; refusals are logged."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(work: Awaitable[None], **facts: object) -> None:
            async with gate:
                try:
                    await work
                except APIError as error:
                    log.warning(
                        "queue_poll_failed",
                        error=type(error).__name__,
                        error_detail=error.message,
                        **facts,
                    )

        await asyncio.gather(
            *(
                ask(self._poll_queue(board, name), repository=name)
                for name in board.list_repositories()
            )
        )
        await asyncio.gather(
            *(
                ask(self._poll_run(board, *run), repository=run[0], run_id=run[1])
                for run in board.list_open_runs()[-MOST_RUNS:]
            )
        )

    async def _poll_queue(self, board: Board, repository: str) -> None:
        asked_at = self._now()
        jobs = await self._lists.list_queued_jobs(repository)
        board.replace_queued(
            repository,
            [job for job in jobs if job.status == "queued"],
            asked_at=asked_at,
        )

    async def _poll_run(self, board: Board, repository: str, run_id: int) -> None:
        jobs = await self._lists.list_jobs(repository, run_id)
        for job in jobs:
            board.hear(job)
        if all(job.status == "completed" for job in jobs):
            board.close_run(repository, run_id)
