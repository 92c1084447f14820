"""Where a workflow rents pods and gives them back.

By our actions, by our reusable workflow or by the commands themselves in a script.
Pure.
"""

import enum
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner_installer.checking.knowledge import Action, Knowledge, Option
from runner_installer.checking.source import Place, Table, Text
from runner_installer.checking.workflow import Job, Step, Workflow

UP_ACTION, DOWN_ACTION, JOB_WORKFLOW = "gpu-runner-up", "gpu-runner-down", "gpu-job.yml"
_VERBS = {UP_ACTION: "up", DOWN_ACTION: "down"}
_ACTIONS = {verb: name for name, verb in _VERBS.items()}
_COMMAND = re.compile(r"(?<![\w./-])runner-installer\s+(up|down)\b(.*)")
# what ends a command in a line of shell
_ENDS = frozenset({"|", "||", "&&", ";", "&", ">", ">>", "2>", "<", ")", "}"})


class Way(enum.Enum):
    """How a workflow calls us."""

    ACTION = "action"
    WORKFLOW = "workflow"
    COMMAND = "command"


@dataclass(frozen=True, kw_only=True)
class PodCall:
    """One call of `up`, of `down`, or of the reusable workflow, which is both.

    Attributes:
        step: None for the reusable workflow, which is a job.
        options: By name without dashes; flags have an empty text.
        names: The places of the options' names.
        action: What is known of the action; a command sets the same outputs.
    """

    verb: str
    way: Way
    job: Job
    step: Step | None
    place: Place
    options: Mapping[str, tuple[Text, ...]]
    names: tuple[Text, ...]
    action: Action | None = None

    @property
    def is_up(self) -> bool:
        """Tell whether it rents."""
        return self.verb == "up"

    @property
    def outputs(self) -> frozenset[str]:
        """Return what steps after it can read; empty where that is not known."""
        return self.action.outputs if self.action else frozenset()

    def get(self, name: str) -> tuple[Text, ...]:
        """Return the values of an option."""
        return self.options.get(name, ())


def find_calls(workflow: Workflow, knowledge: Knowledge) -> tuple[PodCall, ...]:
    """Return every call in a workflow, in order."""
    return tuple(_calls(workflow, knowledge))


def action_name(uses: str) -> str:
    """Return the last part of an action's path, without its version."""
    return uses.partition("@")[0].rstrip("/").rpartition("/")[2]


def _calls(workflow: Workflow, knowledge: Knowledge) -> Iterator[PodCall]:
    for job in workflow.jobs:
        if job.uses is not None and action_name(job.uses.value) == JOB_WORKFLOW:
            yield _job_call(job, job.uses, knowledge)
        for step in job.steps:
            if step.uses is not None:
                yield from _action_calls(job, step, step.uses, knowledge)
            if step.run is not None:
                yield from _command_calls(job, step, step.run, knowledge)


def _job_call(job: Job, uses: Text, knowledge: Knowledge) -> PodCall:
    inputs = job.table.find_table("with")
    return PodCall(
        verb="up",
        way=Way.WORKFLOW,
        job=job,
        step=None,
        place=uses.place,
        options=_inputs(inputs),
        names=inputs.names if inputs else (),
        action=knowledge.actions.get(JOB_WORKFLOW),
    )


def _action_calls(
    job: Job, step: Step, uses: Text, knowledge: Knowledge
) -> Iterator[PodCall]:
    name = action_name(uses.value)
    if name in _VERBS:
        yield PodCall(
            verb=_VERBS[name],
            way=Way.ACTION,
            job=job,
            step=step,
            place=uses.place,
            options=_inputs(step.inputs),
            names=step.inputs.names if step.inputs else (),
            action=knowledge.actions.get(name),
        )


def _inputs(table: Table | None) -> dict[str, tuple[Text, ...]]:
    return (
        {key.value: table.list_texts(key.value) for key in table.names} if table else {}
    )


def _command_calls(
    job: Job, step: Step, run: Text, knowledge: Knowledge
) -> Iterator[PodCall]:
    for place, line in _lines(run):
        if line.lstrip().startswith("#"):
            continue
        match = _COMMAND.search(line)
        if match is None:
            continue
        known = knowledge.options.get(match[1], {})
        options, names = _parse_words(_words(match[2]), known, place)
        yield PodCall(
            verb=match[1],
            way=Way.COMMAND,
            job=job,
            step=step,
            place=place,
            options=options,
            names=names,
            action=knowledge.actions.get(_ACTIONS[match[1]]),
        )


def _lines(run: Text) -> Iterator[tuple[Place, str]]:
    """Yield a script's lines, those joined that end in a backslash."""
    first = run.place.line + (1 if run.is_block else 0)
    held, begun = "", first
    for number, line in enumerate(run.value.splitlines(), start=first):
        if not held:
            begun = number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield Place(begun, 1), held + line
        held = ""
    if held:
        yield Place(begun, 1), held


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return []
    for number, word in enumerate(words):
        if word in _ENDS or word.endswith(";"):
            return [
                *words[:number],
                *([word[:-1]] if word[:-1] and word[-1] == ";" else []),
            ]
    return words


def _parse_words(
    words: list[str], known: Mapping[str, Option], place: Place
) -> tuple[dict[str, tuple[Text, ...]], tuple[Text, ...]]:
    options: dict[str, tuple[Text, ...]] = {}
    names = []
    waiting = iter(words)
    for word in waiting:
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        option = known.get(name)
        if not equals and (option is None or not option.is_flag):
            value = next(waiting, "")
        names.append(Text(value=name, place=place))
        options[name] = (*options.get(name, ()), Text(value=value, place=place))
    return options, tuple(names)
