"""Renting one pod exactly once: plan, send, settle; and settling what was left open.

The journal says what was sent, the listing what exists; this module brings them
together. It must not know the wire, and it asks nobody.

What an answer means for the intent:

    a pod                                       settled
    NoCapacityError                             next placement, at the end failed
    TransportError, Unavailable-, ProtocolError look for the mark in listings:
                                                found settled, else it stays sent
    any other error                             failed: nothing was made
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from runpod_client import marks
from runpod_client.cloud import PodCloud
from runpod_client.errors import (
    APIError,
    CircuitOpenError,
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
from runpod_client.logs import get_logger
from runpod_client.model import Placement, Pod, PodSpec, PodStatus
from runpod_client.pace import Patience
from runpod_client.selection import check_name_is_free

# after these a pod may exist all the same
DOUBTFUL = (TransportError, UnavailableError, ProtocolError)

_USABLE = (PodStatus.STARTING, PodStatus.RUNNING)

_log = get_logger(__name__)


class Creation:
    """The creates of one owner."""

    def __init__(
        self,
        cloud: PodCloud,
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

    def rent(
        self,
        spec: PodSpec,
        placements: Sequence[Placement],
        *,
        allow_duplicate_name: bool = False,
    ) -> Pod:
        """Rent a pod at the first of the placements that is free.

        Its lease, if the spec gives one, begins when it is asked for.

        Raises:
            RejectedError: A live pod has that name, or RunPod refuses.
            NoCapacityError: None of the placements is free; nothing was made.
            UnsettledCreateError: Whether there is a pod is not known.
        """
        with self._journal.plan(spec, now=self._now()) as intent:
            try:
                if not allow_duplicate_name:
                    # under the intent's claim on the name: of two creates at once
                    # the later one sees the pod of the earlier one
                    check_name_is_free(spec.name, self._cloud.list_pods())
                identity = self._identities.create(intent.intent_id)
                pod = self._walk(_with_key(spec, identity), placements, intent)
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
        listing = list(pods)
        found = []
        for intent in self._journal.list_open():
            with self._journal.adopt(intent.intent_id) as is_ours:
                if not is_ours:
                    continue
                # it may have moved on between the listing and the lock
                current = self._journal.get(intent.intent_id)
                if current.state not in OPEN_STATES:
                    continue
                pod = self._find_pod_of(current, listing)
                if pod is not None:
                    # whoever wanted it may ask again: `take_over` hands it out then
                    self._record(
                        current,
                        IntentState.SETTLED,
                        pod_id=pod.pod_id,
                        is_claimed=False,
                    )
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
        while self._journal.list_open() or self._journal.list_unclaimed(wanted):
            pods = self._cloud.list_pods()
            self.settle(pods)
            pod = self._claim(wanted, pods)
            if pod is not None:
                return pod
            if not any(
                self._is_pending(i, spec.name) for i in self._journal.list_open()
            ):
                break
            on_status(f"waiting to learn whether {spec.name!r} was made before")
            self._sleep(self._patience.pause_seconds)
        return None

    def _claim(self, wanted: str, pods: Iterable[Pod]) -> Pod | None:
        """Return a pod of that spec whose create was never answered, to answer it."""
        by_id = {pod.pod_id: pod for pod in pods}
        for intent in self._journal.list_unclaimed(wanted):
            pod_id = intent.pod_id or ""
            # a listing can lag behind: not seen in one is not gone
            pod = by_id.get(pod_id) or self._cloud.find_pod(pod_id)
            # of two that ask at once, one gets it
            if self._journal.claim(intent.intent_id) and pod and pod.status in _USABLE:
                return pod
        return None

    def find_strays(self, pods: Iterable[Pod]) -> list[Pod]:
        """Return pods of ours that bill though their create was given up.

        RunPod would have to carry out a create long after it was asked for; whoever
        wanted the pod has by then another one, or went without.
        """
        given_up = {intent.intent_id for intent in self._journal.list_given_up()}
        return [
            pod
            for pod in pods
            if pod.owner == self._owner
            and pod.intent_id in given_up
            and pod.status.is_billed
        ]

    def is_overdue(self, intent: Intent) -> bool:
        """Return whether an open intent of a dead process can have made no pod."""
        if intent.state is IntentState.PLANNED:
            return True
        age = self._now() - intent.updated_at
        return age >= timedelta(seconds=self._patience.abandon_after_seconds)

    def discard(self, intent: Intent, state: IntentState) -> None:
        """Destroy the identity of an intent that made no pod, and close the intent."""
        # in this order: an intent that is closed is never looked at again
        self._identities.remove(intent.intent_id)
        self._record(intent, state)

    def _is_pending(self, intent: Intent, pod_name: str) -> bool:
        """Return whether a dead process's create of that name is still open."""
        if intent.pod_name != pod_name:
            return False
        with self._journal.adopt(intent.intent_id) as is_ours:
            return is_ours

    def _mark(self, spec: PodSpec, placement: Placement, intent: Intent) -> PodSpec:
        """Return the spec as it goes out, with our marks on its name and in its env."""
        ends_at = None if spec.lease is None else self._now() + spec.lease
        entries = marks.render_marks(
            owner=self._owner,
            intent_id=intent.intent_id,
            lease_ends_at=ends_at,
            bid_usd_per_gpu_hour=placement.bid_usd_per_gpu_hour,
        )
        return replace(
            spec,
            name=marks.render_name(
                spec.name, intent_id=intent.intent_id, lease_ends_at=ends_at
            ),
            env={**spec.env, **entries},
        )

    def _walk(
        self, spec: PodSpec, placements: Sequence[Placement], intent: Intent
    ) -> Pod:
        """Ask for one placement after the other."""
        refusal = NoCapacityError("there is nowhere to rent it", operation="createPod")
        tried = []
        for placement in _by_data_center(placements):
            marked = self._mark(spec, placement, intent)
            # for each anew: the time since the last request is what settling goes by
            self._record(intent, IntentState.SENT, placement=placement)
            try:
                return self._cloud.create_pod(marked, placement)
            except NoCapacityError as error:
                _log.info("placement_exhausted", gpu_type=placement.gpu_type)
                tried.append(placement)
                refusal = error
            except CircuitOpenError:
                raise  # it was never sent
            except DOUBTFUL as error:
                return self._find_made(intent, placement, error)
        if tried:
            raise NoCapacityError(
                f"RunPod has no {' and no '.join(_render_places(tried))} free now",
                gpu_type=tried[-1].gpu_type,
                operation="createPod",
                hint=refusal.hint,
            ) from refusal
        raise refusal

    def _find_made(self, intent: Intent, placement: Placement, cause: APIError) -> Pod:
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
            pod = self._find_pod_of(intent, pods)
            if pod is not None:
                return pod
        raise UnsettledCreateError(
            f"it is not known whether the pod {intent.pod_name!r} was made: {cause}",
            intent_id=intent.intent_id,
            hint=f"It may bill {placement.price_usd_per_hour} USD per hour. Look with "
            "`runpod-client pods list`, or repeat the same create: it takes over "
            "what was made.",
        ) from cause

    def _find_pod_of(self, intent: Intent, pods: Iterable[Pod]) -> Pod | None:
        return next((pod for pod in pods if _carries(pod, intent, self._owner)), None)

    def _record(
        self,
        intent: Intent,
        state: IntentState,
        *,
        pod_id: str | None = None,
        placement: Placement | None = None,
        is_claimed: bool = True,
    ) -> None:
        self._journal.record(
            intent.intent_id,
            state,
            now=self._now(),
            pod_id=pod_id,
            placement=placement,
            is_claimed=is_claimed,
        )


def _by_data_center(placements: Iterable[Placement]) -> Iterator[Placement]:
    """Yield each placement once per data center, so that each request is journalled.

    GraphQL takes one data center a request; the time since the last request is what
    tells whether a create can still be under way.
    """
    for placement in placements:
        for data_center_id in placement.data_center_ids:
            yield replace(placement, data_center_ids=(data_center_id,))
        if not placement.data_center_ids:
            yield placement


def _carries(pod: Pod, intent: Intent, owner: str) -> bool:
    """Return whether a pod carries the mark of an intent of ours.

    A listing that tells no environment shows the first eight digits, in the name.
    """
    if pod.intent_id == intent.intent_id:
        return True
    return pod.intent_id == intent.intent_id[:8] and pod.owner in {None, owner}


def _with_key(spec: PodSpec, identity: Identity) -> PodSpec:
    """Return the spec with the identity's public key beside the one it has."""
    keys = [spec.env.get("PUBLIC_KEY", "").strip(), identity.public_key]
    joined = "\n".join(key for key in keys if key)
    return replace(spec, env={**spec.env, "PUBLIC_KEY": joined})


def _render_places(placements: Iterable[Placement]) -> list[str]:
    """Return what was asked for, each thing once."""
    places = (
        f"{p.gpu_type} ({p.cloud_type}{', spot' * bool(p.bid_usd_per_gpu_hour)})"
        for p in placements
    )
    return list(dict.fromkeys(places))
