"""A pod's life after it was rented: started, stopped, restarted, changed, ended.

Each change is asked for once, observed until it is true, and harmless to repeat. An
answer that is lost is not believed either way: the pod is looked at. It must not rent
pods, nor talk to people.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from runpod_client import marks
from runpod_client.announcements import Announcements
from runpod_client.cloud import Cloud
from runpod_client.conditions import Evidence, diagnose
from runpod_client.errors import (
    APIError,
    CapabilityMissingError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    TransportError,
    UnavailableError,
)
from runpod_client.logs import get_logger
from runpod_client.model import LogLine, Pod, PodEdit, PodStatus
from runpod_client.pace import Pace, silent
from runpod_client.readiness import Goal, GoalKind, Plan, Watch, make_probe
from runpod_client.selection import no_such_pod
from runpod_client.wait import wait_until

Value = TypeVar("Value")

_LOOKS_PER_LOG = 6
_GONE_AFTER_ABSENCES = 2  # one look can miss it
_UNKNOWN_AFTER_ABSENCES = 3  # a pod just made may not be listed yet
# after these a change may have happened all the same
_DOUBTFUL = (TransportError, UnavailableError, ProtocolError)
_UP = {PodStatus.STARTING, PodStatus.RUNNING}

_log = get_logger(__name__)


class Lifecycle:
    """What can be done to a pod that is there."""

    def __init__(self, cloud: Cloud, pace: Pace, announcements: Announcements) -> None:
        self._cloud = cloud
        self._pace = pace
        self._announcements = announcements
        self._turns = Turns()

    def start(
        self,
        pod: Pod,
        *,
        bid_usd_per_gpu_hour: Decimal | None = None,
        without_gpus: bool = False,
    ) -> bool:
        """Ask for a stopped pod's container to be started; it bills again.

        Returns:
            False for a pod that runs already, which is left alone.
        """
        if pod.status is PodStatus.TERMINATED:
            raise RejectedError(
                f"pod {pod.pod_id} is terminated and cannot be started",
                operation="startPod",
                hint="Create a new one: runpod-client pods create",
            )
        if pod.status in _UP:
            return False

        def change() -> None:
            if without_gpus:
                self._cloud.start_pod_without_gpus(pod.pod_id)
            else:
                self._cloud.start_pod(pod, bid_usd_per_gpu_hour=bid_usd_per_gpu_hour)

        with self._announcements.start(pod):
            self._ask(change, pod.pod_id, _is_started)
            _log.info("pod_started", pod_id=pod.pod_id, pod_name=pod.name)
        return True

    def stop(self, pod: Pod) -> bool:
        """Ask for a pod's GPUs to be released; False if they are already.

        Of many callers at once one asks, and the others see that it was done.
        """
        if is_stopped(pod):
            return False
        with self._turns.take(pod.pod_id) as was_taken:
            if was_taken and is_stopped(self._cloud.find_pod(pod.pod_id)):
                return False
            with self._announcements.stop(pod):
                self._ask(
                    lambda: self._cloud.stop_pod(pod.pod_id), pod.pod_id, is_stopped
                )
            _log.info("pod_stopped", pod_id=pod.pod_id, pod_name=pod.name)
        return True

    def restart(
        self, pod: Pod, *, timeout: float, on_status: Callable[[str], None] = silent
    ) -> None:
        """Restart a running pod's container, in place where the wire can do that.

        Where it cannot the pod is stopped and started, which may lose it its GPUs to
        somebody else; its volume stays in both cases, its other files do not.
        """
        if pod.status is not PodStatus.RUNNING:
            raise RejectedError(
                f"pod {pod.pod_id} is {pod.status.lower()}; only a running one restarts",
                operation="restartPod",
                hint=f"Start it: runpod-client pods start {pod.pod_id}",
            )
        try:
            self._cloud.restart_pod(pod.pod_id)
        except CapabilityMissingError:
            self.stop(pod)
            stopped = self.wait_until_stopped(
                pod.pod_id, timeout=timeout, on_status=on_status
            )
            self.start(stopped)
        _log.info("pod_restarted", pod_id=pod.pod_id, pod_name=pod.name)

    def edit(self, pod: Pod, edit: PodEdit) -> None:
        """Change a pod; a new name applies at once, the rest restarts the container."""
        if edit.name is not None and edit.name != pod.name:
            self._cloud.rename_pod(pod.pod_id, render_wire_name(pod, edit.name))
        if edit.restarts:
            kept = edit
            if edit.env is not None:
                # the marks are ours to keep: without them nobody looks after the pod
                own = {k: v for k, v in pod.env.items() if k in _KEPT_VARIABLES}
                kept = replace(edit, env={**edit.env, **own})
            self._cloud.edit_pod(pod, kept)
        _log.info("pod_edited", pod_id=pod.pod_id, pod_name=edit.name or pod.name)

    def terminate(self, pod_id: str, pod: Pod | None, *, timeout: float) -> bool:
        """Destroy a pod and its disks; returns when it is gone.

        Args:
            pod: As it was seen last; None where it is not shown, which may be because
                it was made a moment ago.

        Returns:
            True when this call did it, False when the pod was gone already.
        """
        if pod is not None and pod.status is PodStatus.TERMINATED:
            return False
        did = False
        with self._announcements.terminate(pod), contextlib.suppress(NotFoundError):
            self._ask(lambda: self._cloud.terminate_pod(pod_id), pod_id, _is_gone)
            did = True
        self._wait_until_gone(pod_id, timeout)
        if did:
            _log.info("pod_terminated", pod_id=pod_id)
        return did

    def wait_until_stopped(
        self, pod_id: str, *, timeout: float, on_status: Callable[[str], None] = silent
    ) -> Pod:
        """Return the pod once it is observed to be stopped.

        Raises:
            DeadlineError: It was not stopped within `timeout`.
        """

        def probe() -> tuple[Pod | None, str]:
            seen = self._cloud.find_pod(pod_id)
            if seen is None:
                raise no_such_pod(pod_id)
            return (seen if is_stopped(seen) else None), seen.status.lower()

        return self.wait(probe, f"pod {pod_id} to stop", timeout, on_status)

    def wait_until(
        self,
        pod_id: str,
        is_ready: Callable[[Pod], bool],
        *,
        what: str,
        needs_ssh: bool = False,
        timeout: float,
        on_status: Callable[[str], None],
    ) -> Pod:
        """Return a pod that is coming up once `is_ready` holds.

        Args:
            needs_ssh: A pod that cannot be reached by SSH is one without hope.

        Raises:
            RejectedError: It stopped, failed or vanished; the message says why.
            DeadlineError: It did not come true within `timeout`.
        """
        outlook = Outlook(
            self._cloud,
            pod_id,
            what=what,
            needs_ssh=needs_ssh,
            now=self._pace.now,
        )

        def probe() -> tuple[Pod | None, str]:
            seen = outlook()
            if seen is not None and is_ready(seen):
                return seen, "ready"
            return None, outlook.status

        return self.wait(probe, f"pod {pod_id} to {what}", timeout, on_status)

    def wait_until_ready(
        self,
        pod_id: str,
        goal: Goal,
        *,
        timeout: float,
        on_status: Callable[[str], None],
    ) -> Pod:
        """Return a pod that is coming up once it can be used as `goal` says.

        Raises:
            RejectedError: It stopped, failed or vanished; the message says why.
            DeadlineError: It was not ready within `timeout`.
        """
        what = f"be ready ({goal.kind})"
        probe = make_probe(
            goal, lambda pod: self._cloud.read_logs(pod.pod_id, is_system=False)
        )
        plan = Plan()
        outlook = Outlook(
            self._cloud,
            pod_id,
            what=what,
            needs_ssh=goal.kind is GoalKind.SSH,
            now=self._pace.now,
        )
        watch = Watch(
            outlook,
            probe,
            plan=plan,
            clock=self._pace.clock,
            describe=lambda: outlook.status,
        )
        pod = self.wait(
            watch,
            f"pod {pod_id} to {what}",
            timeout,
            on_status,
            interval=plan.probe_seconds,
        )
        self._announcements.ready(pod)
        return pod

    def wait(
        self,
        probe: Callable[[], tuple[Value | None, str]],
        what: str,
        timeout: float,
        on_status: Callable[[str], None],
        *,
        interval: float | None = None,
    ) -> Value:
        """Poll by the client's pace; a passing failure of the API is no answer yet."""

        def patient() -> tuple[Value | None, str]:
            try:
                return probe()
            except (*_DOUBTFUL, RateLimitedError) as error:
                return None, error.message

        return wait_until(
            patient,
            what=what,
            timeout=timeout,
            interval=interval or self._pace.interval_seconds,
            clock=self._pace.clock,
            sleep=self._pace.sleep,
            on_status=on_status,
            hint="It may still come: runpod-client pods list",
        )

    def _ask(
        self,
        change: Callable[[], None],
        pod_id: str,
        is_done: Callable[[Pod | None], bool],
    ) -> None:
        """Ask for a change; where the answer is lost, see whether it happened."""
        try:
            change()
        except _DOUBTFUL:
            if not is_done(self._cloud.find_pod(pod_id)):
                raise

    def _wait_until_gone(self, pod_id: str, timeout: float) -> None:
        def probe() -> tuple[bool | None, str]:
            seen = self._cloud.find_pod(pod_id)
            status = "gone" if seen is None else seen.status.lower()
            return (_is_gone(seen) or None), status

        self.wait(probe, f"pod {pod_id} to be gone", timeout, silent)


class Turns:
    """Lets one caller at a time do something to a pod."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def take(self, pod_id: str) -> Iterator[bool]:
        """Wait for one's turn; yield whether somebody had it in between."""
        with self._guard:
            lock, waiting = self._locks.get(pod_id, (threading.Lock(), 0))
            self._locks[pod_id] = (lock, waiting + 1)
        try:
            with lock:
                yield waiting > 0
        finally:
            with self._guard:
                _, waiting = self._locks[pod_id]
                if waiting == 1:
                    del self._locks[pod_id]
                else:
                    self._locks[pod_id] = (lock, waiting - 1)


class Outlook:
    """Looks at a pod that is coming up, and says when there is no hope for it.

    Attributes:
        status: What keeps it from being ready, in a sentence.
    """

    def __init__(
        self,
        cloud: Cloud,
        pod_id: str,
        *,
        what: str,
        needs_ssh: bool = False,
        now: Callable[[], datetime],
    ) -> None:
        self._cloud = cloud
        self._pod_id = pod_id
        self._what = what
        self._needs_ssh = needs_ssh
        self._now = now
        self._looks = 0
        self._absences = 0
        self._seen: Pod | None = None
        self._logs: list[LogLine] = []
        self.status = "not asked yet"

    def __call__(self) -> Pod | None:
        """Return the pod as it is now, None while it is not listed.

        Raises:
            RejectedError: It stopped, failed or vanished; the message says why.
            NotFoundError: There never was such a pod.
        """
        if self._is_turn_of_logs():
            self._read_logs()
            return self._seen
        seen = self._cloud.find_pod(self._pod_id)
        if seen is None:
            self._miss()
            return None
        self._absences = 0
        diagnosis = diagnose(
            seen,
            now=self._now(),
            logs=self._logs,
            evidence=Evidence(earlier=self._seen),
        )
        self._seen = seen
        self.status = diagnosis.sentence
        is_hopeless = diagnosis.is_terminal and (self._needs_ssh or not diagnosis.is_up)
        if is_hopeless or is_stopped(seen):
            has_words = seen.status_reason not in {"", seen.wire_status}
            words = f" ({seen.status_reason})" if has_words else ""
            raise RejectedError(
                f"pod {self._pod_id} will not {self._what}: {diagnosis.sentence}{words}",
                hint=diagnosis.hint,
            )
        return seen

    def _is_turn_of_logs(self) -> bool:
        """Return whether the host's log is asked instead of the pod, now and then."""
        if self._seen is None or self._seen.status is not PodStatus.STARTING:
            return False
        self._looks += 1
        return self._looks % _LOOKS_PER_LOG == 0

    def _read_logs(self) -> None:
        # a log makes the wait more telling; without one it goes on
        with contextlib.suppress(APIError):
            self._logs = self._cloud.read_logs(self._pod_id, is_system=True)

    def _miss(self) -> None:
        self.status = "not listed"
        self._absences += 1
        if self._seen is not None and self._absences >= _GONE_AFTER_ABSENCES:
            raise RejectedError(
                f"pod {self._pod_id} vanished while it was waited for",
                hint="It was terminated; list your pods: runpod-client pods list",
            )
        if self._absences >= _UNKNOWN_AFTER_ABSENCES:
            raise no_such_pod(self._pod_id)


_KEPT_VARIABLES = {marks.OWNER, marks.INTENT, marks.LEASE, marks.BID, "PUBLIC_KEY"}


def render_wire_name(pod: Pod, name: str) -> str:
    """Return a new name as it stands on the wire: a pod of ours keeps its mark."""
    if pod.intent_id is None:
        return name
    return marks.render_name(
        name, intent_id=pod.intent_id, lease_ends_at=pod.lease_ends_at
    )


def is_stopped(pod: Pod | None) -> bool:
    """Return whether a pod has no GPUs any more."""
    return pod is not None and not pod.status.is_billed


def _is_started(pod: Pod | None) -> bool:
    return pod is not None and pod.status in _UP


def _is_gone(pod: Pod | None) -> bool:
    return pod is None or pod.status is PodStatus.TERMINATED
