"""GitHub's operations on workflow jobs, runs and webhooks' deliveries.

The half of `github.GitHub` that has nothing to do with runners themselves. It must not
know HTTP: `github_session` does.
"""

import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus

from runner_installer import github_wire as wire
from runner_installer.github_lists import MAX_PAGES, PAGE_SIZE, list_all
from runner_installer.github_needs import Need
from runner_installer.github_session import Call, GitHubSession
from runner_installer.model import (
    Delivery,
    Scope,
    WorkflowJob,
    WorkflowRun,
    parse_scope,
)
from runpod_client import ConfigError, RejectedError
from runpod_client.logs import get_logger

# a run that waits for a first job is queued, one with several may be in progress
_STATUSES_WITH_QUEUED_JOBS = ("queued", "in_progress")
_PARALLEL_LISTS = 6

log = get_logger(__name__)


class JobOperations:
    """Jobs, runs and deliveries, over a session."""

    def __init__(self, session: GitHubSession) -> None:
        self._session = session

    def list_queued_jobs(self, repository: Scope | str) -> tuple[WorkflowJob, ...]:
        """Return the jobs that wait for a runner, oldest first.

        Costs a call per queued or running run, which is free where nothing has changed.
        """
        place = _repository(repository)
        runs: dict[int, WorkflowRun] = {}
        for status in _STATUSES_WITH_QUEUED_JOBS:
            runs |= {run.run_id: run for run in self.list_runs(place, status=status)}
        if not runs:
            return ()
        with ThreadPoolExecutor(_PARALLEL_LISTS, "github-jobs") as pool:
            lists = pool.map(lambda run_id: self.list_jobs(place, run_id), runs)
            queued = [job for jobs in lists for job in jobs if job.status == "queued"]
        return tuple(sorted(queued, key=lambda job: job.job_id))

    def list_runs(
        self, repository: Scope | str, *, status: str = ""
    ) -> tuple[WorkflowRun, ...]:
        """Return the repository's runs, newest first; only those of a status."""
        place = _repository(repository)
        items = list_all(
            self._session,
            Call(
                method="GET",
                path=f"{place.api_path}/actions/runs",
                operation="list_runs",
                scope=place,
                need=Need.ACTIONS_READ,
            ),
            {"status": status} if status else {},
            wire.RunPage,
            lambda page: page.workflow_runs,
        )
        return tuple(wire.parse_run(item, str(place)) for item in items)

    def list_jobs(
        self, repository: Scope | str, run_id: int, *, every_attempt: bool = False
    ) -> tuple[WorkflowJob, ...]:
        """Return a run's jobs, those of the newest attempt unless all are asked for."""
        place = _repository(repository)
        items = list_all(
            self._session,
            Call(
                method="GET",
                path=f"{place.api_path}/actions/runs/{run_id}/jobs",
                operation="list_jobs",
                scope=place,
                need=Need.ACTIONS_READ,
            ),
            {"filter": "all" if every_attempt else "latest"},
            wire.JobPage,
            lambda page: page.jobs,
        )
        return tuple(wire.parse_job(item, str(place)) for item in items)

    def get_job(self, repository: Scope | str, job_id: int) -> WorkflowJob:
        """Return one job, fresh.

        Raises:
            NotFoundError: The repository has no such job.
        """
        place = _repository(repository)
        answer = self._session.read(
            Call(
                method="GET",
                path=f"{place.api_path}/actions/jobs/{job_id}",
                operation="get_job",
                scope=place,
                need=Need.ACTIONS_READ,
                is_fresh=True,
            )
        )
        return wire.parse_job(wire.decode(answer, wire.JobWire, "get_job"), str(place))

    def get_run(self, repository: Scope | str, run_id: int) -> WorkflowRun:
        """Return one run, fresh.

        Raises:
            NotFoundError: The repository has no such run.
        """
        place = _repository(repository)
        answer = self._session.read(
            Call(
                method="GET",
                path=f"{place.api_path}/actions/runs/{run_id}",
                operation="get_run",
                scope=place,
                need=Need.ACTIONS_READ,
                is_fresh=True,
            )
        )
        return wire.parse_run(wire.decode(answer, wire.RunWire, "get_run"), str(place))

    def rerun_job(self, repository: Scope | str, job_id: int) -> None:
        """Run one job again, as the run's next attempt; never repeated by itself.

        Raises:
            AuthenticationError: The run is not over yet (GitHub answers 403), or the
                token may not.
            TransportError: No answer: `get_run` tells whether there is a new attempt.
        """
        place = _repository(repository)
        self._change(place, f"jobs/{job_id}/rerun", "rerun_job")
        log.info("github_job_rerun", repository=str(place), job_id=job_id)

    def rerun_failed_jobs(self, repository: Scope | str, run_id: int) -> None:
        """Run what failed in a run again; as `rerun_job` otherwise.

        Raises:
            AuthenticationError: As of `rerun_job`.
            TransportError: As of `rerun_job`.
        """
        place = _repository(repository)
        self._change(place, f"runs/{run_id}/rerun-failed-jobs", "rerun_failed_jobs")
        log.info("github_run_rerun", repository=str(place), run_id=run_id)

    def cancel_run(
        self, repository: Scope | str, run_id: int, *, force: bool = False
    ) -> bool:
        """Cancel a run; tell whether there was anything left to cancel.

        Args:
            force: Do not wait for what its jobs do when they are cancelled.
        """
        place = _repository(repository)
        word = "force-cancel" if force else "cancel"
        try:
            self._session.read(
                Call(
                    method="POST",
                    path=f"{place.api_path}/actions/runs/{run_id}/{word}",
                    operation="cancel_run",
                    scope=place,
                    need=Need.ACTIONS_WRITE,
                )
            )
        except RejectedError as error:
            if error.http_status != HTTPStatus.CONFLICT:
                raise
            return False
        log.info("github_run_cancelled", repository=str(place), run_id=run_id)
        return True

    def list_deliveries(
        self, scope: Scope, hook_id: int, *, since: datetime | None = None
    ) -> tuple[Delivery, ...]:
        """Return a webhook's deliveries of the last days, newest first.

        Args:
            since: Older ones are left out, and not asked for.
        """
        found: list[Delivery] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            query = {"per_page": PAGE_SIZE} | ({"cursor": cursor} if cursor else {})
            answer = self._session.read(
                Call(
                    method="GET",
                    path=f"{_deliveries(scope, hook_id)}?{urllib.parse.urlencode(query)}",
                    operation="list_deliveries",
                    scope=scope,
                    need=Need.HOOKS,
                )
            )
            items = wire.decode(answer, list[wire.DeliveryWire], "list_deliveries")
            found += map(wire.parse_delivery, items)
            cursor = wire.parse_next_cursor(answer.headers.get("link", ""))
            if not cursor or (since and found and found[-1].delivered_at < since):
                break
        return tuple(x for x in found if since is None or x.delivered_at >= since)

    def redeliver(self, scope: Scope, hook_id: int, delivery_id: int) -> None:
        """Have GitHub deliver once more, under the same guid.

        Repeated where no answer comes: receivers tell repetitions by the guid.
        """
        self._session.read(
            Call(
                method="POST",
                path=f"{_deliveries(scope, hook_id)}/{delivery_id}/attempts",
                operation="redeliver",
                scope=scope,
                need=Need.HOOKS,
            )
        )

    def _change(self, place: Scope, path: str, operation: str) -> None:
        self._session.send(
            Call(
                method="POST",
                path=f"{place.api_path}/actions/{path}",
                operation=operation,
                scope=place,
                need=Need.ACTIONS_WRITE,
            )
        )


def _deliveries(scope: Scope, hook_id: int) -> str:
    return f"{scope.api_path}/hooks/{hook_id}/deliveries"


def _repository(place: Scope | str) -> Scope:
    """Return the repository that is meant.

    Raises:
        ConfigError: It is an organization or enterprise, which have no jobs.
    """
    scope = parse_scope(place) if isinstance(place, str) else place
    if not scope.repository:
        raise ConfigError(
            f"{scope} is no repository, and only repositories have jobs",
            setting="repo",
            hint="Write owner/name.",
        )
    return scope
