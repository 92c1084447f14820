"""Whether the jobs that are meant for pods get there, and the pods are given back.

A job is a pod's job where its `runs-on` comes from `up`, or asks for labels that only
our runners have. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from runner_installer.checking.expressions import Reference, find_expressions
from runner_installer.checking.findings import Finding
from runner_installer.checking.knowledge import Knowledge
from runner_installer.checking.pod_calls import PodCall, Way
from runner_installer.checking.source import Text
from runner_installer.checking.workflow import Job, Workflow
from runpod_client import find_nearest, render_nearest

MAX_LABEL_LENGTH = 256
# outputs of `up` that are lists, as JSON
LISTS = frozenset({"labels", "runners", "matrix", "pod-ids"})
_EVERY_RUNNER = frozenset({"self-hosted", "linux", "x64"})


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A workflow with what was found in it."""

    workflow: Workflow
    calls: tuple[PodCall, ...]
    knowledge: Knowledge

    @property
    def ups(self) -> list[PodCall]:
        return [c for c in self.calls if c.is_up and c.way is not Way.WORKFLOW]

    @property
    def downs(self) -> list[PodCall]:
        return [call for call in self.calls if not call.is_up]

    @property
    def pod_jobs(self) -> list[Job]:
        return [job for job in self.workflow.jobs if self.is_on_pod(job)]

    def is_on_pod(self, job: Job) -> bool:
        return bool(self.feeders(job)) or _labels(job) >= {"self-hosted", "gpu"}

    def feeders(self, job: Job) -> list[str]:
        """Return the jobs with `up` in them whose outputs the job runs on."""
        rented = {call.job.name for call in self.ups}
        return [name for name in _read_jobs(job) if name in rented]


def check_runners(
    workflow: Workflow, calls: tuple[PodCall, ...], knowledge: Knowledge
) -> Iterator[Finding]:
    """Yield what would wait for ever, run in the wrong place or leave a pod behind."""
    scene = _Scene(workflow=workflow, calls=calls, knowledge=knowledge)
    yield from _returned(scene)
    for call in scene.downs:
        yield from _check_down(scene, call)
    for call in scene.ups:
        yield from _check_up(scene, call)
    for job in workflow.jobs:
        yield from _check_labels(scene, job)
        if scene.is_on_pod(job):
            yield from _check_pod_job(scene, job)


def _returned(scene: _Scene) -> Iterator[Finding]:
    if scene.ups and not scene.downs:
        yield Finding(
            rule="down-missing",
            message="pods are rented here and never given back",
            place=scene.ups[0].place,
            hint="Add a last job with gpu-runner-down, if: always() and needs of all "
            "others; until its lease ends every pod costs money.",
        )


def _check_down(scene: _Scene, call: PodCall) -> Iterator[Finding]:
    same_job = [up for up in scene.ups if up.job.name == call.job.name]
    where = call.step.condition if same_job and call.step else call.job.condition
    if not _is_always(where):
        yield Finding(
            rule="down-without-always",
            message="this is left out when something before it fails or is cancelled",
            place=call.place,
            hint=f"Give the {'step' if same_job else 'job'}: if: always()",
        )
    if scene.is_on_pod(call.job):
        yield Finding(
            rule="down-on-pod",
            message=f"job {call.job.name} runs on the pod that it is to end",
            place=call.place,
            hint="Run it elsewhere: runs-on: ubuntu-latest",
        )
    if same_job or not scene.ups:
        return
    before = scene.workflow.ancestors(call.job)
    for job in scene.pod_jobs:
        if job.name not in before and job.name != call.job.name:
            yield Finding(
                rule="down-too-early",
                message=f"job {call.job.name} does not wait for {job.name}, "
                "which runs on the pods",
                place=call.job.key.place,
                hint=f"Add {job.name} to its needs.",
            )
    for up in scene.ups:
        if up.job.name not in before:
            yield Finding(
                rule="down-too-early",
                message=f"job {call.job.name} does not wait for {up.job.name}, "
                "which rents the pods",
                place=call.job.key.place,
                hint=f"Add {up.job.name} to its needs.",
            )


def _is_always(condition: Text | None) -> bool:
    if condition is None:
        return False
    found = find_expressions(condition, is_condition=True)
    return any("always" in expression.calls for expression in found)


def _check_up(scene: _Scene, call: PodCall) -> Iterator[Finding]:
    if scene.is_on_pod(call.job):
        yield Finding(
            rule="up-on-pod",
            message=f"job {call.job.name} waits for the pod that it is to rent",
            place=call.place,
            hint="Run it elsewhere: runs-on: ubuntu-latest",
        )
    for value in call.get("labels"):
        for label in value.value.split(",") if "${{" not in value.value else ():
            if len(label.strip()) > MAX_LABEL_LENGTH:
                yield Finding(
                    rule="label",
                    message="a label has more than 256 characters",
                    place=value.place,
                )


def _check_labels(scene: _Scene, job: Job) -> Iterator[Finding]:
    """Yield a job that no runner of ours, nor one of GitHub's, would take."""
    for text in job.runs_on:
        if "," in text.value and "${{" not in text.value:
            yield Finding(
                rule="label",
                message=f"{text.value!r} is one label with a comma in it",
                place=text.place,
                hint=f"Write a list: [{text.value}]",
            )
            return
    yield from _check_array(scene, job)
    yield from _check_offered(scene, job)


def _check_array(scene: _Scene, job: Job) -> Iterator[Finding]:
    """Yield a list in JSON that is not unpacked: it would be one long label."""
    for text in job.runs_on:
        for expression in find_expressions(text):
            origins = [_find_origin(scene, one) for one in expression.references]
            if "fromjson" in expression.calls or not LISTS.intersection(
                filter(None, origins)
            ):
                continue
            yield Finding(
                rule="runs-on-json",
                message=f"{expression.body} is a list written as JSON",
                place=text.place,
                hint=f"Write ${{{{ fromJSON({expression.body}) }}}}, or use the label.",
            )


def _find_origin(scene: _Scene, reference: Reference) -> str | None:
    """Return the output of `up` that a job's output hands on."""
    if reference.context != "needs" or reference.parts[1:2] != ("outputs",):
        return None
    job = scene.workflow.find_job(reference.parts[0])
    output = job.outputs.get(reference.parts[-1]) if job else None
    for expression in find_expressions(output) if output else ():
        for inner in expression.references:
            if inner.context == "steps" and inner.parts[1:2] == ("outputs",):
                return inner.parts[-1]
    return None


def _check_offered(scene: _Scene, job: Job) -> Iterator[Finding]:
    labels = _labels(job)
    texts = [text for text in job.runs_on if "${{" not in text.value]
    if "self-hosted" not in labels or len(texts) != len(job.runs_on):
        return
    offers = _offers(scene)
    if not offers or any(labels <= offer for offer in offers):
        return
    known = sorted(set().union(*offers))
    strange = [text for text in texts if text.value.lower() not in known]
    if not _is_for_us(scene, labels, frozenset(known) - _EVERY_RUNNER):
        return
    place = strange[0].place if strange else texts[0].place
    what = f"the label {strange[0].value!r}" if strange else "all of these labels"
    yield Finding(
        rule="label-unknown",
        message=f"no runner of the workflow or of a pool has {what}",
        place=place,
        hint=render_nearest(strange[0].value, known) if strange else "",
    )


def _is_for_us(scene: _Scene, labels: frozenset[str], ours: frozenset[str]) -> bool:
    """Tell whether a job means our runners: there may be others, told to nobody here."""
    own = labels - _EVERY_RUNNER
    if own & ours or any(find_nearest(label, ours) for label in own):
        return True
    models = [
        _squeeze(name) for gpu in scene.knowledge.gpus or () for name in gpu.names
    ]
    words = [_squeeze(label) for label in own]
    return any(
        word.startswith(("gpu", "cuda"))
        or any(len(word) > 2 and word in m for m in models)
        for word in words
    )


def _squeeze(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _offers(scene: _Scene) -> list[frozenset[str]]:
    """Return the labels of each kind of runner there will be; empty if not known."""
    pools = scene.knowledge.pool_labels
    offers = list(pools.values()) if pools else []
    for call in scene.ups:
        values = call.get("labels")
        if any("${{" in value.value for value in values):
            return []
        if values:
            words = [w.strip().lower() for v in values for w in v.value.split(",")]
            offers.append(frozenset(words) | _EVERY_RUNNER)
    if not pools and not any(call.get("labels") for call in scene.ups):
        return []
    return [frozenset(label.lower() for label in offer) for offer in offers]


def _check_pod_job(scene: _Scene, job: Job) -> Iterator[Finding]:
    rented = [call.job.name for call in scene.ups]
    before = scene.workflow.ancestors(job)
    if rented and not scene.feeders(job) and not before & set(rented):
        yield Finding(
            rule="up-not-awaited",
            message=f"job {job.name} begins before its pod is rented",
            place=job.key.place,
            hint=f"Add needs: {rented[0]}, and runs-on from its outputs.",
        )
    yield from _check_docker(job)
    if any(t.value == "pull_request_target" for t in scene.workflow.triggers):
        yield Finding(
            rule="foreign-code",
            message="pull_request_target hands secrets to the code of strangers",
            place=job.key.place,
            hint="Use pull_request, or let a person approve the run.",
        )


def _check_docker(job: Job) -> Iterator[Finding]:
    for key in ("container", "services"):
        found = job.table.find_key(key)
        if found is not None:
            yield _docker(f"{key}:", found)
    for step in job.steps:
        if step.uses is not None and step.uses.value.startswith("docker://"):
            yield _docker("a step with docker://", step.uses)


def _docker(what: str, text: Text) -> Finding:
    return Finding(
        rule="no-docker",
        message=f"{what} needs Docker, which pods do not have",
        place=text.place,
        hint="Rent the pod with the image you need instead.",
    )


def _labels(job: Job) -> frozenset[str]:
    return frozenset(text.value.lower() for text in job.runs_on)


def _read_jobs(job: Job) -> list[str]:
    """Return the jobs whose outputs stand in `runs-on` or make the matrix for it."""
    texts = list(job.runs_on)
    uses_matrix = any("matrix." in text.value for text in texts)
    strategy = job.table.find_table("strategy")
    if uses_matrix and strategy is not None:
        matrix = strategy.find_text("matrix")
        inner = strategy.find_table("matrix")
        texts += [matrix] if matrix else []
        texts += [v for _, v in inner.entries if isinstance(v, Text)] if inner else []
    return [
        reference.parts[0]
        for text in texts
        for expression in find_expressions(text)
        for reference in expression.references
        if reference.context == "needs" and reference.parts
    ]
