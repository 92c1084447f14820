"""`RunPodClient`: pods rented, found, started, stopped and terminated, each once.

Synchronous and safe to call from several threads. It must not know the wire, read the
environment or talk to people; times and the cloud are given to it.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from runpod_client import marks
from runpod_client.cloud import Cloud
from runpod_client.errors import APIError, ConfigError
from runpod_client.identities import Identity, IdentityStore
from runpod_client.intents import Journal
from runpod_client.model import (
    Account,
    GPUOffer,
    LogLine,
    Pod,
    PodEdit,
    PodSpec,
    PodStatus,
)
from runpod_client.pace import (
    START_TIMEOUT_SECONDS,
    STOP_TIMEOUT_SECONDS,
    Pace,
    Patience,
    silent,
)
from runpod_client.selection import no_such_pod, select_pod

# what only some calls need is loaded by the first of them: most commands list pods
if TYPE_CHECKING:
    from runpod_client.announcements import Announcements
    from runpod_client.conditions import Diagnosis
    from runpod_client.creation import Creation
    from runpod_client.hooks import Hooks
    from runpod_client.identity_uses import IdentityUse
    from runpod_client.leases import LeaseKeeper
    from runpod_client.lifecycle import Lifecycle
    from runpod_client.plans import Plan, StartPlan
    from runpod_client.price_history import PriceHistory

_LOG_LINES = 100


class RunPodClient:
    """The pods of one account, and what this machine knows of them.

    Args:
        cloud: The wire, or what opens it; that is done by the first who needs it, since
            what it loads is slow and not every caller makes a call.
    """

    def __init__(
        self,
        cloud: Cloud | Callable[[], Cloud],
        journal: Journal,
        identities: IdentityStore,
        *,
        owner: Callable[[], str],
        patience: Patience | None = None,
        pace: Pace | None = None,
        hooks: "Hooks | None" = None,
        open_prices: "Callable[[], PriceHistory] | None" = None,
    ) -> None:
        self._given_cloud = cloud
        self._opened_cloud: Cloud | None = None
        self._opening_cloud = threading.Lock()
        self._journal = journal
        self._identities = identities
        self._owner = owner
        self._patience = patience or Patience()
        self._pace = pace or Pace()
        self._hooks = hooks
        self._open_prices = open_prices

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end hooks; also done at the end of a `with` block."""
        if self._hooks is not None:
            self._hooks.close()
        self._journal.close()
        if self._opened_cloud is not None or not callable(self._given_cloud):
            self.cloud.close()

    @property
    def cloud(self) -> Cloud:
        """Return the wire itself, for what needs no care beyond it.

        That is: catalogue, network volumes, templates.

        Raises:
            ConfigError: It cannot be opened with these settings.
        """
        with self._opening_cloud:
            if self._opened_cloud is None:
                given = self._given_cloud
                self._opened_cloud = given() if callable(given) else given
            return self._opened_cloud

    @property
    def owner(self) -> str:
        """Return the name that marks the pods this machine rents."""
        return self._owner()

    @property
    def leases(self) -> "LeaseKeeper":
        """Return what knows and changes how long pods of ours may live."""
        from runpod_client.leases import LeaseKeeper  # noqa: PLC0415  # see above

        return LeaseKeeper(self.cloud, owner=self._owner(), now=self._pace.now)

    def now(self) -> datetime:
        """Return the time this client goes by."""
        return self._pace.now()

    def plan(self, spec: PodSpec) -> "Plan":
        """Return the ways to rent a wanted pod; nothing is rented.

        Raises:
            ConfigError: The spec makes no sense.
            NotFoundError: RunPod has no such GPU type, or the account no such volume.
        """
        from runpod_client.plans import bind_to_volume, make_plan  # noqa: PLC0415
        from runpod_client.specs import check_spec  # noqa: PLC0415

        check_spec(spec)
        if spec.network_volume_id:
            spec = bind_to_volume(spec, self.cloud.list_network_volumes())
        offers = self.list_gpu_offers(gpu_count=spec.place.gpu_count)
        bids = any(place.bid for place in (spec.place, *spec.fallbacks))
        if not bids or self._open_prices is None:
            return make_plan(spec, offers)
        prices = self._open_prices()
        prices.add(offers, self._pace.now())
        return make_plan(spec, offers, prices.read(self._pace.now()))

    def plan_start(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None
    ) -> "StartPlan":
        """Return what starting a stopped pod would cost; nothing is started."""
        from runpod_client.plans import make_start_plan  # noqa: PLC0415  # see above

        offers = self.list_gpu_offers(gpu_count=pod.gpu_count or 1)
        return make_start_plan(pod, offers, bid_usd_per_gpu_hour=bid_usd_per_gpu_hour)

    def create_pod(
        self,
        spec: PodSpec,
        *,
        plan: "Plan | None" = None,
        allow_duplicate_name: bool = False,
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Rent a pod; it bills from the moment this returns.

        A create of the same spec that was interrupted before is taken over instead of
        repeated.

        Args:
            plan: The ways to rent it as `plan` returned them, for instance to have
                their prices agreed to; None makes one now.

        Raises:
            ConfigError: The spec makes no sense, or nothing fits it.
            NotFoundError: RunPod has no such GPU type.
            NoCapacityError: None of the ways is free; nothing was made.
            RejectedError: A live pod has that name, or RunPod refuses.
            HookError: A hook of pre_create vetoed.
            UnsettledCreateError: Whether there is a pod is not known.
        """
        plan = plan or self.plan(spec)
        creation = self._creation()
        interrupted = creation.take_over(plan.spec, on_status)
        if interrupted is not None:
            return interrupted
        placements = plan.get_placements()
        with self._announcements.create(plan.spec) as made:
            on_status("renting")
            pod = creation.rent(
                plan.spec, placements, allow_duplicate_name=allow_duplicate_name
            )
            made(pod)
        return pod

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account, ours and others."""
        return self.cloud.list_pods()

    def settle(self, pods: Iterable[Pod] | None = None) -> list[Pod]:
        """Settle creates whose process died before it learnt the outcome.

        Args:
            pods: A listing made just now; None makes one if it is needed.

        Returns:
            Pods that exist, and bill, though their create never said so.
        """
        if not self._journal.list_open():
            return []
        listing = self.cloud.list_pods() if pods is None else pods
        return [pod for _, pod in self._creation().settle(listing)]

    def find_strays(self, pods: Iterable[Pod]) -> list[Pod]:
        """Return pods of ours that bill though their create had been given up.

        Args:
            pods: A listing made just now.
        """
        if not self._journal.list_given_up():
            return []
        return self._creation().find_strays(pods)

    def expiring(self, pod: Pod, reason: str) -> AbstractContextManager[None]:
        """Tell the hooks of `lease_expired` while a pod is ended for it."""
        return self._announcements.expire(pod, reason)

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""
        return self.cloud.find_pod(pod_id)

    def get_pod(self, pod_id: str) -> Pod:
        """Return a pod by its id.

        Raises:
            NotFoundError: There is none.
        """
        pod = self.cloud.find_pod(pod_id)
        if pod is None:
            raise no_such_pod(pod_id)
        return pod

    def resolve_pod(self, selector: str, *, with_reason: bool = False) -> Pod:
        """Return a pod by its id or its name.

        Args:
            with_reason: Find out why it is stopped, if it is; costs another call.

        Raises:
            AmbiguousPodError: Several pods have that name.
            NotFoundError: None fits.
        """
        pod = select_pod(self.cloud.list_pods(), selector)
        if pod.status.is_billed or not with_reason:
            return pod
        return self.cloud.find_pod(pod.pod_id) or pod

    def start_pod(
        self,
        pod_id: str,
        *,
        wait: bool = True,
        timeout: float = START_TIMEOUT_SECONDS,
        bid_usd_per_gpu_hour: Decimal | None = None,
        without_gpus: bool = False,
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Start a stopped pod's container anew, on the same machine; it bills again.

        A pod that runs already is left alone.

        Args:
            wait: Return when it is observed to run.
            bid_usd_per_gpu_hour: For spot pods; None repeats the last price.
            without_gpus: With CPUs alone, to get at its data when its GPUs are taken.

        Raises:
            NoCapacityError: The machine's GPUs are taken.
            RejectedError: The pod is terminated, or stopped again while starting.
            DeadlineError: It did not run within `timeout`.
        """
        self._lifecycle.start(
            self.get_pod(pod_id),
            bid_usd_per_gpu_hour=bid_usd_per_gpu_hour,
            without_gpus=without_gpus,
        )
        if not wait:
            return self.get_pod(pod_id)
        return self.wait_until_running(pod_id, timeout=timeout, on_status=on_status)

    def stop_pod(
        self,
        pod_id: str,
        *,
        wait: bool = True,
        timeout: float = STOP_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = silent,
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
        self._lifecycle.stop(pod)
        if not wait:
            return pod
        return self._lifecycle.wait_until_stopped(
            pod_id, timeout=timeout, on_status=on_status
        )

    def restart_pod(
        self,
        pod_id: str,
        *,
        wait: bool = True,
        timeout: float = START_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Restart a running pod's container; what lies outside its volume is lost.

        Raises:
            RejectedError: It does not run.
            NoCapacityError: The wire cannot restart in place, the pod was stopped, and
                somebody else has its GPUs now.
        """
        pod = self.get_pod(pod_id)
        self._lifecycle.restart(pod, timeout=timeout, on_status=on_status)
        if not wait:
            return self.get_pod(pod_id)
        return self.wait_until_running(pod_id, timeout=timeout, on_status=on_status)

    def edit_pod(self, pod_id: str, edit: PodEdit) -> Pod:
        """Change a pod; anything but the name restarts its container."""
        self._lifecycle.edit(self.get_pod(pod_id), edit)
        return self.get_pod(pod_id)

    def terminate_pod(
        self, pod_id: str, *, timeout: float = STOP_TIMEOUT_SECONDS
    ) -> bool:
        """Destroy a pod, its disks and its identity; returns when it is gone.

        Returns:
            True when this call did it, False when the pod was gone already.
        """
        pod = self.cloud.find_pod(pod_id)
        did = self._lifecycle.terminate(pod_id, pod, timeout=timeout)
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
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Return the pod once its container runs.

        Raises:
            RejectedError: It stopped or vanished; the reason is in the message.
            DeadlineError: It did not run within `timeout`.
        """
        return self._lifecycle.wait_until(
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
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Return the pod once it runs and its port 22 has a public address.

        That address may not answer yet: its sshd starts a little later.

        Raises:
            RejectedError: It stopped or vanished; the reason is in the message.
            DeadlineError: It had no such address within `timeout`.
        """
        return self._lifecycle.wait_until(
            pod_id,
            lambda pod: pod.status is PodStatus.RUNNING and pod.ssh_address is not None,
            what="have an SSH address",
            needs_ssh=True,
            timeout=timeout,
            on_status=on_status,
        )

    def wait_until_ready(
        self,
        pod_id: str,
        goal: str = "ssh",
        *,
        timeout: float = START_TIMEOUT_SECONDS,
        on_status: Callable[[str], None] = silent,
    ) -> Pod:
        """Return the pod once it can be used; then the hooks of `ready` run.

        Args:
            goal: As `runpod_client.readiness` writes them: `running`, `ssh` (its sshd
                answers), `tcp:8188`, `http:8188/path`, `log:REGEX`.

        Raises:
            ConfigError: There is no such goal.
            RejectedError: It stopped, failed or vanished; the message says why.
            DeadlineError: It was not ready within `timeout`.
        """
        from runpod_client.readiness import parse_goal  # noqa: PLC0415  # see above

        return self._lifecycle.wait_until_ready(
            pod_id, parse_goal(goal), timeout=timeout, on_status=on_status
        )

    def list_gpu_offers(self, *, gpu_count: int = 1) -> list[GPUOffer]:
        """Return what GPUs can be rented, with stock for pods of `gpu_count` GPUs."""
        return self.cloud.list_gpu_offers(gpu_count=gpu_count)

    def get_account(self) -> Account:
        """Return the account's balance and spending.

        Raises:
            CapabilityMissingError: No wire that is left tells it.
        """
        return self.cloud.get_account()

    @property
    def identities(self) -> IdentityStore:
        """Return the SSH key pairs this machine holds."""
        return self._identities

    def identity_for(self, pod: Pod) -> Identity | None:
        """Return the SSH identity made for a pod, None when there is none here."""
        name = self.identity_name_for(pod)
        if name is None:
            return None
        try:
            return self._identities.find(name, start=_start_of(pod))
        except ConfigError:  # a foreign mark names no file
            return None

    def identity_name_for(self, pod: Pod) -> str | None:
        """Return what the identity of a pod is called; None for a pod not ours."""
        return self._find_intent_id(pod.pod_id, pod)

    def list_identity_uses(self, pods: Iterable[Pod]) -> "list[IdentityUse]":
        """Return what each key pair this machine holds is for.

        Args:
            pods: A listing made just now; RunPod is asked about pods it lacks.
        """
        from runpod_client.identity_uses import find_use  # noqa: PLC0415  # see above

        listing = list(pods)
        names = self._identities.list_names()
        return [find_use(n, listing, self._journal, self.cloud) for n in names]

    def diagnose(self, pod: Pod, *, with_logs: bool = False) -> "Diagnosis":
        """Return in what state a pod really is, why, and what helps.

        Args:
            with_logs: Look into its host's log, and the account's balance, where the
                pod alone does not tell; costs up to two calls.
        """
        from runpod_client.conditions import (  # noqa: PLC0415  # see above
            Condition,
            Evidence,
            diagnose,
        )

        told_whole = {Condition.STOPPED_BY_USER, Condition.OUTBID, Condition.TERMINATED}
        now = self._pace.now()
        diagnosis = diagnose(pod, now=now)
        has_more_to_tell = not diagnosis.is_up and diagnosis.condition not in told_whole
        if not with_logs or not has_more_to_tell:
            return diagnosis
        # they make the answer better, no more: without them it stands as it is
        logs: list[LogLine] = []
        balance = None
        with contextlib.suppress(APIError):
            logs = self.cloud.read_logs(pod.pod_id, is_system=True, tail=_LOG_LINES)
        if diagnosis.condition is Condition.STOPPED_BY_RUNPOD:
            with contextlib.suppress(APIError):
                balance = self.cloud.get_account().balance_usd
        evidence = Evidence(balance_usd=balance)
        return diagnose(pod, now=now, logs=logs, evidence=evidence)

    @functools.cached_property
    def _announcements(self) -> "Announcements":
        from runpod_client.announcements import Announcements  # noqa: PLC0415

        return Announcements(self._hooks, owner=self._owner)

    @functools.cached_property
    def _lifecycle(self) -> "Lifecycle":
        from runpod_client.lifecycle import Lifecycle  # noqa: PLC0415  # see above

        return Lifecycle(self.cloud, self._pace, self._announcements)

    def _creation(self) -> "Creation":
        from runpod_client.creation import Creation  # noqa: PLC0415  # see above

        return Creation(
            self.cloud,
            self._journal,
            self._identities,
            owner=self._owner(),
            patience=self._patience,
            now=self._pace.now,
            sleep=self._pace.sleep,
        )

    def _find_intent_id(self, pod_id: str, pod: Pod | None) -> str | None:
        if pod is not None and pod.env:
            return pod.env.get(marks.INTENT)
        # a pod that is gone, or whose environment RunPod did not tell
        intent = self._journal.find_by_pod(pod_id)
        return intent.intent_id if intent else None


def _start_of(pod: Pod) -> str:
    """Return what tells this start of the pod from its others, as runpod_ssh does."""
    if pod.started_at is not None:
        return pod.started_at.astimezone(UTC).isoformat()
    address = pod.ssh_address
    return f"{address.host}:{address.port}" if address else ""
