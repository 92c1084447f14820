"""Giving pods back: their runners at GitHub first, then the pods, and what they cost.

Level-based and safe to repeat: what is there is listed afresh on every round, and a
runner on a job is left alone unless forced. It must not know who wants the pods ended.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from runner_installer.errors import RunnerBusyError
from runner_installer.model import RunnerRecord, Scope, is_name_of_pod
from runner_installer.runs import RunPod
from runpod_client import Error, Pod, PodStatus, RateLimitedError
from runpod_client.logs import get_logger

log = get_logger(__name__)

ROUND_SECONDS = 2.0
# after its pod is gone GitHub needs a moment to see that a job is over
SETTLE_SECONDS = 15.0
# the longest waits for RunPod's quota, whose window is a minute
QUOTA_PAUSES = (20.0, 60.0)
_CENT = Decimal("0.0001")
_HOUR = Decimal(3600)


class Pods(Protocol):
    """What is asked of RunPod; `runpod_client.RunPodClient` answers it."""

    def terminate_pod(self, pod_id: str, /) -> bool:
        """Destroy a pod; False when it was gone already."""

    def now(self) -> datetime:
        """Return the time."""


class Runners(Protocol):
    """What is asked of GitHub; `GitHub` answers it."""

    def list_runners(self, scope: Scope, /) -> Sequence[RunnerRecord]:
        """Return every runner of the scope."""

    def delete_runner(self, scope: Scope, runner_id: int, /) -> bool:
        """Remove a runner unless it is on a job."""


@dataclass(frozen=True, kw_only=True)
class Returned:
    """What became of one pod.

    Attributes:
        outcome: `terminated`, `gone` (it was already), `kept` or `failed`.
        detail: Why it was kept, or what failed.
        lived_seconds: Since it was rented; None where RunPod does not tell.
        cost_usd: For that time at its price, GPUs and no disks; None where it cannot
            be told, as for a pod that was stopped meanwhile.
    """

    pod: Pod
    outcome: str
    detail: str = ""
    lived_seconds: float | None
    cost_usd: Decimal | None
    error: Error | None = None


@dataclass(frozen=True, kw_only=True)
class Giveback:
    """What became of pods and runners.

    Attributes:
        runners: Names of runners that were deleted at GitHub.
        busy: Names of runners left alone because they are on a job.
        failures: What went wrong, once per party that did not answer.
    """

    pods: tuple[Returned, ...] = ()
    runners: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    failures: tuple[Error, ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """Return what can be told of the cost, all pods together."""
        return sum((p.cost_usd or Decimal(0) for p in self.pods), Decimal(0))

    def joined(self, other: "Giveback") -> "Giveback":
        """Return what two rounds did."""
        ended = {each.pod.pod_id for each in other.pods}
        return Giveback(
            pods=(*(p for p in self.pods if p.pod.pod_id not in ended), *other.pods),
            runners=tuple(dict.fromkeys((*self.runners, *other.runners))),
            busy=other.busy,
            failures=(*self.failures, *other.failures),
        )


class Return:
    """Ends pods of one call; `run` carries it out.

    Args:
        github: None where no pod has runners.
        grace_seconds: How long a runner on a job is waited for.
        force: Then end it all the same, and its job with it.
        say: Is told what happens, in sentences for people.
    """

    def __init__(
        self,
        client: Pods,
        github: Runners | None,
        *,
        grace_seconds: float,
        force: bool,
        say: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._github = github
        self._grace_seconds = grace_seconds
        self._force = force
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._deleted: list[str] = []
        self._failures: list[Error] = []
        self._unasked: set[Scope] = set()

    async def run(
        self,
        pods: Sequence[RunPod],
        *,
        scopes: Iterable[Scope] = (),
        is_ours: Callable[[RunnerRecord], bool] = lambda _record: False,
    ) -> Giveback:
        """End pods and delete their runners.

        Args:
            scopes: Where runners are looked for beside the pods' own scopes.
            is_ours: Tells further runners to delete, those of pods that are gone.
        """
        places = {*scopes, *(p.scope for p in pods if p.scope)}
        waiting = {each.pod.pod_id: each for each in pods}
        returned: list[Returned] = []
        deadline = self._clock() + self._grace_seconds
        while True:
            busy = await self._delete_idle(places, waiting, is_ours)
            free = [p for p in waiting.values() if not self._is_held(p, busy)]
            returned += await self._terminate(free)
            for each in free:
                del waiting[each.pod.pod_id]
            if not (busy or self._unasked) or self._clock() >= deadline:
                break
            self._say(f"waiting for {_names(busy) or 'GitHub'}")
            await self._sleep(min(ROUND_SECONDS, self._grace_seconds))
        if self._force and (busy or waiting):
            returned += await self._terminate(list(waiting.values()))
            waiting = {}
            busy = await self._settle(places, returned, is_ours)
        kept = [self._kept(each, busy) for each in waiting.values()]
        return Giveback(
            pods=(*returned, *kept),
            runners=tuple(dict.fromkeys(self._deleted)),
            busy=tuple(record.name for _, record in busy),
            failures=tuple(self._failures),
        )

    def _is_held(self, each: RunPod, busy: "_Busy") -> bool:
        """Tell whether a pod must stay: for its job, or since nobody can tell."""
        if each.scope is None:
            return False
        if each.scope in self._unasked:
            return True
        return any(is_name_of_pod(r.name, each.pod.pod_id) for _, r in busy)

    async def _delete_idle(
        self,
        places: Iterable[Scope],
        pods: Iterable[str],
        is_ours: Callable[[RunnerRecord], bool],
    ) -> "_Busy":
        """Delete our runners that have no job; return those that have one."""
        self._unasked.clear()
        self._failures.clear()
        ids = set(pods)

        def is_wanted(record: RunnerRecord) -> bool:
            return is_ours(record) or any(is_name_of_pod(record.name, i) for i in ids)

        found = await asyncio.gather(
            *(self._delete_in(scope, is_wanted) for scope in sorted(places, key=str))
        )
        return [each for one in found for each in one]

    async def _delete_in(
        self, scope: Scope, is_wanted: Callable[[RunnerRecord], bool]
    ) -> "_Busy":
        github = self._github
        if github is None:
            return []
        try:
            records = await asyncio.to_thread(github.list_runners, scope)
        except Error as error:
            self._fail(scope, error)
            return []
        wanted = [record for record in records if is_wanted(record)]
        outcomes = await asyncio.gather(
            *(self._delete(github, scope, record) for record in wanted)
        )
        return [
            (scope, record)
            for record, is_busy in zip(wanted, outcomes, strict=True)
            if is_busy
        ]

    async def _delete(
        self, github: Runners, scope: Scope, record: RunnerRecord
    ) -> bool:
        """Delete a runner; tell whether it is on a job, which GitHub decides."""
        try:
            await asyncio.to_thread(github.delete_runner, scope, record.runner_id)
        except RunnerBusyError:
            return True
        except Error as error:
            self._fail(scope, error)
            return False
        self._deleted.append(record.name)
        self._say(f"{record.name}: deleted at {scope}")
        return False

    async def _terminate(self, pods: Sequence[RunPod]) -> list[Returned]:
        return list(await asyncio.gather(*(self._end(each.pod) for each in pods)))

    async def _end(self, pod: Pod) -> Returned:
        lived = lived_seconds(pod, self._client.now())
        cost = None if pod.status is PodStatus.STOPPED else cost_usd(pod, lived)
        try:
            did = await self._ask_to_end(pod.pod_id)
        except Error as error:
            log.warning("pod_return_failed", pod_id=pod.pod_id, error=str(error))
            self._say(f"{pod.name} ({pod.pod_id}) could not be ended: {error}")
            return Returned(
                pod=pod,
                outcome="failed",
                detail=str(error),
                lived_seconds=lived,
                cost_usd=cost,
                error=error,
            )
        log.info("pod_returned", pod_id=pod.pod_id, pod_name=pod.name)
        self._say(f"{pod.name} ({pod.pod_id}): {'terminated' if did else 'was gone'}")
        outcome = "terminated" if did else "gone"
        return Returned(pod=pod, outcome=outcome, lived_seconds=lived, cost_usd=cost)

    async def _ask_to_end(self, pod_id: str) -> bool:
        """Terminate a pod; an exhausted quota is waited for, as the pod bills."""
        for pause in (*QUOTA_PAUSES, None):
            try:
                return await asyncio.to_thread(self._client.terminate_pod, pod_id)
            except RateLimitedError as error:
                if pause is None:
                    raise
                await self._sleep(min(error.retry_after_seconds or pause, pause))
        raise AssertionError("the last attempt returns or raises")

    async def _settle(
        self,
        places: Iterable[Scope],
        returned: Sequence[Returned],
        is_ours: Callable[[RunnerRecord], bool],
    ) -> "_Busy":
        """Delete runners whose job was just cut off, giving GitHub time to notice."""
        deadline = self._clock() + SETTLE_SECONDS
        ids = [each.pod.pod_id for each in returned]
        while True:
            busy = await self._delete_idle(places, ids, is_ours)
            if not busy or self._clock() >= deadline:
                return busy
            await self._sleep(ROUND_SECONDS / 2)

    def _kept(self, each: RunPod, busy: "_Busy") -> Returned:
        names = _names([b for b in busy if is_name_of_pod(b[1].name, each.pod.pod_id)])
        lived = lived_seconds(each.pod, self._client.now())
        why = f"{names} is on a job" if names else f"{each.scope} could not be asked"
        return Returned(
            pod=each.pod,
            outcome="kept",
            detail=why,
            lived_seconds=lived,
            cost_usd=cost_usd(each.pod, lived),
        )

    def _fail(self, scope: Scope, error: Error) -> None:
        """Note that a scope did not answer: what it has runners on must stay."""
        self._unasked.add(scope)
        if str(error) not in {str(known) for known in self._failures}:
            self._failures.append(error)


_Busy = list[tuple[Scope, RunnerRecord]]


def lived_seconds(pod: Pod, now: datetime) -> float | None:
    """Return how long ago a pod was rented."""
    if pod.created_at is None:
        return None
    return max((now - pod.created_at).total_seconds(), 0.0)


def cost_usd(pod: Pod, seconds: float | None) -> Decimal | None:
    """Return what a pod's GPUs cost for a time at its price."""
    if seconds is None:
        return None
    return (pod.price_usd_per_hour * Decimal(seconds) / _HOUR).quantize(_CENT)


def _names(busy: "_Busy") -> str:
    return ", ".join(record.name for _, record in busy)
