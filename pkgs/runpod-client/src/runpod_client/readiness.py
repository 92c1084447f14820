"""What a pod is waited for, and when it is asked; the pod itself is asked in `probes`.

    goal              ready when
    running           its container runs, as RunPod says
    ssh               the server behind port 22 sends its SSH identification line
    tcp:8188          something accepts a connection to port 8188
    http:8188/path    a GET answers with a status of 200 to 399
    log:REGEX         a line of the container's log matches

A pod is RUNNING, with an address, seconds before its servers listen. Asking RunPod is
rationed and probing a pod is not: the pod is looked at every five seconds, at first every
second, and as soon as its address is known it is probed ten times a second.
"""

import enum
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runpod_client.errors import ConfigError
from runpod_client.model import LogLine, Pod, PodStatus
from runpod_client.probes import (
    HTTPProbe,
    LogProbe,
    Probe,
    RunningProbe,
    SSHProbe,
    TCPProbe,
)

_SLACK_SECONDS = 0.01


class GoalKind(enum.StrEnum):
    """What can be waited for."""

    RUNNING = "running"
    SSH = "ssh"
    TCP = "tcp"
    HTTP = "http"
    LOG = "log"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is waited for, as the table above writes it."""

    kind: GoalKind
    port: int = 22
    path: str = "/"
    pattern: str = ""


def parse_goal(text: str) -> Goal:
    """Return the goal a person wrote.

    Raises:
        ConfigError: It is none of the table above.
    """
    word, _, rest = text.partition(":")
    if text in {GoalKind.RUNNING, GoalKind.SSH}:
        return Goal(kind=GoalKind(text))
    if word == GoalKind.LOG and rest:
        try:
            re.compile(rest)
        except re.error as error:
            raise ConfigError(f"{rest!r} is no regular expression: {error}") from error
        return Goal(kind=GoalKind.LOG, pattern=rest)
    found = re.fullmatch(r"(\d{1,5})(/[\x21-\x7e]*)?", rest)
    port = int(found[1]) if found else 0
    if found and 0 < port <= 65_535:
        if word == GoalKind.TCP and not found[2]:
            return Goal(kind=GoalKind.TCP, port=port)
        if word == GoalKind.HTTP:
            return Goal(kind=GoalKind.HTTP, port=port, path=found[2] or "/")
    raise ConfigError(
        f"{text!r} cannot be waited for",
        hint="One of: running, ssh, tcp:8188, http:8188/path, log:REGEX",
    )


def make_probe(goal: Goal, read_logs: Callable[[Pod], Sequence[LogLine]]) -> Probe:
    """Return the probe for a goal."""
    match goal.kind:
        case GoalKind.RUNNING:
            return RunningProbe()
        case GoalKind.SSH:
            return SSHProbe()
        case GoalKind.TCP:
            return TCPProbe(port=goal.port)
        case GoalKind.HTTP:
            return HTTPProbe(port=goal.port, path=goal.path)
        case GoalKind.LOG:
            return LogProbe(pattern=re.compile(goal.pattern), read_logs=read_logs)


class Step(enum.Enum):
    """What to do next while waiting."""

    LOOK = "ask RunPod for the pod"
    PROBE = "probe the pod"
    PAUSE = "nothing yet"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often what is asked, in seconds between the starts of two askings.

    Attributes:
        eager_looks: So many calls to RunPod come `eager_seconds` apart, at first and
            once the container runs: an image that its host has already, and ports, are
            there in a moment. All others are `api_seconds` apart, so that a wait costs
            a call per five seconds and these.
    """

    eager_looks: int = 4
    eager_seconds: float = 1.0
    api_seconds: float = 5.0
    probe_seconds: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Progress:
    """When what was last asked, on the caller's clock; None for never.

    Attributes:
        calls: How many calls to RunPod were made.
        can_probe: The pod was seen, and runs.
        uses_api: A probe is a call to RunPod too.
    """

    looked_at: float | None = None
    probed_at: float | None = None
    calls: int = 0
    can_probe: bool = False
    uses_api: bool = False


def choose_step(plan: Plan, progress: Progress, now: float) -> Step:
    """Return what is due: after the eager ones, one call to RunPod in `api_seconds`."""
    looked, probed = progress.looked_at, progress.probed_at
    is_eager = progress.calls <= plan.eager_looks
    api_seconds = plan.eager_seconds if is_eager else plan.api_seconds
    if looked is None:
        return Step.LOOK
    if not progress.uses_api:
        if now - looked >= api_seconds:
            return Step.LOOK
        # who sleeps for exactly that long must not come a hair too early
        is_due = probed is None or now - probed >= plan.probe_seconds - _SLACK_SECONDS
        return Step.PROBE if progress.can_probe and is_due else Step.PAUSE
    # looks and probes share what may be asked of RunPod, by turns
    if now - max(looked, probed or looked) < api_seconds:
        return Step.PAUSE
    has_turn = probed is None or probed < looked
    return Step.PROBE if progress.can_probe and has_turn else Step.LOOK


class Watch:
    """The probe of `wait.wait_until`: call it every `plan.probe_seconds`.

    Args:
        look: Asks RunPod: the pod, None while it is not listed; raises when the pod
            can never become ready.
        describe: Says what the last look showed; None says it in a word.
    """

    def __init__(
        self,
        look: Callable[[], Pod | None],
        probe: Probe,
        *,
        plan: Plan | None = None,
        clock: Callable[[], float] = time.monotonic,
        describe: Callable[[], str] | None = None,
    ) -> None:
        self._look = look
        self._describe = describe
        self._probe = probe
        self._plan = plan or Plan()
        self._clock = clock
        self._looked_at: float | None = None
        self._probed_at: float | None = None
        self._calls = 0
        self._was_up = False
        self._target: Pod | None = None
        self._status = "not asked yet"

    def __call__(self) -> tuple[Pod | None, str]:
        """Do what is due; return the pod when it is ready, and what was last met."""
        now = self._clock()
        if self._choose(now) is Step.LOOK:
            self._looked_at = now  # also a look that fails is paced
            self._calls += 1
            self._see(self._look())
        target = self._target
        if target is not None and self._choose(now) is Step.PROBE:
            self._probed_at = now
            self._calls += self._probe.uses_api
            outcome = self._probe.check(target)
            self._status = outcome.status
            if outcome.is_ready:
                return target, outcome.status
        return None, self._status

    def _choose(self, now: float) -> Step:
        progress = Progress(
            looked_at=self._looked_at,
            probed_at=self._probed_at,
            calls=self._calls,
            can_probe=self._target is not None,
            uses_api=self._probe.uses_api,
        )
        return choose_step(self._plan, progress, now)

    def _see(self, pod: Pod | None) -> None:
        target = self._target
        if pod is not None and pod.status is PodStatus.RUNNING:
            if not self._was_up:
                # its ports are mapped in a moment: be eager once more
                self._was_up, self._calls = True, 0
            self._target = pod
            return
        # the host fails to report now and then; its container runs on meanwhile
        is_same_start = (
            pod is not None
            and target is not None
            and pod.status is PodStatus.STARTING
            and pod.started_at == target.started_at
        )
        if not is_same_start:
            self._target = None
            self._status = self._describe() if self._describe else _render_pod(pod)


def _render_pod(pod: Pod | None) -> str:
    if pod is None:
        return "not listed"
    reason = f" ({pod.status_reason})" if pod.status_reason else ""
    return f"{pod.status.lower()}{reason}"
