"""Ending the pods that should not run any more, and telling what came of each.

It lists, observes, decides (`runpod_client.reaping`) and acts. Actions stand apart: one
that fails or hangs holds up no other. It must not know the wire, nor ask anybody: it is
what a timer runs.
"""

import enum
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from runpod_client.errors import ConfigError, Error
from runpod_client.logs import get_logger
from runpod_client.model import Pod
from runpod_client.observations import Observation, ObservationStore, observe
from runpod_client.quota import Priority, reading_as
from runpod_client.reaping import Cause, Reap, ReapAction, ReapPolicy, decide

_MAX_AT_ONCE = 8

_log = get_logger(__name__)


class Outcome(enum.StrEnum):
    """What came of a decision."""

    DONE = "done"
    WOULD = "would"
    REPORTED = "reported"
    SPARED = "spared"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class ReapResult:
    """A decision and what came of it; `detail` says why, where it was not done."""

    reap: Reap
    outcome: Outcome
    detail: str = ""


class Pods(Protocol):
    """What ends pods and sees it through: `RunPodClient` does."""

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""

    def stop_pod(self, pod_id: str) -> Any:
        """Stop a pod; return once it is observed to be stopped."""

    def terminate_pod(self, pod_id: str) -> Any:
        """Terminate a pod; return once it is observed to be gone."""


class Reaper:
    """Ends one owner's pods that should not run any more."""

    def __init__(
        self,
        pods: Pods,
        observations: ObservationStore,
        *,
        owner: str,
        policy: ReapPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_expired: Callable[[Reap], AbstractContextManager[Any]] | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            on_expired: Entered around the ending of a pod whose lease is over. It
                must return at once; what it raises counts as a failed action.
        """
        self._pods = pods
        self._observations = observations
        self._owner = owner
        self._policy = policy
        self._now = now
        self._on_expired = on_expired or (lambda _reap: nullcontext())

    def run(self, *, dry_run: bool = False) -> list[ReapResult]:
        """List, observe, decide and act once.

        Args:
            dry_run: Change nothing, not even what is kept of observations.

        Raises:
            APIError: The pods could not be listed; nothing was done.
        """
        with reading_as(Priority.SAFETY):
            pods = self._pods.list_pods()
        now = self._now()
        seen = self._observe(pods, now, keep=not dry_run)
        reaps = decide(
            pods,
            owner=self._owner,
            now=now,
            policy=self._policy,
            observations=seen,
        )
        if dry_run:
            return [_foresee(reap) for reap in reaps]
        if not reaps:
            return []
        # side by side: one that hangs to its time limit holds up no other
        with ThreadPoolExecutor(max_workers=_MAX_AT_ONCE) as pool:
            return list(pool.map(lambda reap: self._carry_out(reap, seen), reaps))

    def _observe(
        self, pods: Sequence[Pod], now: datetime, *, keep: bool
    ) -> list[Observation]:
        """Return what is known of the GPUs' load, this listing included."""
        window = self._policy.idle_window
        if window is None:
            return []
        fresh = [observe(pod, now) for pod in pods if pod.owner == self._owner]
        try:
            known = self._observations.list_since(now - 2 * window)
            if keep:
                self._observations.add(fresh)
                self._observations.prune(now - 2 * window)
        except ConfigError as error:
            # leases are enforced all the same; nobody is called idle
            _log.warning("observations_unusable", error_detail=str(error))
            return []
        return [*known, *fresh]

    def _carry_out(self, reap: Reap, seen: Sequence[Observation]) -> ReapResult:
        if reap.action is ReapAction.REPORT:
            _log.warning("pod_spared", pod_id=reap.pod.pod_id, reason=reap.reason)
            return ReapResult(reap=reap, outcome=Outcome.REPORTED)
        try:
            result = self._end(reap, seen)
        except Error as error:
            _log.error(
                "pod_reap_failed",
                pod_id=reap.pod.pod_id,
                error=type(error).__name__,
                error_detail=error.message,
            )
            return ReapResult(reap=reap, outcome=Outcome.FAILED, detail=error.message)
        _log.warning(
            "pod_reaped",
            pod_id=reap.pod.pod_id,
            pod_name=reap.pod.name,
            operation=reap.action,
            reason=reap.reason,
            outcome=result.outcome,
        )
        return result

    def _end(self, reap: Reap, seen: Sequence[Observation]) -> ReapResult:
        """Do it, unless somebody was faster or has prolonged the lease meanwhile."""
        pod_id = reap.pod.pod_id
        current, now = self._pods.find_pod(pod_id), self._now()
        fresh = [observe(current, now)] if current else []
        still = decide(
            [current] if current else [],
            owner=self._owner,
            now=now,
            policy=self._policy,
            observations=[*seen, *fresh],
        )
        if not still or still[0].action is not reap.action:
            return ReapResult(
                reap=reap, outcome=Outcome.SPARED, detail="it has changed meanwhile"
            )
        around = self._on_expired(reap) if reap.cause is Cause.LEASE_OVER else None
        with around or nullcontext():
            if reap.action is ReapAction.STOP:
                self._pods.stop_pod(pod_id)
            else:
                self._pods.terminate_pod(pod_id)
        return ReapResult(reap=reap, outcome=Outcome.DONE)


def _foresee(reap: Reap) -> ReapResult:
    is_report = reap.action is ReapAction.REPORT
    return ReapResult(
        reap=reap, outcome=Outcome.REPORTED if is_report else Outcome.WOULD
    )
