"""The levers of the simulated GitHub: queue jobs, order faults, look at its state.

Everything below `/_sim/github`, and the runner packages; GitHub has none of it. The
levers obey the loopback alone, since a job is a script that a runner runs.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_sim import runner_tarball
from runpod_sim.admin_call import LOOPBACK_HOSTS, host_of
from runpod_sim.forge import Forge
from runpod_sim.forge_model import Deprecation, Job, RefusedError
from runpod_sim.github_broker import read_json, text
from runpod_sim.github_call import Desk, Fault, FaultKind, error_body
from runpod_sim.github_credential_levers import credential_levers
from runpod_sim.github_penalties import Limits
from runpod_sim.github_wire import parse_runner_url, render_instant, render_runner

Endpoint = Callable[[Request], Awaitable[Response]]


def admin_routes(desk: Desk) -> list[BaseRoute]:
    """Return the levers' routes and the downloads."""
    admin = Admin(desk)
    jobs, faults = "/_sim/github/jobs", "/_sim/github/faults"
    table: list[tuple[str, str, Endpoint]] = [
        ("POST", jobs, admin.create_job),
        ("GET", jobs, admin.list_jobs),
        ("GET", f"{jobs}/{{job_id:int}}", admin.get_job),
        ("GET", "/_sim/github/state", admin.get_state),
        ("POST", faults, admin.create_fault),
        ("GET", faults, admin.list_faults),
        ("DELETE", faults, admin.delete_faults),
        ("POST", "/_sim/github/hooks", admin.create_hook),
        ("POST", "/_sim/github/deprecations", admin.create_deprecation),
        ("POST", "/_sim/github/limits", admin.set_limits),
        *credential_levers(desk),
    ]
    return [
        *(Route(path, lever(x), methods=[method]) for method, path, x in table),
        Route("/_sim/downloads/{filename}", download, methods=["GET"]),
    ]


def lever(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that a page in a browser on this host cannot pull."""

    async def answer(request: Request) -> Response:
        try:
            refuse_strangers(request)
            return await endpoint(request)
        except RefusedError as error:
            return JSONResponse(error_body(error), error.status)

    return answer


def refuse_strangers(request: Request) -> None:
    """Refuse what a page in a browser may send.

    It may know this host under a name of its own, and may send a form or plain text
    anywhere; it may not send JSON where it was not invited.
    """
    if host_of(request) not in LOOPBACK_HOSTS:
        raise RefusedError(403, "The levers obey the loopback alone")
    kind = request.headers.get("content-type", "").partition(";")[0]
    if request.method == "POST" and kind != "application/json":
        raise RefusedError(415, "The levers take application/json")


class Admin:
    """Pulls the levers of one served forge."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.forge: Forge = desk.forge

    async def create_job(self, request: Request) -> Response:
        """Queue a run of one job."""
        body = await read_json(request)
        job = self.forge.create_job(
            _repository(body),
            text(body, "name"),
            _strings(body, "labels"),
            text(body, "script"),
        )
        self.desk.hooks.flush()
        return JSONResponse({"id": job.id, "run_id": job.run_id}, 201)

    async def list_jobs(self, _request: Request) -> Response:
        """List every job, oldest first."""
        self._catch_up()
        return JSONResponse([render_lever_job(x) for x in self.forge.jobs.values()])

    async def get_job(self, request: Request) -> Response:
        """Show one job with its log."""
        self._catch_up()
        job = self.forge.jobs.get(request.path_params["job_id"])
        if job is None:
            raise RefusedError(404, "There is no job of that id")
        return JSONResponse(render_lever_job(job))

    async def get_state(self, _request: Request) -> Response:
        """Show runners, jobs by status, sessions and outstanding faults."""
        self._catch_up()
        statuses = Counter(job.status.value for job in self.forge.jobs.values())
        runners = [
            {**render_runner(self.forge, runner), "scope": runner.scope.path}
            for runner in self.forge.runners.values()
        ]
        return JSONResponse(
            {
                "now": render_instant(self.forge.clock.now()),
                "runners": runners,
                "sessions": len(self.forge.sessions),
                "jobs": dict(statuses),
                "faults": [render_fault(fault) for fault in self.desk.faults],
                "calls": self.desk.served,
                "limits": {
                    "refused": self.desk.limits.refused,
                    "early": self.desk.limits.early,
                    "latest_early_seconds": self.desk.limits.latest_early_seconds,
                },
            }
        )

    def _catch_up(self) -> None:
        self.forge.sweep()
        self.desk.hooks.flush()

    async def create_fault(self, request: Request) -> Response:
        """Order trouble for the next calls of an operation."""
        body = await read_json(request)
        fault = parse_fault(body)
        self.desk.faults.append(fault)
        return JSONResponse(render_fault(fault), 201)

    async def list_faults(self, _request: Request) -> Response:
        """List what is still to come."""
        return JSONResponse([render_fault(fault) for fault in self.desk.faults])

    async def delete_faults(self, _request: Request) -> Response:
        """Call off all trouble."""
        self.desk.faults.clear()
        return Response(status_code=204)

    async def create_hook(self, request: Request) -> Response:
        """Send changes of jobs to a URL, each signed with the secret."""
        body = await read_json(request)
        scope = parse_runner_url("/" + text(body, "scope"))
        copies, lost = (
            _count(body, key, default) for key, default in (("copies", 1), ("lost", 0))
        )
        hook = self.desk.hooks.create(scope, text(body, "url"), text(body, "secret"))
        hook.copies, hook.lost = copies, lost
        return JSONResponse({"id": hook.id}, 201)

    async def set_limits(self, request: Request) -> Response:
        """Set the secondary limits, and forget what was done so far."""
        body = await read_json(request)
        wait = _count(body, "wait_seconds", 60)
        tells = body.get("tells", True) is True
        calls, creations = (
            _count(body, key, 0) or None
            for key in ("calls_per_minute", "creations_per_minute")
        )
        self.desk.limits.set(Limits(calls, creations, wait, tells))
        return JSONResponse({"calls_per_minute": calls}, 201)

    async def create_deprecation(self, request: Request) -> Response:
        """Announce the end of a runner version."""
        body = await read_json(request)
        schedule = Deprecation(
            text(body, "version"),
            _instant(body, "registration_deprecates_at"),
            _instant(body, "runtime_deprecates_at"),
        )
        self.forge.set_deprecation(schedule)
        return JSONResponse({"version": schedule.version}, 201)


async def download(request: Request) -> Response:
    """Send a runner package."""
    wanted = request.path_params["filename"]
    for architecture in runner_tarball.ARCHITECTURES:
        if runner_tarball.filename(architecture) == wanted:
            content = runner_tarball.pack(architecture)
            return Response(content, media_type="application/gzip")
    return JSONResponse({"message": "Not Found"}, 404)


def parse_fault(body: Mapping[str, Any]) -> Fault:
    """Read an order for trouble.

    Raises:
        RefusedError: 422: it is not one.
    """
    kinds = {kind.value: kind for kind in FaultKind}
    kind = kinds.get(text(body, "kind"))
    if kind is None:
        raise RefusedError(422, f"'kind' must be one of {', '.join(sorted(kinds))}")
    times, wait = body.get("times", 1), body.get("wait_seconds", 60)
    if not isinstance(times, int) or times < 1:
        raise RefusedError(422, "'times' must be a positive integer")
    if not isinstance(wait, int) or wait < 0:
        raise RefusedError(422, "'wait_seconds' must be a whole number of seconds")
    return Fault(str(body.get("operation", "*")), kind, times, wait)


def render_fault(fault: Fault) -> dict[str, Any]:
    """Render an order for trouble as it was given."""
    return {
        "operation": fault.operation,
        "kind": fault.kind.value,
        "times": fault.times,
        "wait_seconds": fault.wait_seconds,
    }


def render_lever_job(job: Job) -> dict[str, Any]:
    """Render a job with what GitHub's own API does not show: its log and script."""
    return {
        "id": job.id,
        "run_id": job.run_id,
        "run_attempt": job.run_attempt,
        "repository": job.repository,
        "name": job.name,
        "labels": list(job.labels),
        "status": job.status.value,
        "conclusion": job.conclusion,
        "runner_name": job.runner_name,
        "problem": job.problem,
        "log": job.log,
    }


def _repository(body: Mapping[str, Any]) -> str:
    repository = text(body, "repository")
    if not all(repository.split("/")) or repository.count("/") != 1:
        raise RefusedError(422, "'repository' must be OWNER/NAME")
    return repository


def _strings(body: Mapping[str, Any], key: str) -> list[str]:
    value = body.get(key)
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise RefusedError(422, f"{key!r} must be a list of strings")
    return value


def _count(body: Mapping[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if not isinstance(value, int) or value < 0:
        raise RefusedError(422, f"{key!r} must be a whole number")
    return value


def _instant(body: Mapping[str, Any], key: str) -> datetime | None:
    value = body.get(key)
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise RefusedError(422, f"{key!r} must be an ISO 8601 instant") from None
    if at.tzinfo is None:
        raise RefusedError(422, f"{key!r} must say its time zone")
    return at
