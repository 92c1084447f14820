"""Whether a workflow has the shape GitHub takes: keys, jobs, needs, steps. Pure."""

import re
from collections.abc import Iterable, Iterator

from runner_installer.checking.findings import Finding
from runner_installer.checking.source import Items, Table, Text, walk_tables
from runner_installer.checking.workflow import Job, Step, Workflow
from runpod_client import render_nearest

TOP_KEYS = (
    "name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs",
)  # fmt: skip
JOB_KEYS = (
    "name", "permissions", "needs", "if", "runs-on", "environment", "concurrency",
    "outputs", "env", "defaults", "steps", "timeout-minutes", "strategy",
    "continue-on-error", "container", "services", "uses", "with", "secrets", "snapshot",
)  # fmt: skip
STEP_KEYS = (
    "id", "if", "name", "uses", "run", "working-directory", "shell", "with", "env",
    "continue-on-error", "timeout-minutes",
)  # fmt: skip
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def check_shape(workflow: Workflow) -> Iterator[Finding]:
    """Yield what GitHub would refuse, or silently take for something else."""
    yield from _repeated_keys(workflow.table)
    yield from _unknown_keys(workflow.table, TOP_KEYS, "a workflow")
    if workflow.table.get("on") is None:
        yield _missing(workflow.table, "on", "when it runs: on: push")
    if not workflow.jobs:
        yield _missing(workflow.table, "jobs", "jobs with runs-on and steps")
    yield from _misshapen_jobs(workflow)
    for job in workflow.jobs:
        yield from _check_job(workflow, job)
    yield from _cycles(workflow)


def _repeated_keys(tree: Table) -> Iterator[Finding]:
    for table in walk_tables(tree):
        seen: set[str] = set()
        for key in table.names:
            if key.value in seen:
                yield Finding(
                    rule="key-repeated",
                    message=f"the key {key.value!r} stands here a second time",
                    place=key.place,
                )
            seen.add(key.value)


def _unknown_keys(table: Table, known: Iterable[str], of: str) -> Iterator[Finding]:
    names = tuple(known)
    for key in table.names:
        if key.value not in names:
            yield Finding(
                rule="key-unknown",
                message=f"{key.value!r} is no key of {of}",
                place=key.place,
                hint=render_nearest(key.value, names),
            )


def _missing(table: Table, key: str, what: str) -> Finding:
    return Finding(
        rule="key-missing",
        message=f"the key {key!r} is missing",
        place=table.place,
        hint=f"Write {what}.",
    )


def _misshapen_jobs(workflow: Workflow) -> Iterator[Finding]:
    jobs = workflow.table.find_table("jobs")
    for key, value in jobs.entries if jobs else ():
        if not isinstance(value, Table):
            yield Finding(
                rule="job-shape",
                message=f"job {key.value} has no keys",
                place=key.place,
            )
        elif not _ID.fullmatch(key.value):
            yield Finding(
                rule="job-name",
                message=f"{key.value!r} cannot be a job's name",
                place=key.place,
                hint="Letters, digits, - and _; a letter or _ first.",
            )


def _check_job(workflow: Workflow, job: Job) -> Iterator[Finding]:
    yield from _unknown_keys(job.table, JOB_KEYS, "a job")
    if job.uses is None:
        if job.table.get("runs-on") is None:
            yield _missing(job.table, "runs-on", "where the job runs")
        steps = job.table.get("steps")
        if not isinstance(steps, Items) or not steps.values:
            yield _missing(job.table, "steps", "what the job does")
    elif job.steps:
        yield Finding(
            rule="job-shape",
            message=f"job {job.name} calls a workflow and has steps",
            place=job.key.place,
        )
    yield from _check_needs(workflow, job)
    yield from _check_number(job.table, "timeout-minutes")
    yield from _check_step_ids(job)
    for step in job.steps:
        yield from _check_step(step)


def _check_needs(workflow: Workflow, job: Job) -> Iterator[Finding]:
    names = [other.name for other in workflow.jobs if other.name != job.name]
    for need in job.needs:
        if "${{" not in need.value and workflow.find_job(need.value) is None:
            yield Finding(
                rule="needs-unknown",
                message=f"job {job.name} needs {need.value!r}, which is no job here",
                place=need.place,
                hint=render_nearest(need.value, names),
            )


def _cycles(workflow: Workflow) -> Iterator[Finding]:
    for job in workflow.jobs:
        if job.name in workflow.ancestors(job):
            yield Finding(
                rule="needs-cycle",
                message=f"job {job.name} waits for itself",
                place=job.key.place,
                hint="Follow its needs: they lead back to it.",
            )
            return


def _check_number(table: Table, key: str) -> Iterator[Finding]:
    value = table.find_text(key)
    if value is None or "${{" in value.value:
        return
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.value) or float(value.value) <= 0:
        yield Finding(
            rule="number",
            message=f"{key} is {value.value!r}, which is no number above 0",
            place=value.place,
        )


def _check_step_ids(job: Job) -> Iterator[Finding]:
    seen: set[str] = set()
    for step_id in (step.step_id for step in job.steps):
        if step_id is None:
            continue
        if step_id.value in seen:
            yield Finding(
                rule="step-id",
                message=f"job {job.name} has two steps with the id {step_id.value!r}",
                place=step_id.place,
            )
        seen.add(step_id.value)


def _check_step(step: Step) -> Iterator[Finding]:
    yield from _unknown_keys(step.table, STEP_KEYS, "a step")
    yield from _check_number(step.table, "timeout-minutes")
    has_uses, has_run = step.uses is not None, step.run is not None
    if has_uses == has_run:
        what = "both uses and run" if has_uses else "neither uses nor run"
        yield Finding(rule="step-shape", message=f"a step has {what}", place=step.place)
    if has_run and isinstance(step.table.get("with"), Table):
        key = step.table.find_key("with") or Text(value="", place=step.place)
        yield Finding(
            rule="step-shape",
            message="only a step with uses can have with",
            place=key.place,
        )
