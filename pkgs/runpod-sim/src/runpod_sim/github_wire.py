"""The simulated GitHub's values as the JSON its REST API shows.

Pure rendering, plus the reading of scopes from URLs; no rule is decided here.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from runpod_sim.forge import Forge
from runpod_sim.forge_model import (
    Deprecation,
    Job,
    Label,
    RefusedError,
    Run,
    Runner,
    RunnerGroup,
    Scope,
    ScopeKind,
)

DEFAULT_PAGE_SIZE = 30
MAX_PAGE_SIZE = 100


def render_instant(at: datetime | None) -> str | None:
    """Write an instant as GitHub does, to the second."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def parse_runner_url(url: str) -> Scope:
    """Read the scope from the URL a runner is configured for.

    Raises:
        RefusedError: 404: no scope has such a URL.
    """
    parts = [part for part in urlsplit(url).path.split("/") if part]
    match parts:
        case ["enterprises", name]:
            return Scope(ScopeKind.ENTERPRISE, name)
        case [owner, repo]:
            return Scope(ScopeKind.REPOSITORY, f"{owner}/{repo}")
        case [org]:
            return Scope(ScopeKind.ORGANIZATION, org)
        case _:
            raise RefusedError(404, "Not Found")


def render_label(label: Label) -> dict[str, Any]:
    """Render one label."""
    kind = "read-only" if label.is_read_only else "custom"
    return {"id": label.id, "name": label.name, "type": kind}


def render_labels(labels: Sequence[Label]) -> dict[str, Any]:
    """Render a runner's labels as a list of their own."""
    return {"total_count": len(labels), "labels": [render_label(x) for x in labels]}


def render_runner(forge: Forge, runner: Runner) -> dict[str, Any]:
    """Render a runner with the two states a manager reads: status and busy."""
    return {
        "id": runner.id,
        "runner_group_id": runner.group_id,
        "name": runner.name,
        "os": runner.os,
        "status": "online" if forge.is_online(runner) else "offline",
        "busy": runner.job_id is not None,
        "ephemeral": runner.is_ephemeral,
        "version": runner.version,
        "labels": [render_label(label) for label in runner.labels],
    }


def render_group(forge: Forge, group: RunnerGroup) -> dict[str, Any]:
    """Render a runner group."""
    api = f"{forge.base_url}/api/v3{group.scope.path}/actions/runner-groups/{group.id}"
    body = {
        "id": group.id,
        "name": group.name,
        "visibility": group.visibility,
        "default": group.is_default,
        "runners_url": f"{api}/runners",
        "allows_public_repositories": group.allows_public_repositories,
        "restricted_to_workflows": group.restricted_to_workflows,
        "selected_workflows": list(group.selected_workflows),
        "workflow_restrictions_read_only": False,
    }
    if group.scope.kind is not ScopeKind.ENTERPRISE:
        body["inherited"] = False
    return body


def render_deprecation(schedule: Deprecation) -> dict[str, Any]:
    """Render a runner version's schedule; what is not announced is left out."""
    body: dict[str, Any] = {"runner_version": schedule.version}
    for name in ("registration_deprecates_at", "runtime_deprecates_at"):
        at = getattr(schedule, name)
        if at is not None:
            body[name] = render_instant(at)
    return body


def render_job(forge: Forge, job: Job) -> dict[str, Any]:
    """Render a job as the REST API and the `workflow_job` event both show it."""
    root = f"{forge.base_url}/api/v3/repos/{job.repository}"
    web = f"{forge.base_url}/{job.repository}/actions/runs/{job.run_id}"
    return {
        "id": job.id,
        "run_id": job.run_id,
        "run_url": f"{root}/actions/runs/{job.run_id}",
        "run_attempt": job.run_attempt,
        "node_id": f"CR_{job.id}",
        "head_sha": head_sha(job.repository),
        "head_branch": "main",
        "workflow_name": "simulated",
        "url": f"{root}/actions/jobs/{job.id}",
        "html_url": f"{web}/job/{job.id}",
        "status": job.status.value,
        "conclusion": job.conclusion,
        "created_at": render_instant(job.created_at),
        "started_at": render_instant(job.started_at or job.created_at),
        "completed_at": render_instant(job.completed_at),
        "name": job.name,
        "steps": render_steps(job),
        "check_run_url": f"{root}/check-runs/{job.id}",
        "labels": list(job.labels),
        # A job that no runner has taken yet names none, even while it is offered.
        "runner_id": None if job.started_at is None else job.runner_id,
        "runner_name": job.runner_name,
        "runner_group_id": job.runner_group_id,
        "runner_group_name": job.runner_group_name,
    }


def render_steps(job: Job) -> list[dict[str, Any]]:
    """Render the one step a simulated job has, once it has started."""
    if job.started_at is None:
        return []
    return [
        {
            "name": "Run script",
            "status": job.status.value,
            "conclusion": job.conclusion,
            "number": 1,
            "started_at": render_instant(job.started_at),
            "completed_at": render_instant(job.completed_at),
        }
    ]


def render_run(forge: Forge, run: Run) -> dict[str, Any]:
    """Render a workflow run."""
    root = f"{forge.base_url}/api/v3/repos/{run.repository}"
    api = f"{root}/actions/runs/{run.id}"
    status, conclusion = forge.run_state(run)
    jobs = forge.list_jobs(run)
    ended = [job.completed_at for job in jobs if job.completed_at is not None]
    updated_at = max([run.started_at, *ended])
    return {
        "id": run.id,
        "name": run.name,
        "node_id": f"WFR_{run.id}",
        "head_branch": "main",
        "head_sha": head_sha(run.repository),
        "path": ".github/workflows/simulated.yml",
        "display_title": run.name,
        "run_number": run.number,
        "run_attempt": run.attempt,
        "event": "push",
        "status": status.value,
        "conclusion": conclusion,
        "workflow_id": 1,
        "url": api,
        "html_url": f"{forge.base_url}/{run.repository}/actions/runs/{run.id}",
        "created_at": render_instant(run.created_at),
        "updated_at": render_instant(updated_at),
        "run_started_at": render_instant(run.started_at),
        "jobs_url": f"{api}/jobs",
        "logs_url": f"{api}/logs",
        "check_suite_url": f"{root}/check-suites/{run.id}",
        "artifacts_url": f"{api}/artifacts",
        "cancel_url": f"{api}/cancel",
        "rerun_url": f"{api}/rerun",
        "workflow_url": f"{root}/actions/workflows/1",
        "pull_requests": [],
        "repository": render_repository(forge, run.repository),
        "head_repository": render_repository(forge, run.repository),
        "head_commit": None,
    }


def render_repository(forge: Forge, repository: str) -> dict[str, Any]:
    """Render the few facts about a repository that runner managers read."""
    owner, _, name = repository.partition("/")
    return {
        "id": forge.repository_id(repository),
        "name": name,
        "full_name": repository,
        "private": True,
        "html_url": f"{forge.base_url}/{repository}",
        "url": f"{forge.base_url}/api/v3/repos/{repository}",
        "owner": {
            "login": owner,
            "id": forge.repository_id(owner),
            "type": "Organization",
        },
    }


def head_sha(repository: str) -> str:
    """Return a commit id that stays the same for a repository."""
    return hashlib.sha1(repository.encode(), usedforsecurity=False).hexdigest()


def parse_page(query: dict[str, str]) -> tuple[int, int]:
    """Read page and page size; GitHub puts what is out of range right, silently."""
    page, size = query.get("page", ""), query.get("per_page", "")
    number = int(page) if page.isascii() and page.isdigit() else 1
    count = int(size) if size.isascii() and size.isdigit() else DEFAULT_PAGE_SIZE
    return max(number, 1), min(max(count, 1), MAX_PAGE_SIZE)


def render_links(url: str, query: dict[str, str], total: int) -> dict[str, str]:
    """Return the Link header for a page of a list of `total` things."""
    page, size = parse_page(query)
    last = max(1, -(-total // size))
    wanted = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page <= 1:
        del wanted["prev"], wanted["first"]
    if page >= last:
        del wanted["next"], wanted["last"]
    root = url.partition("?")[0]
    links = [
        f'<{root}?{urlencode({**query, "page": number})}>; rel="{relation}"'
        for relation, number in wanted.items()
    ]
    return {"link": ", ".join(links)} if links else {}
