"""From what a person names to the pods a command is for, each pod once.

Pods that were named must be there; pods that only fit a pattern, or are meant with all
others, are skipped where they do not run or have no address of their own.
"""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from runpod_client import Pod, PodStatus
from runpod_ssh.errors import NoPodMatchedError, NotDirectError, SSHUnreachableError
from runpod_ssh.fleet_model import Job, Selection
from runpod_ssh.model import PodTarget


class Directory(Protocol):
    """What is asked about pods; `runpod_client.RunPodClient` answers it."""

    @property
    def owner(self) -> str:
        """Return whose pods are ours."""

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""

    def resolve_pod(self, selector: str, /) -> Pod:
        """Return the pod of that id or unique name."""


def select_jobs(
    directory: Directory, selection: Selection, find_target: Callable[[Pod], PodTarget]
) -> list[Job]:
    """Return a job for each pod that is meant, each pod once.

    Args:
        find_target: Returns where to log in to a pod, or raises an `Error`.

    Raises:
        NotFoundError, AmbiguousPodError: A selector fits no pod, or several.
        NoPodMatchedError: Nothing that can be reached fits the rest.
    """
    listing = directory.list_pods()
    named = [_pick(directory, listing, text) for text in selection.selectors]
    jobs = {pod.pod_id: _job(pod, find_target, is_optional=False) for pod in named}
    for pod in listing:
        if pod.pod_id not in jobs and _fits(pod, selection, directory):
            jobs[pod.pod_id] = _job(pod, find_target, is_optional=True)
    if all(job.target is None and job.is_optional for job in jobs.values()):
        raise _nothing_fits(selection, list(jobs.values()))
    return list(jobs.values())


def _pick(directory: Directory, listing: Sequence[Pod], selector: str) -> Pod:
    """Return the pod of that id or name; the directory words what is wrong with it."""
    found = [pod for pod in listing if pod.pod_id == selector] or [
        pod for pod in listing if pod.name == selector
    ]
    return found[0] if len(found) == 1 else directory.resolve_pod(selector)


def _fits(pod: Pod, selection: Selection, directory: Directory) -> bool:
    if pod.status is PodStatus.TERMINATED:
        return False
    if any(fnmatch.fnmatchcase(pod.name, pattern) for pattern in selection.patterns):
        return True
    return selection.every and pod.owner == directory.owner


def _job(
    pod: Pod, find_target: Callable[[Pod], PodTarget], *, is_optional: bool
) -> Job:
    job = Job(pod_id=pod.pod_id, name=pod.name, target=None, is_optional=is_optional)
    try:
        return replace(job, target=find_target(pod))
    except (SSHUnreachableError, NotDirectError) as error:
        return replace(job, problem=error)


def _nothing_fits(selection: Selection, unreachable: list[Job]) -> NoPodMatchedError:
    asked = [repr(pattern) for pattern in selection.patterns]
    what = f"a name like {' or '.join(asked)}" if asked else "a mark of yours"
    if not unreachable:
        return NoPodMatchedError(
            f"no pod has {what}", hint="See what there is: runpod-client pods list"
        )
    names = ", ".join(f"{job.name} ({job.problem})" for job in unreachable[:3])
    more = f" and {len(unreachable) - 3} more" if len(unreachable) > 3 else ""
    return NoPodMatchedError(
        f"no pod with {what} can be reached: {names}{more}",
        hint="Commands need pods that run and expose port 22/tcp.",
    )
