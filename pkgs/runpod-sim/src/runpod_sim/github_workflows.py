"""GitHub's operations on jobs and runs: show, cancel, run again.

Each reads its call, lets the forge decide and renders the outcome.
"""

from collections.abc import Callable, Sequence

from runpod_sim.forge_model import (
    Conclusion,
    Job,
    RefusedError,
    Run,
)
from runpod_sim.github_authority import Need
from runpod_sim.github_call import (
    REPOSITORY,
    Answer,
    Call,
    Operation,
    list_page,
)
from runpod_sim.github_wire import (
    render_job,
    render_run,
)

RUNS = f"{REPOSITORY}/actions/runs"
JOBS = f"{REPOSITORY}/actions/jobs"


def get_job(call: Call) -> Answer:
    """Show one job."""
    job = call.forge.get_job(call.repository, call.number("job_id"))
    return Answer(200, render_job(call.forge, job))


def list_runs(call: Call) -> Answer:
    """List runs; `status` may ask for a status or for a conclusion, as on GitHub."""
    runs = call.forge.list_runs(call.repository)
    wanted = call.query.get("status")
    if wanted is not None:
        runs = [run for run in runs if wanted in call.forge.run_state(run)]
    return list_page(call, "workflow_runs", runs, render_run)


def get_run(call: Call) -> Answer:
    """Show one run."""
    return Answer(200, render_run(call.forge, _run(call)))


def list_run_jobs(call: Call) -> Answer:
    """List a run's jobs: those of the newest attempt, or with `filter=all` all."""
    run = _run(call)
    attempt = None if call.query.get("filter") == "all" else run.attempt
    return _jobs(call, call.forge.list_jobs(run, attempt=attempt))


def list_attempt_jobs(call: Call) -> Answer:
    """List the jobs of one attempt."""
    attempt = call.number("attempt_number")
    jobs = call.forge.list_jobs(_run(call), attempt=attempt)
    if not jobs:
        raise RefusedError(404, "Not Found")
    return _jobs(call, jobs)


def cancel_run(call: Call) -> Answer:
    """Cancel a run."""
    call.forge.cancel_run(_run(call), force=False)
    return Answer(202, {})


def force_cancel_run(call: Call) -> Answer:
    """Cancel a run without waiting for its runners."""
    call.forge.cancel_run(_run(call), force=True)
    return Answer(202, {})


def rerun_all(call: Call) -> Answer:
    """Run all jobs of a run again."""
    return _rerun(call, _run(call), lambda _job: True)


def rerun_failed(call: Call) -> Answer:
    """Run those jobs again that did not succeed."""
    return _rerun(
        call, _run(call), lambda job: job.conclusion is not Conclusion.SUCCESS
    )


def rerun_job(call: Call) -> Answer:
    """Run one job again."""
    job = call.forge.get_job(call.repository, call.number("job_id"))
    run = call.forge.get_run(call.repository, job.run_id)
    return _rerun(call, run, lambda x: x.id == job.id)


def _rerun(call: Call, run: Run, chosen: Callable[[Job], bool]) -> Answer:
    jobs = call.forge.list_jobs(run, attempt=run.attempt)
    call.forge.rerun(run, [job for job in jobs if chosen(job)])
    return Answer(201, {})


def _run(call: Call) -> Run:
    return call.forge.get_run(call.repository, call.number("run_id"))


def _jobs(call: Call, jobs: Sequence[Job]) -> Answer:
    return list_page(call, "jobs", jobs, render_job)


def workflow_operations() -> list[Operation]:
    """Return the table of these operations."""
    read, write = Need.ACTIONS_READ, Need.ACTIONS_WRITE
    one = f"{RUNS}/{{run_id}}"
    return [
        Operation("get_job", "GET", f"{JOBS}/{{job_id}}", read, get_job),
        Operation("list_runs", "GET", RUNS, read, list_runs),
        Operation("get_run", "GET", one, read, get_run),
        Operation("list_run_jobs", "GET", f"{one}/jobs", read, list_run_jobs),
        Operation(
            "list_attempt_jobs",
            "GET",
            f"{one}/attempts/{{attempt_number}}/jobs",
            read,
            list_attempt_jobs,
        ),
        Operation("cancel_run", "POST", f"{one}/cancel", write, cancel_run),
        Operation(
            "force_cancel_run", "POST", f"{one}/force-cancel", write, force_cancel_run
        ),
        Operation("rerun_all", "POST", f"{one}/rerun", write, rerun_all),
        Operation(
            "rerun_failed", "POST", f"{one}/rerun-failed-jobs", write, rerun_failed
        ),
        Operation("rerun_job", "POST", f"{JOBS}/{{job_id}}/rerun", write, rerun_job),
    ]
