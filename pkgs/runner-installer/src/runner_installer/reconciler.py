"""The one loop that brings pools in line with demand: look, decide, act, look again.

Level-based: a tick reads what is there, decides by the pure `decide`, and starts what
is to be done; what takes long counts as there until a listing shows it. A hint makes a
tick come sooner, its absence costs half a minute. No tick waits for an action.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from runner_installer.accounting import Accounts, find_rate
from runner_installer.acting import Actor
from runner_installer.decisions import decide
from runner_installer.demand import Board, Heard
from runner_installer.flights import Flights
from runner_installer.losses import Losses
from runner_installer.model import RunnerRecord, Scope
from runner_installer.observing import Observer, View
from runner_installer.pools import Pool, PoolFile
from runner_installer.scaling import (
    Decision,
    Demand,
    Limits,
    PodPhase,
    RentPod,
    ResumePod,
)
from runner_installer.serve_memory import Memory
from runner_installer.spending import Ledger
from runner_installer.workplace import Workplace
from runpod_client import Error, NotFoundError, Pod, RateLimitedError
from runpod_client.logs import get_logger

log = get_logger(__name__)
_RECHECKS = 32
_RECHECKS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Paces:
    """How often things are looked at, in seconds.

    Attributes:
        tick: At least so often, whatever happens.
        boot_tick: While pods boot.
        gap: Between two ticks, however many hints come in.
        pods_age: A hint is acted on with a listing of pods this old.
        longest_pods_age: The same while RunPod allows no listing.
        runners_age: As pods_age, of runners.
        moved_age: The same where runners are known to have changed.
        job_age: A job heard of longer ago is asked about before a pod is rented for it.
    """

    tick: float = 30.0
    boot_tick: float = 3.0
    gap: float = 0.02
    pods_age: float = 10.0
    longest_pods_age: float = 120.0
    runners_age: float = 10.0
    moved_age: float = 1.0
    job_age: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """One pool's tick, for those who watch."""

    at: datetime
    pool: Pool
    demand: Demand
    decision: Decision
    view: View
    limits: Limits
    usd_per_hour: Decimal


@dataclass
class _Seen:
    """The last listings and when they began, by the monotonic clock."""

    pods: list[Pod] = field(default_factory=list)
    pods_at: float = float("-inf")
    runners: dict[Scope, list[RunnerRecord]] = field(default_factory=dict)
    runners_at: float = float("-inf")


class Reconciler:
    """Brings the pools of one file in line with the board."""

    def __init__(
        self,
        pools: PoolFile,
        board: Board,
        workplace: Workplace,
        memory: Memory,
        ledger: Ledger,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        paces: Paces | None = None,
        on_report: Callable[[Sequence[Report]], None] = lambda _reports: None,
    ) -> None:
        self._pools = pools
        self._board = board
        self._workplace = workplace
        self._memory = memory
        self._accounts = Accounts(pools, workplace, memory, ledger)
        self._now = now
        self._clock = clock
        self._paces = paces or Paces()
        self._on_report = on_report
        self._observer = Observer(pools.pools, memory, workplace.is_ours)
        self._losses = Losses(pools, board, workplace, memory, now=now)
        self._actor = Actor(workplace, memory, now=now)
        self.flights = Flights(clock)
        self._seen = _Seen()
        self.is_draining = False
        self.reports: tuple[Report, ...] = ()

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until told to stop; while draining until nothing is left."""
        while not stop.is_set():
            is_hinted = self._board.changed.is_set()
            self._board.changed.clear()
            self.flights.landed.clear()
            await self._tick_unless(stop, is_hinted=is_hinted)
            if self.is_draining and self._is_empty():
                return
            await self._wait(stop)

    async def _tick_unless(self, stop: asyncio.Event, *, is_hinted: bool) -> None:
        """Tick; told to stop meanwhile, give up the looking and deciding."""
        ticking = asyncio.create_task(self.tick(is_hinted=is_hinted))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ticking, stopping):
                task.cancel()
            await asyncio.wait({ticking, stopping})
        if not ticking.cancelled() and (error := ticking.exception()) is not None:
            if not isinstance(error, Error):
                raise error
            log.warning(
                "serve_tick_failed",
                error=type(error).__name__,
                error_detail=error.message,
            )

    async def tick(
        self, *, is_fresh: bool = False, is_hinted: bool = False
    ) -> tuple[Report, ...]:
        """Look, decide and start what is to be done.

        Args:
            is_fresh: Take no listing from before.
            is_hinted: A job waits: take any listing that is not too old.

        Raises:
            APIError: RunPod does not answer; nothing was started.
        """
        await self._look(is_fresh=is_fresh, is_hinted=is_hinted)
        now = self._now()
        pod_ids = {pod.pod_id for pod in self._seen.pods}
        ours = self._observer.list_ours(self._seen.pods)
        self._losses.note_gone(
            self._observer.note_pods(ours, self.flights.under_way(pod_ids), now)
        )
        await self._losses.follow()
        self._accounts.count(ours, now)
        reports = [
            await self._decide(pool, ours, now)
            for pool in self._pools.pools
            if pool.scope in self._seen.runners
        ]
        self._accounts.settle(self._board.take_completed())
        self.reports = tuple(reports)
        self._on_report(self.reports)
        return self.reports

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109  # not an error
        """Let what was begun come to its end, for so many seconds."""
        await self.flights.finish(timeout)

    async def _look(self, *, is_fresh: bool, is_hinted: bool) -> None:
        """List pods and runners, unless the last listings are young enough.

        What ended since a listing is still counted as under way, so that a listing may
        be older: RunPod and GitHub allow only so many a minute.
        """
        began = self._clock()
        seen, paces = self._seen, self._paces
        boots = self._has_boots() or self.flights.has_ended_since(seen.pods_at)
        is_soon = boots and not is_hinted
        pods_age = paces.boot_tick * 0.9 if is_soon else paces.pods_age
        if is_fresh or began - seen.pods_at > pods_age:
            await self._list_pods(began)
        moves = self._board.has_moved or self.flights.has_ended_since(seen.runners_at)
        runners_age = paces.moved_age if moves else paces.runners_age
        if is_fresh or began - seen.runners_at > runners_age:
            self._board.has_moved = False
            seen.runners = await self._list_runners()
            seen.runners_at = began
        self.flights.drop_seen(
            seen.pods_at, seen.runners_at, {pod.pod_id for pod in seen.pods}
        )

    async def _list_pods(self, began: float) -> None:
        """List pods; while RunPod's quota is used up the last listing has to do.

        Raises:
            APIError: There is no listing, or it has become too old.
        """
        seen = self._seen
        try:
            seen.pods = await self._workplace.list_pods()
        except RateLimitedError as error:
            if began - seen.pods_at > self._paces.longest_pods_age:
                raise
            log.info("pod_list_held_back", error_detail=error.message)
            return
        seen.pods_at = began

    def _has_boots(self) -> bool:
        """Tell whether the last tick saw pods on their way."""
        return any(
            pod.phase in {PodPhase.BOOTING, PodPhase.CREATING, PodPhase.LEAVING}
            for report in self.reports
            for pod in report.view.pods
        )

    async def _list_runners(self) -> dict[Scope, list[RunnerRecord]]:
        """Return the runners of each scope; one that GitHub refuses holds up no other."""
        scopes = list({pool.scope for pool in self._pools.pools})
        lists = await asyncio.gather(
            *(self._workplace.list_runners(scope) for scope in scopes),
            return_exceptions=True,
        )
        found = {}
        for scope, listed in zip(scopes, lists, strict=True):
            if isinstance(listed, Error):
                log.warning(
                    "runner_list_failed",
                    repository=str(scope),
                    error=type(listed).__name__,
                    error_detail=listed.message,
                )
            elif isinstance(listed, BaseException):
                raise listed
            else:
                found[scope] = listed
        return found

    async def _decide(
        self, pool: Pool, ours: dict[str, list[Pod]], now: datetime
    ) -> Report:
        under_way = self.flights.under_way({pod.pod_id for pod in self._seen.pods})
        records = self._seen.runners[pool.scope]
        runners = self._observer.note_runners(pool, records, now)
        view = self._observer.view(pool, ours[pool.name], runners, under_way, now)
        limits = await self._accounts.find_limits(
            pool, ours, view, now, is_draining=self.is_draining
        )
        demand = self._demand(pool)
        decision = decide(demand, view.runners, view.pods, limits, now)
        pods = sum(isinstance(a, RentPod | ResumePod) for a in decision.actions)
        if pods and await self._recheck(pool, view, pods * pool.runners_per_pod):
            demand = self._demand(pool)
            decision = decide(demand, view.runners, view.pods, limits, now)
        for pod in view.pods:
            if pod.phase is PodPhase.LOST and pod.is_spot:
                self._losses.note_lost(pod.pod_id)
        self._start(pool, decision, limits, now)
        return Report(
            at=now,
            pool=pool,
            demand=demand,
            decision=decision,
            view=view,
            limits=limits,
            usd_per_hour=find_rate(ours[pool.name]),
        )

    def _demand(self, pool: Pool) -> Demand:
        return Demand(
            waiting=len(self._board.list_waiting(pool)),
            assigned=self._board.assigned(pool.name),
            lost=self._losses.list_lost(pool),
        )

    def _start(
        self, pool: Pool, decision: Decision, limits: Limits, now: datetime
    ) -> None:
        memory = self._memory.pool(pool.name)
        memory.is_up = decision.trend.is_up
        memory.turned_at = decision.trend.turned_at
        memory.fell_at = decision.trend.fell_at
        if decision.actions:
            memory.decided_at = now
            memory.last_decision = decision.actions[0].why
        is_held = limits.is_draining or (limits.retry_at or now) > now
        # what GitHub may assign: no more than could be served
        capacity = decision.tally.supply if is_held else pool.most
        self._board.set_capacity(pool.name, capacity)
        for action in decision.actions:
            work = functools.partial(self._actor.act, pool)
            self.flights.start(pool.name, action, now, work)

    async def _recheck(self, pool: Pool, view: View, count: int) -> bool:
        """Ask whether jobs heard of a while ago are still queued; tell if one is not.

        Nothing is asked where as many as are to be rented for were heard of just now.
        What was heard before a runner became busy may be the very job it took. Fails
        open: a job GitHub does not tell about counts as queued.
        """
        oldest = self._now() - timedelta(seconds=self._paces.job_age)
        taken = [runner.since for runner in view.runners if runner.is_busy]
        oldest = max([oldest, *taken])
        waiting = self._board.list_waiting(pool)
        stale = [h for h in waiting if h.heard_at <= oldest or _is_replayed(h)]
        if len(waiting) - len(stale) >= count:
            return False
        gate = asyncio.Semaphore(_RECHECKS_AT_ONCE)

        async def ask(heard: Heard) -> bool:
            job = heard.job
            async with gate:
                try:
                    fresh = await self._workplace.get_job(job.repository, job.job_id)
                except NotFoundError:
                    self._board.forget(job.job_id)
                    return True
                except Error as error:
                    log.info("job_recheck_failed", error_detail=error.message)
                    return False
            if fresh.status == "queued":
                self._board.confirm(job.job_id)
                return False
            if not self._board.hear(fresh):
                self._board.forget(job.job_id)
            return True

        return any(await asyncio.gather(*map(ask, stale[:_RECHECKS])))

    async def _wait(self, stop: asyncio.Event) -> None:
        """Wait for a hint, the end of an action, or the next tick's time."""
        await asyncio.sleep(self._paces.gap)
        events = (stop, self._board.changed, self.flights.landed)
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(
                waits,
                timeout=self._next_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _next_seconds(self) -> float:
        """Return how long may pass until the next tick."""
        now = self._now()
        moments = [self._board.next_ripe_at()]
        moments += [m.retry_at for m in self._memory.pools.values()]
        moments += [m.retry_at for m in self._memory.pods.values()]
        ahead = [(m - now).total_seconds() for m in moments if m and m > now]
        usual = self._paces.boot_tick if self._has_boots() else self._paces.tick
        if self._board.has_moved or self.flights.has_ended_since(self._seen.runners_at):
            usual = min(usual, self._paces.moved_age * 1.1)
        return max(min([usual, *ahead]), self._paces.gap)

    def _is_empty(self) -> bool:
        return not self.flights.count and not any(r.view.pods for r in self.reports)


def _is_replayed(heard: Heard) -> bool:
    """Tell whether a job was made long before it was heard of."""
    made = heard.job.created_at
    return made is not None and heard.first_at - made > timedelta(minutes=1)
