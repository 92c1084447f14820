"""Workflow runs and the marks by which their pods and runners are found again.

`up` writes the marks, `down` and `sweep` read them; nothing is remembered between the
two, so that each works on another machine and after the other was killed.

    pod environment  RUNNER_INSTALLER_RUN=owner/name/RUN_ID/ATTEMPT
                     RUNNER_INSTALLER_NAME=gpu       which of the run's sets of pods
                     RUNNER_INSTALLER_SCOPE=owner/name   where its runners register
    pod name         gpu-RUN_ID-ATTEMPT-SLOT
    runner label     gpu-RUN_ID-ATTEMPT

Pure: it must know neither RunPod's wire nor GitHub's, and reads no environment itself.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner_installer.model import RunnerRecord, Scope, parse_scope
from runpod_client import ConfigError, Pod, PodStatus

RUN = "RUNNER_INSTALLER_RUN"
NAME = "RUNNER_INSTALLER_NAME"
SCOPE = "RUNNER_INSTALLER_SCOPE"
DEFAULT_NAME = "gpu"

_PART = r"[A-Za-z0-9._-]{1,100}"
_RUN = re.compile(
    rf"(?P<owner>{_PART})/(?P<name>{_PART})/(?P<id>[0-9]{{1,15}})"
    r"(?:/(?P<attempt>[1-9][0-9]{0,4}))?"
)
# beside a run's id it must fit into a pod's name, which has 31 characters
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,7}[a-z0-9])?")
_HINT = "Write --run owner/name/RUN_ID/ATTEMPT; in a workflow it is found by itself."
_USABLE = {PodStatus.STARTING, PodStatus.RUNNING}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attempt of a workflow run, or all of its attempts.

    Attributes:
        attempt: None means every attempt.
    """

    repository: str
    run_id: int
    attempt: int | None = None

    def __str__(self) -> str:
        attempt = "" if self.attempt is None else f"/{self.attempt}"
        return f"{self.repository}/{self.run_id}{attempt}"

    def covers(self, other: "Run") -> bool:
        """Tell whether another run is this one, or an attempt of it."""
        is_same = (self.repository.lower(), self.run_id) == (
            other.repository.lower(),
            other.run_id,
        )
        return is_same and self.attempt in {None, other.attempt}


@dataclass(frozen=True, kw_only=True)
class RunPod:
    """A pod that `up` rented, with what its marks say.

    Attributes:
        scope: Where its runners are registered; None for a pod without runners.
        slot: Its number among the pods of its set, from 1; 0 where its name was
            changed.
    """

    pod: Pod
    run: Run
    name: str
    scope: Scope | None
    slot: int

    @property
    def is_usable(self) -> bool:
        """Tell whether it runs, or is about to."""
        return self.pod.status in _USABLE

    @property
    def is_gone(self) -> bool:
        """Tell whether it was terminated and is only still listed."""
        return self.pod.status is PodStatus.TERMINATED


def parse_run(text: str) -> Run:
    """Read `owner/name/RUN_ID` or `owner/name/RUN_ID/ATTEMPT`.

    Raises:
        ConfigError: It is neither.
    """
    found = _RUN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} names no workflow run", setting="run", hint=_HINT)
    attempt = found["attempt"]
    return Run(
        repository=f"{found['owner']}/{found['name']}",
        run_id=int(found["id"]),
        attempt=int(attempt) if attempt else None,
    )


def find_run(environ: Mapping[str, str]) -> Run | None:
    """Return the workflow run that this process is a step of, None outside of one.

    Raises:
        ConfigError: The variables GitHub sets say nothing sensible.
    """
    parts = [environ.get(f"GITHUB_{key}", "") for key in ("REPOSITORY", "RUN_ID")]
    if not all(parts):
        return None
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "") or "1"
    return parse_run("/".join([*parts, attempt]))


def get_run(text: str | None, environ: Mapping[str, str]) -> Run:
    """Return the run that is named, else the one this process is a step of.

    Raises:
        ConfigError: None is named, and this is no step of one.
    """
    run = parse_run(text) if text else find_run(environ)
    if run is None:
        raise ConfigError("it is not said for which run", setting="run", hint=_HINT)
    return run


def check_name(name: str) -> str:
    """Return the name of a set of pods.

    Raises:
        ConfigError: It cannot be part of a pod's name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name the pods of a run",
            setting="name",
            hint="Use up to 9 small letters, digits and dashes, like gpu or train-a.",
        )
    return name


def render_pod_name(name: str, run: Run, slot: int) -> str:
    """Return what the pod of a slot is called."""
    return f"{render_label(name, run)}-{slot}"


def render_label(name: str, run: Run) -> str:
    """Return the label that only the runners of this set have."""
    return f"{name}-{run.run_id}-{run.attempt or 1}"


def render_marks(run: Run, name: str, scope: Scope | None) -> dict[str, str]:
    """Return the environment entries that mark a pod of a run."""
    marks = {RUN: str(run), NAME: name}
    return {**marks, SCOPE: str(scope)} if scope else marks


def parse_pod(pod: Pod) -> RunPod | None:
    """Return what a pod's marks say, None for a pod that `up` did not rent."""
    if pod.owner is None:  # not made by these tools, whatever it claims
        return None
    try:
        run = parse_run(pod.env.get(RUN, ""))
        scope = parse_scope(pod.env[SCOPE]) if pod.env.get(SCOPE) else None
    except ConfigError:
        return None
    name = pod.env.get(NAME, DEFAULT_NAME)
    slot = pod.name.removeprefix(f"{render_label(name, run)}-")
    return RunPod(
        pod=pod,
        run=run,
        name=name,
        scope=scope,
        slot=int(slot) if slot.isascii() and slot.isdecimal() else 0,
    )


def find_run_pods(
    pods: Iterable[Pod], run: Run, name: str | None = None
) -> tuple[RunPod, ...]:
    """Return the pods of a run that are not gone, in the order of their slots.

    Args:
        name: Only the set of this name; None takes all of the run.
    """
    parsed = (parse_pod(pod) for pod in pods)
    found = [
        each
        for each in parsed
        if each is not None
        and run.covers(each.run)
        and name in {None, each.name}
        and not each.is_gone
    ]
    return tuple(sorted(found, key=lambda each: (each.slot, each.pod.pod_id)))


def find_run_runners(
    records: Iterable[RunnerRecord], run: Run, name: str | None = None
) -> tuple[RunnerRecord, ...]:
    """Return the runners that carry the label of a run's set of pods.

    It finds them also where their pod is gone.
    """
    prefix = re.escape(name) if name else r"[a-z][a-z0-9-]{0,8}"
    attempt = r"[0-9]+" if run.attempt is None else str(run.attempt)
    label = re.compile(rf"{prefix}-{run.run_id}-{attempt}")
    return tuple(
        record
        for record in records
        if any(label.fullmatch(text) for text in record.labels)
    )


def find_pod_id(runner_name: str, prefix: str) -> str | None:
    """Return the pod that a runner's name says it is on, None for other names."""
    found = re.fullmatch(
        rf"{re.escape(prefix)}-([a-z0-9]{{6,40}})-[0-9a-f]{{4,16}}", runner_name
    )
    return found[1] if found else None
