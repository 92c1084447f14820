"""`RunPodClient`: pods rented, found, started, stopped and terminated, each once.

Synchronous and safe to call from several threads. It must not know the wire, read the
environment or talk to people; times and the cloud are given to it.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self, TypeVar

import structlog

from runpod_client import marks
from runpod_client.cloud import Cloud
from runpod_client.config import ClientSettings
from runpod_client.creation import DOUBTFUL, Creation, Patience
from runpod_client.errors import (
    ConfigError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
)
from runpod_client.identities import Identity, IdentityStore
from runpod_client.intents import Journal
from runpod_client.model import Account, GPUType, Pod, PodSpec, PodStatus
from runpod_client.owners import ensure_owner
from runpod_client.selection import no_such_pod, select_gpu_types, select_pod
from runpod_client.specs import check_spec
from runpod_client.wait import wait_until

Value = TypeVar("Value")

START_TIMEOUT_SECONDS = 1200.0  # an image pull alone can take many minutes
STOP_TIMEOUT_SECONDS = 120.0
_GONE_AFTER_ABSENCES = 2  # one listing can lag behind

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The time that waiting goes by.

    Attributes:
        interval_seconds: Between two looks at a pod that is waited for.
        clock: Monotonic seconds.
    """

    interval_seconds: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def _silent(_status: str) -> None:
    """Ignore what is being waited for."""


class RunPodClient:
    """The pods of one account, and what this machine knows of them."""

    def __init__(
        self,
        cloud: Cloud,
        journal: Journal,
        identities: IdentityStore,
        *,
        owner: Callable[[], str],
        patience: Patience | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._cloud = cloud
        self._journal = journal
        self._identities = identities
        self._owner = owner
        self._patience = patience or Patience()
        self._pace = pace or Pace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; also done at the end of a `with` block."""
        self._cloud.close()

    @property
    def owner(self) -> str:
        """Return the name that marks the pods this machine rents."""
        return self._owner()

    def create_pod(
        self,
        spec: PodSpec,
        *,
        allow_duplicate_name: bool = False,
        on_status: Callable[[str], None] = _silent,
    ) -> Pod:
        """Rent a pod; it bills from the moment this returns.

        GPU types may be given by id or by display name, best first. A create of the
        same spec that was interrupted before is taken over instead of repeated.

        Raises:
            ConfigError: The spec makes no sense.
            NotFoundError: RunPod has no such GPU type.
            NoCapacityError: None of the types is free; nothing was made.
            RejectedError: A live pod has that name, or RunPod refuses.
            UnsettledCreateError: Whether there is a pod is not known.
        """
        check_spec(spec)
        gpu_types = tuple(g.gpu_type for g in self.match_gpu_types(spec.gpu_types))
        spec = replace(spec, gpu_types=gpu_types)
        creation = self._creation()
        interrupted = creation.take_over(spec, on_status)
        if interrupted is not None:
            return interrupted
        on_status(f"renting {spec.name!r}")
        return creation.rent(spec, allow_duplicate_name=allow_duplicate_name)

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account, ours and others."""
        return self._cloud.list_pods()

    def settle(self, pods: Iterable[Pod] | None = None) -> list[Pod]:
        """Settle creates whose process died before it learnt the outcome.

        Args:
            pods: A listing made just now; None makes one if it is needed.

        Returns:
            Pods that exist, and bill, though their create never said so.
        """
        if not self._journal.list_open():
            return []
        listing = self._cloud.list_pods() if pods is None else pods
        return [pod for _, pod in self._creation().settle(listing)]

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""
        return self._cloud.find_pod(pod_id)

    def get_pod(self, pod_id: str) -> Pod:
        """Return a pod by its id.

        Raises:
            NotFoundError: There is none.
        """
        pod = self._cloud.find_pod(pod_id)
        if pod is None:
            raise no_such_pod(pod_id)
        return pod

    def resolve_pod(self, selector: str) -> Pod:
        """Return a pod by its id or its name.

        Raises:
            AmbiguousPodError: Several pods have that name.
            NotFoundError: None fits.
        """
        return select_pod(self._cloud.list_pods(), selector)

    def start_pod(
        self,
        pod_id: str,
        *,
        wait: bool = True,
        timeout: float = START_TIMEOUT_SECONDS,
        bid_usd_per_gpu_hour: Decimal | None = None,
        on_status: Callable[[str], None] = _silent,
    ) -> Pod:
        """Start a stopped pod's container anew, on the same machine; it bills again.

        A pod that runs already is left alone.

        Args:
            wait: Return when it is observed to run.
            bid_usd_per_gpu_hour: For spot pods; None repeats the last price.

        Raises:
            NoCapacityError: The machine's GPUs are taken.
            RejectedError: The pod is terminated, or stopped again while starting.
            DeadlineError: It did not run within `timeout`.
        """
        pod = self.get_pod(pod_id)
        if pod.status is PodStatus.TERMINATED:
            raise RejectedError(
                f"pod {pod_id} is terminated and cannot be started",
                operation="startPod",
                hint="Create a new one: runpod-client pods create",
            )
        if pod.status not in {PodStatus.STARTING, PodStatus.RUNNING}:
            self._ask(
                lambda: self._cloud.start_pod(
                    pod, bid_usd_per_gpu_hour=bid_usd_per_gpu_hour
                ),
                pod_id,
                _is_started,
            )
            _log.info("pod_started", pod_id=pod_id, pod_name=pod.name)
        if not wait:
            return self.get_pod(pod_id)
        return self.wait_until_running(pod_id, timeout=timeout, on_status=on_status)

    def stop_pod(
        self,
        pod_id: str,
        *,
        wait: bool = True,
        timeout: float = STOP_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = _silent,
    ) -> Pod:
        """Release a pod's GPUs; its volume stays (and bills), its other files do not.

        A pod that is stopped already is left alone.

        Args:
            wait: Return when it is observed to be stopped; else what is returned is
                the pod as it was before.

        Raises:
            DeadlineError: It was not stopped within `timeout`.
        """
        pod = self.get_pod(pod_id)
        if not _is_stopped(pod):
            self._ask(lambda: self._cloud.stop_pod(pod_id), pod_id, _is_stopped)
            _log.info("pod_stopped", pod_id=pod_id, pod_name=pod.name)
        if not wait:
            return pod

        def probe() -> tuple[Pod | None, str]:
            seen = self._cloud.find_pod(pod_id)
            if seen is None:
                raise no_such_pod(pod_id)
            return (seen if _is_stopped(seen) else None), seen.status.lower()

        return self._wait(probe, f"pod {pod_id} to stop", timeout, on_status)

    def terminate_pod(
        self, pod_id: str, *, timeout: float = STOP_TIMEOUT_SECONDS
    ) -> bool:
        """Destroy a pod, its disks and its identity; returns when it is gone.

        Returns:
            True when this call did it, False when the pod was gone already.
        """
        pod = self._cloud.find_pod(pod_id)
        did = False
        if pod is None or pod.status is not PodStatus.TERMINATED:
            # also for a pod that is not shown: one just made may not be listed yet
            with contextlib.suppress(NotFoundError):
                self._ask(lambda: self._cloud.terminate_pod(pod_id), pod_id, _is_gone)
                did = True
            self._wait_until_gone(pod_id, timeout)
        if did:
            _log.info("pod_terminated", pod_id=pod_id)
        intent_id = self._find_intent_id(pod_id, pod)
        if intent_id is not None:
            with contextlib.suppress(ConfigError):  # a foreign mark names no file
                self._identities.remove(intent_id)
        return did

    def was_rented_here(self, pod_id: str) -> bool:
        """Return whether this machine rented a pod of that id, now or once."""
        return self._journal.find_by_pod(pod_id) is not None

    def wait_until_running(
        self,
        pod_id: str,
        *,
        timeout: float = START_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = _silent,
    ) -> Pod:
        """Return the pod once its container runs.

        Raises:
            RejectedError: It stopped or vanished; the reason is in the message.
            DeadlineError: It did not run within `timeout`.
        """
        return self._wait_until(
            pod_id,
            lambda pod: pod.status is PodStatus.RUNNING,
            what="run",
            timeout=timeout,
            on_status=on_status,
        )

    def wait_until_ssh_address(
        self,
        pod_id: str,
        *,
        timeout: float = START_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = _silent,
    ) -> Pod:
        """Return the pod once it runs and its port 22 has a public address.

        That address may not answer yet: its sshd starts a little later.

        Raises:
            RejectedError: It stopped or vanished; the reason is in the message.
            DeadlineError: It had no such address within `timeout`.
        """
        return self._wait_until(
            pod_id,
            lambda pod: pod.status is PodStatus.RUNNING and pod.ssh_address is not None,
            what="have an SSH address",
            timeout=timeout,
            on_status=on_status,
        )

    def list_gpu_types(self, *, gpu_count: int = 1) -> list[GPUType]:
        """Return what can be rented, priced for pods of `gpu_count` GPUs."""
        return self._cloud.list_gpu_types(gpu_count=gpu_count)

    def match_gpu_types(
        self, wanted: Iterable[str], *, gpu_count: int = 1
    ) -> list[GPUType]:
        """Return the GPU types named by id or display name, capitals aside.

        Raises:
            NotFoundError: RunPod has no such type. Asking for it would look like a
                lack of capacity for ever.
        """
        return select_gpu_types(self.list_gpu_types(gpu_count=gpu_count), wanted)

    def get_account(self) -> Account:
        """Return the account's balance and spending."""
        return self._cloud.get_account()

    def identity_for(self, pod: Pod) -> Identity | None:
        """Return the SSH identity made for a pod, None when there is none here."""
        intent_id = self._find_intent_id(pod.pod_id, pod)
        if intent_id is None:
            return None
        try:
            return self._identities.find(intent_id)
        except ConfigError:  # a foreign mark names no file
            return None

    def _creation(self) -> Creation:
        return Creation(
            self._cloud,
            self._journal,
            self._identities,
            owner=self._owner(),
            patience=self._patience,
            now=self._pace.now,
            sleep=self._pace.sleep,
        )

    def _find_intent_id(self, pod_id: str, pod: Pod | None) -> str | None:
        if pod is not None and pod.env:
            return marks.find_intent_id(pod.env)
        # a pod that is gone, or whose environment RunPod did not tell
        intent = self._journal.find_by_pod(pod_id)
        return intent.intent_id if intent else None

    def _ask(
        self,
        change: Callable[[], None],
        pod_id: str,
        is_done: Callable[[Pod | None], bool],
    ) -> None:
        """Ask for a change; where the answer is lost, see whether it happened."""
        try:
            change()
        except DOUBTFUL:
            if not is_done(self._cloud.find_pod(pod_id)):
                raise

    def _wait_until_gone(self, pod_id: str, timeout: float) -> None:
        def probe() -> tuple[bool | None, str]:
            seen = self._cloud.find_pod(pod_id)
            status = "gone" if seen is None else seen.status.lower()
            return (_is_gone(seen) or None), status

        self._wait(probe, f"pod {pod_id} to be gone", timeout, _silent)

    def _wait_until(
        self,
        pod_id: str,
        is_ready: Callable[[Pod], bool],
        *,
        what: str,
        timeout: float,
        on_status: Callable[[str], None],
    ) -> Pod:
        # an unreachable API fails at once; a pod just made may not be listed yet
        has_been_seen = self._cloud.find_pod(pod_id) is not None
        absences = 0

        def probe() -> tuple[Pod | None, str]:
            nonlocal absences, has_been_seen
            seen = self._cloud.find_pod(pod_id)
            if seen is None:
                absences += 1
                if absences >= _GONE_AFTER_ABSENCES:
                    raise _vanished(pod_id) if has_been_seen else no_such_pod(pod_id)
                return None, "not listed"
            has_been_seen, absences = True, 0
            if seen.status in {PodStatus.STOPPED, PodStatus.TERMINATED}:
                raise _ended(seen, what)
            return (seen if is_ready(seen) else None), _render_progress(seen)

        return self._wait(probe, f"pod {pod_id} to {what}", timeout, on_status)

    def _wait(
        self,
        probe: Callable[[], tuple[Value | None, str]],
        what: str,
        timeout: float,
        on_status: Callable[[str], None],
    ) -> Value:
        """Poll by the client's pace; a passing failure of the API is no answer yet."""

        def patient() -> tuple[Value | None, str]:
            try:
                return probe()
            except (*DOUBTFUL, RateLimitedError) as error:
                return None, error.message

        return wait_until(
            patient,
            what=what,
            timeout=timeout,
            interval=self._pace.interval_seconds,
            clock=self._pace.clock,
            sleep=self._pace.sleep,
            on_status=on_status,
            hint="It may still come: runpod-client pods list",
        )


def open_client(settings: ClientSettings) -> RunPodClient:
    """Return a client for the account the settings name; no call is made yet.

    Raises:
        ConfigError: There is no API key, or the base URL is no good.
    """
    if not settings.api_key:
        raise ConfigError(
            "there is no RunPod API key",
            setting="api_key",
            hint="Set RUNPOD_API_KEY_FILE (a file with the key, mode 600) or "
            "RUNPOD_API_KEY. To try without an account: runpod-sim serve",
        )
    # requests is slow to import and --help has no use for it
    from runpod_client.dialects.graphql import GraphQLCloud  # noqa: PLC0415
    from runpod_client.transport import Transport  # noqa: PLC0415

    transport = Transport(
        base_url=settings.api_url,
        api_key=settings.api_key,
        timeout_seconds=settings.api_timeout_seconds,
    )
    state_dir = settings.state_dir
    # a create counts as never made only after its request has surely ended
    abandon_after = max(90.0, 3 * settings.api_timeout_seconds)
    return RunPodClient(
        GraphQLCloud(transport),
        Journal(state_dir),
        IdentityStore(state_dir / "identities"),
        owner=lambda: settings.owner or ensure_owner(state_dir),
        patience=Patience(abandon_after_seconds=abandon_after),
    )


def _vanished(pod_id: str) -> RejectedError:
    return RejectedError(
        f"pod {pod_id} vanished while it was waited for",
        hint="It was terminated; list your pods: runpod-client pods list",
    )


def _ended(pod: Pod, what: str) -> RejectedError:
    is_stopped = pod.status is PodStatus.STOPPED
    return RejectedError(
        f"pod {pod.pod_id} is {pod.status.lower()} and will not {what}: "
        f"{pod.status_reason}",
        hint=f"Start it: runpod-client pods start {pod.pod_id}" * is_stopped,
    )


def _is_started(pod: Pod | None) -> bool:
    return pod is not None and pod.status in {PodStatus.STARTING, PodStatus.RUNNING}


def _is_stopped(pod: Pod | None) -> bool:
    return pod is not None and pod.status in {PodStatus.STOPPED, PodStatus.TERMINATED}


def _is_gone(pod: Pod | None) -> bool:
    return pod is None or pod.status is PodStatus.TERMINATED


def _render_progress(pod: Pod) -> str:
    """Return in a few words what a pod is waited for."""
    if pod.status is PodStatus.RUNNING and pod.ssh_address is None:
        return "running, port 22 has no public address yet"
    reason = f" ({pod.status_reason})" if pod.status_reason else ""
    return f"{pod.status.lower()}{reason}"
