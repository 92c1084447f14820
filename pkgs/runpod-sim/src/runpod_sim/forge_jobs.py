"""Jobs of the simulated GitHub: queued, offered to runners, locked, ended.

The lower half of `forge.Forge`: it knows runners only as what a job is matched with.
It must not know HTTP or processes.

Rules that GitHub documents, and the figures they work with:

- a job goes to a runner that has all its labels, compared without case, and whose
  group the repository may use;
- an offered job that is not taken within 60 s goes back to the queue;
- a job queued for 24 h fails;
- a runner renews the job's lock; a lock not renewed for 10 min has lapsed, and the job
  fails as having lost communication with its runner.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runpod_sim.clock import Clock
from runpod_sim.forge_model import (
    Conclusion,
    Job,
    JobEvent,
    JobStatus,
    RefusedError,
    Run,
    Runner,
    RunnerGroup,
    ScopeKind,
    Session,
)

PICKUP_PATIENCE = timedelta(seconds=60)
QUEUE_PATIENCE = timedelta(hours=24)
LOCK_LIFE = timedelta(minutes=10)
# GitHub states neither of these two; they have the order of magnitude seen in reports.
SESSION_LIFE = timedelta(seconds=100)
ONE_JOB_DROP_LAG = timedelta(seconds=1)


class JobBoard:
    """Hold runs and jobs, and the runners and sessions they are matched with."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.runners: dict[int, Runner] = {}
        self.groups: dict[int, RunnerGroup] = {}
        self.sessions: dict[str, Session] = {}
        self.jobs: dict[int, Job] = {}
        self.runs: dict[int, Run] = {}
        self.events: list[JobEvent] = []
        self._repository_ids: dict[str, int] = {}
        self._counters: dict[str, int] = {}

    # Runs and jobs, as workflows and their owners see them

    def create_job(
        self, repository: str, name: str, labels: Sequence[str], script: str
    ) -> Job:
        """Queue a run of one job, as a push to `repository` would."""
        now = self.clock.now()
        number = self._next_id(f"run of {repository.casefold()}", 1)
        run = Run(
            self._next_id("run", 1001), repository, "simulated", number, 1, now, now
        )
        self.runs[run.id] = run
        return self._queue(run, name, tuple(labels), script)

    def get_job(self, repository: str, job_id: int) -> Job:
        """Return the repository's job of that id.

        Raises:
            RefusedError: 404: it has no such job.
        """
        self._sweep_jobs(self.clock.now())
        job = self.jobs.get(job_id)
        if job is None or job.repository.casefold() != repository.casefold():
            raise RefusedError(404, "Not Found")
        return job

    def get_run(self, repository: str, run_id: int) -> Run:
        """Return the repository's run of that id.

        Raises:
            RefusedError: 404: it has no such run.
        """
        run = self.runs.get(run_id)
        if run is None or run.repository.casefold() != repository.casefold():
            raise RefusedError(404, "Not Found")
        return run

    def list_runs(self, repository: str) -> list[Run]:
        """Return the repository's runs, newest first."""
        self._sweep_jobs(self.clock.now())
        wanted = repository.casefold()
        own = [run for run in self.runs.values() if run.repository.casefold() == wanted]
        return sorted(own, key=lambda run: run.id, reverse=True)

    def list_jobs(self, run: Run, *, attempt: int | None = None) -> list[Job]:
        """Return the jobs of one attempt, or of all when `attempt` is None."""
        self._sweep_jobs(self.clock.now())
        own = [job for job in self.jobs.values() if job.run_id == run.id]
        return [job for job in own if attempt in {None, job.run_attempt}]

    def run_state(self, run: Run) -> tuple[JobStatus, Conclusion | None]:
        """Derive a run's status and conclusion from its newest attempt."""
        jobs = self.list_jobs(run, attempt=run.attempt)
        statuses = {job.status for job in jobs}
        if statuses == {JobStatus.COMPLETED}:
            conclusions = {job.conclusion for job in jobs}
            worst = (Conclusion.CANCELLED, Conclusion.FAILURE)
            found = next((c for c in worst if c in conclusions), Conclusion.SUCCESS)
            return JobStatus.COMPLETED, found
        if statuses == {JobStatus.QUEUED}:
            return JobStatus.QUEUED, None
        return JobStatus.IN_PROGRESS, None

    def cancel_run(self, run: Run, *, force: bool) -> None:
        """Cancel queued jobs at once and ask running ones to stop.

        Args:
            force: End running ones without waiting for their runner.

        Raises:
            RefusedError: 409 when there is nothing left to cancel.
        """
        if self.run_state(run)[0] is JobStatus.COMPLETED:
            raise RefusedError(409, "Cannot cancel a workflow run that is completed.")
        for job in self.list_jobs(run, attempt=run.attempt):
            if job.status is JobStatus.QUEUED or (
                force and job.status is JobStatus.IN_PROGRESS
            ):
                self._end(job, Conclusion.CANCELLED)
            elif job.status is JobStatus.IN_PROGRESS:
                self._keep_job(replace(job, is_cancel_requested=True))

    def rerun(self, run: Run, jobs: Sequence[Job]) -> None:
        """Queue `jobs` again as the run's next attempt.

        Raises:
            RefusedError: 403 while the run is not completed or `jobs` is empty.
        """
        if self.run_state(run)[0] is not JobStatus.COMPLETED or not jobs:
            raise RefusedError(403, "This workflow run cannot be rerun")
        again = replace(run, attempt=run.attempt + 1, started_at=self.clock.now())
        self.runs[run.id] = again
        for job in jobs:
            self._queue(again, job.name, job.labels, job.script)

    def repository_id(self, repository: str) -> int:
        """Return the id of a repository, which exists as soon as it is named."""
        key = repository.casefold()
        if key not in self._repository_ids:
            self._repository_ids[key] = self._next_id("repository", 501)
        return self._repository_ids[key]

    # What listeners and workers do

    def is_online(self, runner: Runner) -> bool:
        """Tell whether a listener holds the runner."""
        return self.find_session(runner) is not None

    def find_session(self, runner: Runner) -> Session | None:
        """Return the session that holds the runner, if it has not lapsed."""
        self._sweep_sessions(self.clock.now())
        sessions = self.sessions.values()
        return next((x for x in sessions if x.runner_id == runner.id), None)

    def open_poll(self, runner: Runner, session_id: str) -> Session:
        """Note that a listener started to wait for a message.

        Raises:
            RefusedError: 404 for the session: it lapsed, or was never there.
        """
        session = self.sessions.get(session_id)
        if session is None or session.runner_id != runner.id:
            raise RefusedError(
                404, "The session does not exist", kind="RunnerSessionInvalid"
            )
        return self._touch_session(session, +1)

    def close_poll(self, session_id: str) -> None:
        """Note that a listener no longer waits, whether it was answered or cut off."""
        session = self.sessions.get(session_id)
        if session is not None:
            self._touch_session(session, -1)

    def offer_job(self, runner: Runner) -> Job | None:
        """Offer the runner the oldest queued job that fits it."""
        now = self.clock.now()
        self._sweep_jobs(now)
        runner = self.runners[runner.id]
        if runner.job_id is not None or (runner.is_ephemeral and runner.is_spent):
            return None
        for job in self.jobs.values():
            waiting = job.status is JobStatus.QUEUED and job.assigned_until is None
            if waiting and self.fits(job, runner):
                return self._keep_job(
                    replace(
                        job,
                        runner_id=runner.id,
                        assigned_until=now + PICKUP_PATIENCE,
                    )
                )
        return None

    def fits(self, job: Job, runner: Runner) -> bool:
        """Tell whether the job may run on the runner."""
        has = {label.name.casefold() for label in runner.labels}
        if not {label.casefold() for label in job.labels} <= has:
            return False
        scope, repository = runner.scope, job.repository.casefold()
        if scope.kind is ScopeKind.REPOSITORY:
            return scope.key == repository
        owner = repository.partition("/")[0]
        if scope.kind is ScopeKind.ORGANIZATION and scope.key != owner:
            return False
        group = self.groups[runner.group_id]
        chosen = self.repository_id(job.repository) in group.repository_ids
        return chosen or group.visibility != "selected"

    def acquire_job(self, runner: Runner, job_id: int) -> Job:
        """Start the job that was offered to the runner.

        Raises:
            RefusedError: 404: it is no longer this runner's to take.
        """
        job = self.jobs.get(job_id)
        offered = (
            job is not None
            and job.status is JobStatus.QUEUED
            and job.runner_id == runner.id
            and job.assigned_until is not None
        )
        if job is None or not offered:
            raise RefusedError(404, f"Job {job_id} is not offered to this runner")
        now = self.clock.now()
        runner = self.runners[runner.id]
        group = self.groups[runner.group_id]
        self._keep(replace(runner, job_id=job_id, is_spent=runner.is_ephemeral))
        started = self._keep_job(
            replace(
                job,
                status=JobStatus.IN_PROGRESS,
                runner_name=runner.name,
                runner_group_id=group.id,
                runner_group_name=group.name,
                started_at=now,
                renewed_at=now,
                assigned_until=None,
            )
        )
        self._note("in_progress", started)
        return started

    def get_running_job(self, runner: Runner, job_id: int) -> Job:
        """Return the job the runner is running.

        Raises:
            RefusedError: 404: the job is over, or another's.
        """
        job = self.jobs.get(job_id)
        if job is None or runner.job_id != job_id:
            raise RefusedError(404, f"Job {job_id} is not run by this runner")
        return job

    def open_renewal(self, job: Job) -> Job:
        """Note that the worker renews its lock, and waits for an order to cancel."""
        return self._touch_job(job, +1)

    def close_renewal(self, job_id: int) -> None:
        """Note that the worker no longer waits."""
        job = self.jobs.get(job_id)
        if job is not None:
            self._touch_job(job, -1)

    def append_log(self, job: Job, text: str) -> None:
        """Add to what the job has printed."""
        current = self.jobs[job.id]
        self._keep_job(replace(current, log=current.log + text))

    def complete_job(self, job: Job, conclusion: Conclusion) -> None:
        """Take the worker's word for how the job ended."""
        self._end(self.jobs[job.id], conclusion)

    # Rules that work by themselves

    def _sweep_jobs(self, now: datetime) -> None:
        for job in list(self.jobs.values()):
            if job.status is JobStatus.QUEUED:
                if job.assigned_until is not None and job.assigned_until <= now:
                    self._keep_job(replace(job, assigned_until=None, runner_id=None))
                elif now - job.created_at >= QUEUE_PATIENCE:
                    problem = "The job was not picked up within 24 hours."
                    self._end(replace(job, problem=problem), Conclusion.FAILURE)
            elif self._is_lapsed(job, now):
                problem = (
                    f"The self-hosted runner: {job.runner_name} "
                    "lost communication with the server."
                )
                self._end(replace(job, problem=problem), Conclusion.FAILURE)

    @staticmethod
    def _is_lapsed(job: Job, now: datetime) -> bool:
        if job.status is not JobStatus.IN_PROGRESS or job.open_renewals:
            return False
        return job.renewed_at is not None and now - job.renewed_at >= LOCK_LIFE

    def _sweep_sessions(self, now: datetime) -> None:
        for session in list(self.sessions.values()):
            lapsed = now - session.last_seen_at >= SESSION_LIFE
            if lapsed and not session.open_polls and not self._is_running(session):
                del self.sessions[session.id]

    def _is_running(self, session: Session) -> bool:
        runner = self.runners.get(session.runner_id)
        job = None if runner is None else self.jobs.get(runner.job_id or 0)
        return job is not None and job.open_renewals > 0

    def _queue(self, run: Run, name: str, labels: tuple[str, ...], script: str) -> Job:
        job = self._keep_job(
            Job(
                id=self._next_id("job", 2001),
                run_id=run.id,
                run_attempt=run.attempt,
                repository=run.repository,
                name=name,
                labels=labels,
                script=script,
                created_at=self.clock.now(),
            )
        )
        self._note("queued", job)
        return job

    def _end(self, job: Job, conclusion: Conclusion) -> None:
        now = self.clock.now()
        ended = self._keep_job(
            replace(
                job,
                status=JobStatus.COMPLETED,
                conclusion=conclusion,
                completed_at=now,
                assigned_until=None,
            )
        )
        self._note("completed", ended)
        runner = self.runners.get(job.runner_id or 0)
        if runner is not None and runner.job_id == job.id:
            lag = now + ONE_JOB_DROP_LAG if runner.is_ephemeral else None
            self._keep(replace(runner, job_id=None, remove_at=lag, last_seen_at=now))
            # The listener did not poll while its worker worked; it will now.
            session = self.find_session(runner)
            if session is not None:
                self.sessions[session.id] = replace(session, last_seen_at=now)

    def _touch_session(self, session: Session, polls: int) -> Session:
        now = self.clock.now()
        touched = replace(
            session, last_seen_at=now, open_polls=session.open_polls + polls
        )
        self.sessions[session.id] = touched
        runner = self.runners.get(session.runner_id)
        if runner is not None:
            self._keep(replace(runner, last_seen_at=now))
        return touched

    def _touch_job(self, job: Job, renewals: int) -> Job:
        current = self.jobs[job.id]
        return self._keep_job(
            replace(
                current,
                renewed_at=self.clock.now(),
                open_renewals=current.open_renewals + renewals,
            )
        )

    def _note(self, action: str, job: Job) -> None:
        self.events.append(JobEvent(action, job, self.clock.now()))

    def _keep(self, runner: Runner) -> Runner:
        self.runners[runner.id] = runner
        return runner

    def _keep_job(self, job: Job) -> Job:
        self.jobs[job.id] = job
        return job

    def _next_id(self, of: str, first: int) -> int:
        self._counters[of] = self._counters.get(of, first - 1) + 1
        return self._counters[of]
