"""Renting one pod exactly once: plan, send, settle; and settling what was left open.

The journal says what was sent, the listing what exists; this module brings them
together. It must not know the wire, and it asks nobody.

What an answer means for the intent:

    a pod                                       settled
    NoCapacityError                             next GPU type, at the end failed
    TransportError, Unavailable-, ProtocolError look for the mark in listings:
                                                found settled, else it stays sent
    any other error                             failed: nothing was made
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from runpod_client import marks
from runpod_client.cloud import Cloud
from runpod_client.errors import (
    APIError,
    Error,
    NoCapacityError,
    ProtocolError,
    TransportError,
    UnavailableError,
    UnsettledCreateError,
)
from runpod_client.identities import Identity, IdentityStore
from runpod_client.intents import (
    OPEN_STATES,
    Intent,
    IntentState,
    Journal,
    render_spec,
)
from runpod_client.model import Pod, PodSpec, PodStatus
from runpod_client.selection import check_name_is_free

# after these a pod may exist all the same
DOUBTFUL = (TransportError, UnavailableError, ProtocolError)

_USABLE = (PodStatus.STARTING, PodStatus.RUNNING)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long listings are looked through for a pod whose create got no answer.

    Attributes:
        listings: How often, after a lost answer.
        pause_seconds: Between two of them.
        abandon_after_seconds: A create that listings do not show this long after it
            was sent made no pod. It must be longer than a request can be under way.
    """

    listings: int = 5
    pause_seconds: float = 2.0
    abandon_after_seconds: float = 90.0


class Creation:
    """The creates of one owner."""

    def __init__(
        self,
        cloud: Cloud,
        journal: Journal,
        identities: IdentityStore,
        *,
        owner: str,
        patience: Patience,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cloud = cloud
        self._journal = journal
        self._identities = identities
        self._owner = owner
        self._patience = patience
        self._now = now
        self._sleep = sleep

    def rent(self, spec: PodSpec, *, allow_duplicate_name: bool = False) -> Pod:
        """Rent a pod with the first of its GPU types that is free.

        Raises:
            RejectedError: A live pod has that name, or RunPod refuses.
            NoCapacityError: None of the types is free; nothing was made.
            UnsettledCreateError: Whether there is a pod is not known.
        """
        with self._journal.plan(spec, now=self._now()) as intent:
            try:
                if not allow_duplicate_name:
                    # under the intent's claim on the name: of two creates at once
                    # the later one sees the pod of the earlier one
                    check_name_is_free(spec.name, self._cloud.list_pods())
                identity = self._identities.create(intent.intent_id)
                marked = self._mark(spec, intent, identity)
                self._record(intent, IntentState.SENT)
                pod = self._walk(marked, intent)
            except UnsettledCreateError:
                raise
            except Error:
                # refused for sure, or never sent; anything else leaves it open
                self.discard(intent, IntentState.FAILED)
                raise
            self._record(intent, IntentState.SETTLED, pod_id=pod.pod_id)
        _log.info(
            "pod_created",
            pod_id=pod.pod_id,
            pod_name=pod.name,
            gpu_type=pod.gpu_type,
            gpu_count=pod.gpu_count,
            price_usd_per_hour=str(pod.price_usd_per_hour),
        )
        return pod

    def settle(self, pods: Iterable[Pod]) -> list[tuple[Intent, Pod]]:
        """Settle the creates of processes that died, by a fresh listing.

        Returns:
            The creates that turned out to have made a pod, which is rented.
        """
        by_intent = {
            intent_id: pod
            for pod in pods
            if (intent_id := marks.find_intent_id(pod.env)) is not None
        }
        found = []
        for intent in self._journal.list_open():
            with self._journal.adopt(intent.intent_id) as is_ours:
                if not is_ours:
                    continue
                # it may have moved on between the listing and the lock
                current = self._journal.get(intent.intent_id)
                if current.state not in OPEN_STATES:
                    continue
                pod = by_intent.get(intent.intent_id)
                if pod is not None:
                    self._record(current, IntentState.SETTLED, pod_id=pod.pod_id)
                    _log.warning("create_settled", pod_id=pod.pod_id, pod_name=pod.name)
                    found.append((current, pod))
                elif self.is_overdue(current):
                    self.discard(current, IntentState.ABANDONED)
        return found

    def take_over(self, spec: PodSpec, on_status: Callable[[str], None]) -> Pod | None:
        """Return the pod that an interrupted create of this very spec made.

        Settles what is open, and waits out a create of this name that got no answer
        until it is known to have made nothing.
        """
        wanted = render_spec(spec)
        while self._journal.list_open():
            for intent, pod in self.settle(self._cloud.list_pods()):
                if intent.spec_json == wanted and pod.status in _USABLE:
                    return pod
            if not any(
                self._is_pending(i, spec.name) for i in self._journal.list_open()
            ):
                break
            on_status(f"waiting to learn whether {spec.name!r} was made before")
            self._sleep(self._patience.pause_seconds)
        return None

    def is_overdue(self, intent: Intent) -> bool:
        """Return whether an open intent of a dead process can have made no pod."""
        if intent.state is IntentState.PLANNED:
            return True
        age = self._now() - intent.updated_at
        return age >= timedelta(seconds=self._patience.abandon_after_seconds)

    def discard(self, intent: Intent, state: IntentState) -> None:
        """Close an intent that made no pod, and destroy its identity."""
        self._record(intent, state)
        self._identities.remove(intent.intent_id)

    def _is_pending(self, intent: Intent, pod_name: str) -> bool:
        """Return whether a dead process's create of that name is still open."""
        if intent.pod_name != pod_name:
            return False
        with self._journal.adopt(intent.intent_id) as is_ours:
            return is_ours

    def _mark(self, spec: PodSpec, intent: Intent, identity: Identity) -> PodSpec:
        """Return the spec with our marks and the identity's public key in its env."""
        keys = [spec.env.get("PUBLIC_KEY", "").strip(), identity.public_key]
        return replace(
            spec,
            env={
                **spec.env,
                **marks.render_marks(owner=self._owner, intent_id=intent.intent_id),
                "PUBLIC_KEY": "\n".join(key for key in keys if key),
            },
        )

    def _walk(self, spec: PodSpec, intent: Intent) -> Pod:
        """Ask for one GPU type after the other."""
        refusal = NoCapacityError("no GPU type was named", operation="createPod")
        tried = []
        for gpu_type in spec.gpu_types:
            try:
                return self._cloud.create_pod(spec, gpu_type)
            except NoCapacityError as error:
                _log.info("gpu_type_exhausted", gpu_type=gpu_type)
                tried.append(gpu_type)
                refusal = error
            except DOUBTFUL as error:
                return self._find_made(intent, error)
        if tried:
            raise NoCapacityError(
                f"RunPod has no {' and no '.join(tried)} free now",
                gpu_type=tried[-1],
                operation="createPod",
                hint=refusal.hint,
            ) from refusal
        raise refusal

    def _find_made(self, intent: Intent, cause: APIError) -> Pod:
        """Look for the pod of a create whose answer was lost.

        Raises:
            UnsettledCreateError: No listing shows it.
        """
        _log.warning("create_answer_lost", error=type(cause).__name__)
        for _ in range(self._patience.listings):
            self._sleep(self._patience.pause_seconds)
            try:
                pods = self._cloud.list_pods()
            except APIError:
                # no news is not bad news: the next listing may get through
                continue
            for pod in pods:
                if marks.find_intent_id(pod.env) == intent.intent_id:
                    return pod
        raise UnsettledCreateError(
            f"it is not known whether the pod {intent.pod_name!r} was made: {cause}",
            intent_id=intent.intent_id,
            hint="It may bill. Look with `runpod-client pods list`, or repeat the "
            "same create: it takes over what was made.",
        ) from cause

    def _record(
        self, intent: Intent, state: IntentState, *, pod_id: str | None = None
    ) -> None:
        self._journal.record(intent.intent_id, state, now=self._now(), pod_id=pod_id)
