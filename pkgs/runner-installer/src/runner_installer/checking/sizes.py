"""Whether what a workflow rents can be rented: GPUs, counts, prices, templates. Pure.

Values that are known only while the workflow runs are left alone; those of a matrix
that stands in the file are looked at one by one.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from runner_installer.checking.findings import Finding
from runner_installer.checking.knowledge import GPU, Knowledge, Option
from runner_installer.checking.pod_calls import PodCall, Way
from runner_installer.checking.source import Text
from runner_installer.checking.workflow import Job, Workflow
from runpod_client import Error, find_nearest, parse_lease, render_nearest

_MATRIX = re.compile(r"\$\{\{\s*matrix\.([A-Za-z_][\w-]*)\s*\}\}")
# an action's input names several by commas or lines
_SEPARATORS = re.compile(r"[,\n]")
# of `up`, where it is not told
DEFAULT_LEASE = timedelta(hours=2)


def check_sizes(
    workflow: Workflow, calls: tuple[PodCall, ...], knowledge: Knowledge
) -> Iterator[Finding]:
    """Yield what would be refused when it is rented, or never come."""
    for call in calls:
        yield from _check_names(call, knowledge)
        yield from _check_values(call, knowledge)
        if call.is_up:
            yield from _check_choice(call)
            yield from _check_gpus(call, knowledge)
            yield from _check_template(call, knowledge)
            yield from _check_lease(workflow, call)


def _check_names(call: PodCall, knowledge: Knowledge) -> Iterator[Finding]:
    if call.way is Way.COMMAND:
        known = tuple(knowledge.options.get(call.verb, {}))
        what = f"runner-installer {call.verb} has no option"
    elif call.action is not None:
        known = tuple(call.action.inputs)
        what = "the action has no input"
        yield from _missing_inputs(call)
    else:
        return
    for name in call.names:
        if name.value not in known:
            yield Finding(
                rule="option-unknown",
                message=f"{what} {name.value!r}",
                place=name.place,
                hint=render_nearest(name.value, known),
            )


def _missing_inputs(call: PodCall) -> Iterator[Finding]:
    for name, is_required in call.action.inputs.items() if call.action else ():
        if is_required and not any(given.value == name for given in call.names):
            yield Finding(
                rule="input-missing",
                message=f"the action needs the input {name!r}",
                place=call.place,
                hint=f"Add under with: {name}",
            )


def _check_values(call: PodCall, knowledge: Knowledge) -> Iterator[Finding]:
    options = knowledge.options.get(call.verb, {})
    for name, texts in call.options.items():
        option = options.get(name, Option())
        for text in () if option.is_flag else texts:
            for value in _known_values(call.job, text):
                fault = option.find_fault(value)
                if fault is not None:
                    yield Finding(
                        rule="value",
                        message=f"{name}: {fault}",
                        place=text.place,
                    )


def _known_values(job: Job, text: Text) -> list[str]:
    """Return what a text can be; nothing where only the run tells."""
    if "${{" not in text.value:
        return [text.value] if text.value and "$" not in text.value else []
    match = _MATRIX.fullmatch(text.value.strip())
    if match is None or job.matrix is None:
        return []
    return [
        found.value for found in job.matrix.get(match[1], ()) if "$" not in found.value
    ]


def _check_choice(call: PodCall) -> Iterator[Finding]:
    names = ("gpu", "min-memory", "template")
    if not any(call.get(name) for name in names):
        yield Finding(
            rule="gpu-missing",
            message="it is not said which GPUs would do",
            place=call.place,
            hint="Name one with gpu, or the least memory with min-memory.",
        )


def _check_gpus(call: PodCall, knowledge: Knowledge) -> Iterator[Finding]:
    if knowledge.gpus is None:
        return
    by_name = {name.casefold(): gpu for gpu in knowledge.gpus for name in gpu.names}
    chosen: list[GPU] = []
    are_all_known = True
    for text in call.get("gpu"):
        values = [
            part.strip()
            for value in _known_values(call.job, text)
            for part in (
                [value] if call.way is Way.COMMAND else _SEPARATORS.split(value)
            )
            if part.strip()
        ]
        are_all_known &= bool(values)
        for value in values:
            found = by_name.get(value.casefold())
            if found is None:
                yield _unknown_gpu(value, text, by_name)
                are_all_known = False
            else:
                chosen.append(found)
    if not are_all_known:
        return
    yield from _check_memory(call, chosen or list(knowledge.gpus))
    yield from _check_count(call, chosen)
    yield from _check_price(call, chosen or list(knowledge.gpus))


def _unknown_gpu(value: str, text: Text, by_name: Mapping[str, GPU]) -> Finding:
    near = find_nearest(value, by_name)
    return Finding(
        rule="gpu-unknown",
        message=f"RunPod has no GPU type {value!r}",
        place=text.place,
        hint=f"Did you mean {by_name[near].names[-1]!r}?"
        if near
        else "See `runpod-client gpus list`.",
    )


def _check_memory(call: PodCall, gpus: list[GPU]) -> Iterator[Finding]:
    wanted = _number(call, "min-memory")
    most = max((gpu.memory_gb for gpu in gpus), default=0)
    if wanted is not None and most and wanted[0] > most:
        yield Finding(
            rule="memory",
            message=f"no such GPU has {wanted[0]} GB; the largest has {most} GB",
            place=wanted[1].place,
        )


def _check_count(call: PodCall, gpus: list[GPU]) -> Iterator[Finding]:
    wanted = _number(call, "gpu-count")
    counts = [gpu.max_count for gpu in gpus]
    known = [count for count in counts if count is not None]
    if wanted and known and len(known) == len(counts) and wanted[0] > max(known):
        yield Finding(
            rule="gpu-count",
            message=f"a pod has at most {max(known)} of these GPUs, not {wanted[0]}",
            place=wanted[1].place,
        )


def _check_price(call: PodCall, gpus: list[GPU]) -> Iterator[Finding]:
    limits = call.get("max-price")
    if len(limits) != 1 or call.get("spot") or call.get("bid"):
        return  # a spot pod may cost less than any price that is listed
    try:
        limit = Decimal(limits[0].value)
    except InvalidOperation:
        return
    count = _number(call, "gpu-count")
    prices = [gpu.usd_per_hour for gpu in gpus if gpu.usd_per_hour is not None]
    least = min(prices, default=None)
    if least is None:
        return
    least *= count[0] if count else 1
    if limit < least:
        yield Finding(
            rule="price",
            message=f"the cheapest costs ${least:f} per hour, more than ${limit:f}",
            place=limits[0].place,
        )


def _number(call: PodCall, name: str) -> tuple[int, Text] | None:
    texts = call.get(name)
    if len(texts) == 1 and texts[0].value.isascii() and texts[0].value.isdigit():
        return int(texts[0].value), texts[0]
    return None


def _check_template(call: PodCall, knowledge: Knowledge) -> Iterator[Finding]:
    names = call.get("template")
    if knowledge.templates is None or len(names) != 1:
        return
    for name in _known_values(call.job, names[0]):
        template = knowledge.templates.get(name)
        if template is None:
            yield Finding(
                rule="template-unknown",
                message=f"there is no pod template {name!r}",
                place=names[0].place,
                hint=render_nearest(name, knowledge.templates),
            )
            continue
        rows = [row for text in call.get("set") for row in text.value.splitlines()]
        if any("$" in row for row in rows):
            continue
        given = {
            name.strip(): value for name, _, value in (r.partition("=") for r in rows)
        }
        fault = template.find_fault(given)
        if fault is not None:
            place = (call.get("set") or names)[0].place
            yield Finding(rule="template", message=fault, place=place)


def _check_lease(workflow: Workflow, call: PodCall) -> Iterator[Finding]:
    """Yield a lease that ends before a job on the pods may."""
    texts = call.get("lease")
    lease, place = DEFAULT_LEASE, call.place
    if texts:
        place = texts[0].place
        try:
            found = parse_lease(texts[0].value)
        except Error as error:
            if "$" not in texts[0].value:
                yield Finding(rule="value", message=f"lease: {error}", place=place)
            return
        if found is None:
            yield Finding(
                rule="value",
                message="lease: a workflow's pods need an end",
                place=place,
            )
            return
        lease = found
    for job in workflow.jobs:
        limit = job.table.find_text("timeout-minutes")
        if limit is None or not limit.value.isdigit():
            continue
        is_after = call.job.name in workflow.ancestors(job)
        if (
            is_after
            and _reads(job, call.job.name)
            and lease < timedelta(minutes=int(limit.value))
        ):
            yield Finding(
                rule="lease-short",
                message=f"the lease ends before job {job.name}, which may take "
                f"{limit.value} minutes",
                place=place,
                hint="Lengthen the lease, or shorten the job's timeout-minutes.",
            )


def _reads(job: Job, name: str) -> bool:
    return any(f"needs.{name}." in text.value for text in job.runs_on)
