"""Whether the names in a workflow's expressions lead anywhere. Pure."""

from collections.abc import Iterator

from runner_installer.checking.expressions import Reference, is_open
from runner_installer.checking.findings import Finding
from runner_installer.checking.pod_calls import PodCall
from runner_installer.checking.source import Place, Table, walk_texts
from runner_installer.checking.workflow import Job, Workflow, walk_expressions
from runpod_client import render_nearest

CONTEXTS = (
    "github", "env", "vars", "job", "jobs", "steps", "runner", "secrets", "strategy",
    "matrix", "needs", "inputs",
)  # fmt: skip


def check_references(
    workflow: Workflow, calls: tuple[PodCall, ...]
) -> Iterator[Finding]:
    """Yield expressions that name what is not there."""
    yield from _open_expressions(workflow)
    yield from _unknown_contexts(workflow)
    for job in workflow.jobs:
        for expression in walk_expressions(job.table):
            for reference in expression.references:
                yield from _check_in_job(workflow, job, reference)
        yield from _check_step_references(job)
        yield from _check_our_outputs(job, calls)
    yield from _check_inputs(workflow)


def _open_expressions(workflow: Workflow) -> Iterator[Finding]:
    for text in walk_texts(workflow.table):
        if is_open(text):
            yield Finding(
                rule="expression-open",
                message="an expression begins with ${{ and does not end",
                place=text.place,
                hint="Close it with }}.",
            )


def _unknown_contexts(workflow: Workflow) -> Iterator[Finding]:
    for expression in walk_expressions(workflow.table):
        for reference in expression.references:
            if reference.context not in CONTEXTS:
                yield Finding(
                    rule="name-unknown",
                    message=f"{reference} means nothing in an expression",
                    place=reference.place,
                    hint=render_nearest(reference.context, CONTEXTS),
                )


def _check_in_job(
    workflow: Workflow, job: Job, reference: Reference
) -> Iterator[Finding]:
    if reference.context == "needs" and reference.parts:
        yield from _check_need(workflow, job, reference)
    elif reference.context == "matrix" and reference.parts:
        name = reference.parts[0]
        if job.matrix is not None and name not in job.matrix:
            yield Finding(
                rule="matrix-unknown",
                message=f"the matrix of job {job.name} has no {name!r}",
                place=reference.place,
                hint=render_nearest(name, job.matrix),
            )


def _check_need(
    workflow: Workflow, job: Job, reference: Reference
) -> Iterator[Finding]:
    name = reference.parts[0]
    if name == "*":
        return
    other = workflow.find_job(name)
    needs = [need.value for need in job.needs]
    if not any(name.casefold() == need.casefold() for need in needs):
        known = needs or [j.name for j in workflow.jobs if j.name != job.name]
        exists = other is not None and other.name != job.name
        yield Finding(
            rule="needs-missing",
            message=f"job {job.name} reads {reference} and does not need {name}",
            place=reference.place,
            hint=f"Add {name} to its needs." if exists else render_nearest(name, known),
        )
        return
    if other is None or other.uses is not None or reference.parts[1:2] != ("outputs",):
        return
    if len(reference.parts) > 2 and reference.parts[2] not in other.outputs:
        output = reference.parts[2]
        yield Finding(
            rule="output-unknown",
            message=f"job {name} has no output {output!r}",
            place=reference.place,
            hint=render_nearest(output, other.outputs)
            or f"Give job {name} the key outputs with {output} in it.",
        )


def _check_step_references(job: Job) -> Iterator[Finding]:
    """Yield what names a step of another job, or a later one."""
    known: list[str] = []
    for step in job.steps:
        yield from _check_steps_in(job, step.table, known, is_later_wrong=True)
        if step.step_id is not None:
            known.append(step.step_id.value)
    outputs = job.table.find_table("outputs")
    if outputs is not None:
        yield from _check_steps_in(job, outputs, known, is_later_wrong=False)


def _check_steps_in(
    job: Job, table: Table, known: list[str], *, is_later_wrong: bool
) -> Iterator[Finding]:
    names = _step_ids(job)
    for expression in walk_expressions(table):
        for reference in expression.references:
            if reference.context != "steps" or not reference.parts:
                continue
            name = reference.parts[0]
            if name == "*" or name in known:
                continue
            if name in names and is_later_wrong:
                yield _step_finding(
                    reference.place, f"step {name!r} comes only after this one", ""
                )
            elif name not in names:
                yield _step_finding(
                    reference.place,
                    f"job {job.name} has no step with the id {name!r}",
                    render_nearest(name, names) or f"Give that step id: {name}.",
                )


def _check_our_outputs(job: Job, calls: tuple[PodCall, ...]) -> Iterator[Finding]:
    """Yield outputs that `up`, `down` or our reusable workflow do not set."""
    steps = {
        call.step.step_id.value: call.outputs
        for call in calls
        if call.job is job and call.step is not None and call.step.step_id is not None
    }
    called = {call.job.name: call.outputs for call in calls if call.step is None}
    for expression in walk_expressions(job.table):
        for reference in expression.references:
            if len(reference.parts) != 3 or reference.parts[1] != "outputs":
                continue
            table = {"steps": steps, "needs": called}.get(reference.context, {})
            known = table.get(reference.parts[0], frozenset())
            if known and reference.parts[2] not in known:
                yield Finding(
                    rule="output-unknown",
                    message=f"{reference.parts[0]} sets no output {reference.parts[2]!r}",
                    place=reference.place,
                    hint=render_nearest(reference.parts[2], sorted(known)),
                )


def _step_ids(job: Job) -> list[str]:
    return [step.step_id.value for step in job.steps if step.step_id is not None]


def _step_finding(place: Place, message: str, hint: str) -> Finding:
    return Finding(rule="step-unknown", message=message, place=place, hint=hint)


def _check_inputs(workflow: Workflow) -> Iterator[Finding]:
    declared = _declared(workflow, "inputs")
    for expression in walk_expressions(workflow.table):
        for reference in expression.references:
            if reference.context != "inputs" or not reference.parts:
                continue
            if reference.parts[0] not in declared:
                yield Finding(
                    rule="input-unknown",
                    message=f"the workflow has no input {reference.parts[0]!r}",
                    place=reference.place,
                    hint=render_nearest(reference.parts[0], declared)
                    or "Declare it under on.workflow_dispatch.inputs.",
                )


def _declared(workflow: Workflow, key: str) -> tuple[str, ...]:
    """Return what the triggers declare."""
    found: list[str] = []
    for trigger in ("workflow_call", "workflow_dispatch"):
        table = workflow.find_trigger(trigger)
        declared = table.find_table(key) if table else None
        found += [name.value for name in declared.names] if declared else []
    return tuple(found)
