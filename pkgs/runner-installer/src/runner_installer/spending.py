"""Dollars per workflow run: what the pod cost while it was on the run's jobs.

    a job's dollars = the pod's price per hour x the job's time / runners on that pod

The times are GitHub's own (`started_at` to `completed_at`), the price is the pod's as
RunPod bills it. Idle time and boots belong to no run; they show in a pool's dollars.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from runner_installer.model import WorkflowJob

MICRO = Decimal("0.000001")
_TIMEOUT_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job_costs (
  job_id INTEGER PRIMARY KEY,
  repository TEXT NOT NULL, run_id INTEGER NOT NULL, run_attempt INTEGER NOT NULL,
  workflow TEXT NOT NULL, job TEXT NOT NULL, conclusion TEXT NOT NULL,
  pool TEXT NOT NULL, pod_id TEXT NOT NULL, gpu_type TEXT NOT NULL,
  price TEXT NOT NULL, share INTEGER NOT NULL,
  started_at TEXT NOT NULL, completed_at TEXT NOT NULL, usd TEXT NOT NULL
)
"""


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """What one job cost.

    Attributes:
        share: How many runners the pod's price is shared by.
    """

    job_id: int
    repository: str
    run_id: int
    run_attempt: int
    workflow: str
    job: str
    conclusion: str
    pool: str
    pod_id: str
    gpu_type: str
    price_usd_per_hour: Decimal
    share: int
    started_at: datetime
    completed_at: datetime

    @property
    def seconds(self) -> float:
        """Return how long the job ran."""
        return max((self.completed_at - self.started_at).total_seconds(), 0.0)

    @property
    def usd(self) -> Decimal:
        """Return the job's dollars, to the millionth."""
        hours = Decimal(str(self.seconds)) / 3600
        cost = self.price_usd_per_hour * hours / max(self.share, 1)
        return cost.quantize(MICRO, ROUND_HALF_UP)


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """What one workflow run cost, all attempts together."""

    repository: str
    run_id: int
    workflow: str
    jobs: tuple[JobCost, ...]

    @property
    def usd(self) -> Decimal:
        """Return the run's dollars."""
        return sum((job.usd for job in self.jobs), Decimal(0))

    @property
    def seconds(self) -> float:
        """Return the time of all its jobs together."""
        return sum(job.seconds for job in self.jobs)


def price_job(
    job: WorkflowJob,
    *,
    pool: str,
    pod_id: str,
    gpu_type: str,
    price_usd_per_hour: Decimal,
    share: int,
) -> JobCost | None:
    """Return what a job cost; None for one that never ran, or has no times."""
    if job.started_at is None or job.completed_at is None or not job.runner_name:
        return None
    return JobCost(
        job_id=job.job_id,
        repository=job.repository,
        run_id=job.run_id,
        run_attempt=job.run_attempt,
        workflow=job.workflow_name,
        job=job.name,
        conclusion=job.conclusion,
        pool=pool,
        pod_id=pod_id,
        gpu_type=gpu_type,
        price_usd_per_hour=price_usd_per_hour,
        share=share,
        started_at=job.started_at,
        completed_at=job.completed_at,
    )


def sum_runs(costs: Sequence[JobCost]) -> list[RunCost]:
    """Return the costs by run, the newest run first."""
    runs: dict[tuple[str, int], list[JobCost]] = {}
    for cost in costs:
        runs.setdefault((cost.repository, cost.run_id), []).append(cost)
    found = [
        RunCost(
            repository=repository,
            run_id=run_id,
            workflow=jobs[0].workflow,
            jobs=tuple(sorted(jobs, key=lambda job: job.started_at)),
        )
        for (repository, run_id), jobs in runs.items()
    ]
    return sorted(found, key=lambda run: run.jobs[-1].completed_at, reverse=True)


class Ledger:
    """The costs of all jobs, in a small database; a job is written once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, cost: JobCost) -> bool:
        """Write a job's cost; tell whether it was not there yet."""
        row = (
            cost.job_id,
            cost.repository,
            cost.run_id,
            cost.run_attempt,
            cost.workflow,
            cost.job,
            cost.conclusion,
            cost.pool,
            cost.pod_id,
            cost.gpu_type,
            str(cost.price_usd_per_hour),
            cost.share,
            cost.started_at.isoformat(),
            cost.completed_at.isoformat(),
            str(cost.usd),
        )
        marks = ",".join("?" * len(row))
        with self._opened() as database:
            done = database.execute(
                f"INSERT OR IGNORE INTO job_costs VALUES ({marks})",  # noqa: S608  # only question marks
                row,
            )
            return done.rowcount == 1

    def list_costs(
        self, *, repository: str | None = None, run_id: int | None = None
    ) -> list[JobCost]:
        """Return the costs of all jobs, of a repository's, or of one run's."""
        if not self._path.exists():
            return []
        clauses, values = ["1"], list[str | int]()
        if repository is not None:
            clauses.append("lower(repository) = ?")
            values.append(repository.lower())
        if run_id is not None:
            clauses.append("run_id = ?")
            values.append(run_id)
        with self._opened() as database:
            rows = database.execute(
                f"SELECT * FROM job_costs WHERE {' AND '.join(clauses)} "  # noqa: S608  # clauses of ours
                "ORDER BY completed_at",
                values,
            ).fetchall()
        return [_parse(row) for row in rows]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=_TIMEOUT_SECONDS)
        try:
            database.execute(_SCHEMA)
            with database:
                yield database
        finally:
            database.close()


def _parse(row: tuple[str | int, ...]) -> JobCost:
    return JobCost(
        job_id=int(row[0]),
        repository=str(row[1]),
        run_id=int(row[2]),
        run_attempt=int(row[3]),
        workflow=str(row[4]),
        job=str(row[5]),
        conclusion=str(row[6]),
        pool=str(row[7]),
        pod_id=str(row[8]),
        gpu_type=str(row[9]),
        price_usd_per_hour=Decimal(str(row[10])),
        share=int(row[11]),
        started_at=datetime.fromisoformat(str(row[12])),
        completed_at=datetime.fromisoformat(str(row[13])),
    )
