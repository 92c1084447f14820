"""The values of a run on many pods: who is meant, what happens, how it ended.

They are light to import: a command line needs them before anything connects.
"""

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from runpod_client import Error
from runpod_ssh.exit_codes import EXIT_SSH_FAILURE
from runpod_ssh.model import PodTarget

EXIT_SOME_FAILED = 1


class State(enum.StrEnum):
    """How far a pod's command is, or how it ended."""

    WAITING = "waiting"
    RUNNING = "running"
    EXITED = "exited"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pods are meant.

    Attributes:
        selectors: Ids and unique names.
        patterns: Shell patterns over names.
        every: All pods of ours that run.
    """

    selectors: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A pod the command is meant for.

    Attributes:
        target: None where the pod cannot be reached, see `problem`.
        is_optional: It was not named but only fitted: unreachable, it is skipped.
    """

    pod_id: str
    name: str
    target: PodTarget | None
    problem: Error | None = None
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the command ended on a pod.

    Attributes:
        exit_status: As a shell would see it; None unless the command ended by itself.
        error: What went wrong on the way to it or back.
    """

    pod_id: str
    name: str
    state: State
    exit_status: int | None = None
    error: Error | None = None
    elapsed_seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        """Return whether the command ended with 0."""
        return self.exit_status == 0


@dataclass(frozen=True, kw_only=True)
class Started:
    """A pod's turn has come."""

    job: Job


@dataclass(frozen=True, kw_only=True)
class Output:
    """Lines of a pod's output.

    Attributes:
        stream: `stdout` or `stderr`.
        lines: Their bytes, without the newlines.
    """

    job: Job
    stream: str
    lines: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A pod's command came to an end, or to none."""

    job: Job
    outcome: Outcome


Event = Started | Output | Ended
# Awaiting it is the backpressure on all pods' output.
Observer = Callable[[Event], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run.

    Attributes:
        timeout_seconds: For each pod's command; None for no limit.
        is_idempotent: It may be run again where the link was lost meanwhile.
    """

    command: str
    env: Mapping[str, str]
    timeout_seconds: float | None = None
    is_idempotent: bool = False


def exit_status_over(outcomes: Sequence[Outcome]) -> int:
    """Return the status of a run on many pods.

    255 when a pod was not reached or its outcome is not known, 1 when a command ended
    with anything but 0, else 0; a single pod's own status where only one was meant.
    """
    meant = [outcome for outcome in outcomes if outcome.state is not State.SKIPPED]
    if any(outcome.exit_status is None for outcome in meant):
        return EXIT_SSH_FAILURE
    if len(meant) == 1:
        return meant[0].exit_status or 0
    return 0 if all(outcome.is_success for outcome in meant) else EXIT_SOME_FAILED
