"""What to do about one pool: from what is wanted and seen to actions. Pure.

Level-based: nothing is remembered here but the trend, which is handed in and out. The
order is: give up what is lost, fill free places, resume, rent, and only where nothing
is missing give back. Pods and runners under way count as there.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from runner_installer.balance import choose_pods
from runner_installer.budget import Budget, render_length
from runner_installer.scaling import (
    Action,
    Decision,
    DeleteRunner,
    Demand,
    InstallRunner,
    Limits,
    PodPhase,
    RenewLease,
    RentPod,
    RerunJob,
    ResumePod,
    RetirePod,
    SeenPod,
    SeenRunner,
    Tally,
)

INSTALL_FAILURES = 3
# a registration offline for longer than this has no runner
GHOST_AGE = timedelta(seconds=30)
SHORTEST_INSTALL_SECONDS = 60.0
_PRESENT = {PodPhase.CREATING, PodPhase.BOOTING, PodPhase.READY}


def decide(
    demand: Demand,
    runners: Sequence[SeenRunner],
    pods: Sequence[SeenPod],
    limits: Limits,
    now: datetime,
) -> Decision:
    """Return what to do about a pool."""
    return _Deciding(demand, runners, pods, limits, now).run()


class _Deciding:
    """One decision in the making."""

    def __init__(
        self,
        demand: Demand,
        runners: Sequence[SeenRunner],
        pods: Sequence[SeenPod],
        limits: Limits,
        now: datetime,
    ) -> None:
        self.demand = demand
        self.limits = limits
        self.pool = limits.pool
        self.now = now
        self.actions: list[Action] = []
        self.reasons: list[str] = []
        self.trend = limits.trend
        self.budget = Budget(hour_left=limits.hour_left, day_left=limits.day_left)
        broken = {pod.pod_id: pod for pod in pods if self._is_broken(pod)}
        self.broken = list(broken.values())
        self.pods = [p for p in pods if p.pod_id not in broken and not p.is_kept]
        alive = {pod.pod_id for pod in self.pods if pod.phase is PodPhase.READY}
        self.ghosts = [r for r in runners if _is_ghost(r, alive, pods, now)]
        gone = {r.name for r in self.ghosts}
        self.runners = [r for r in runners if r.name not in gone and r.pod_id in alive]
        self.tally = self._count()

    def run(self) -> Decision:
        self._rerun_lost()
        self._give_up_broken()
        self._delete_ghosts()
        missing = self.tally.wanted - self.tally.supply
        if missing > 0:
            self._grow(missing)
        else:
            self._shrink(-missing)
        self._trim_warm()
        self._renew_leases()
        return Decision(
            actions=tuple(self.actions),
            reasons=tuple(self.reasons),
            tally=self.tally,
            trend=self.trend,
        )

    def _is_broken(self, pod: SeenPod) -> bool:
        if pod.is_kept:
            return False
        if pod.phase is PodPhase.LOST:
            return True
        if pod.phase is PodPhase.BOOTING:
            return self.now - pod.since > self.pool.boot_deadline
        return pod.phase is PodPhase.READY and pod.failures >= INSTALL_FAILURES

    def _count(self) -> Tally:
        busy = sum(r.is_busy for r in self.runners)
        idle = sum(r.is_online and not r.is_busy for r in self.runners)
        starting = sum(self._starting_on(pod) for pod in self.pods)
        ahead = [
            p for p in self.pods if p.phase in {PodPhase.CREATING, PodPhase.BOOTING}
        ]
        jobs = busy + self.demand.waiting
        if self.demand.assigned is not None:
            jobs = max(self.demand.assigned, busy)
        wanted = min(self.pool.most, self.pool.least + jobs)
        return Tally(
            wanted=0 if self.limits.is_draining else wanted,
            busy=busy,
            idle=idle,
            starting=starting,
            booting=len(ahead) * self.pool.runners_per_pod,
        )

    def _starting_on(self, pod: SeenPod) -> int:
        """Return how many runners come up on a pod, whether or not GitHub lists them."""
        coming = [r for r in self.runners if not (r.is_online or r.is_busy)]
        return max(pod.installing, sum(r.pod_id == pod.pod_id for r in coming))

    def _rerun_lost(self) -> None:
        for job in self.demand.lost:
            if job.is_failed and self.pool.rerun_on_spot_loss:
                self._do(
                    RerunJob(
                        repository=job.repository,
                        job_id=job.job_id,
                        why=f"job {job.job_id} lost its spot pod: it is run again, once",
                    )
                )

    def _give_up_broken(self) -> None:
        for pod in self.broken:
            if pod.phase is PodPhase.LOST:
                why, phase = f"pod {pod.pod_id} is lost: {pod.trouble}", "lost"
            elif pod.phase is PodPhase.BOOTING:
                phase = "boot"
                why = (
                    f"pod {pod.pod_id} had no SSH address within "
                    f"{render_length(self.pool.boot_deadline)}: {pod.trouble or 'it boots'}"
                )
            else:
                phase = "install"
                why = (
                    f"pod {pod.pod_id} took no runner in {pod.failures} attempts: "
                    f"{pod.trouble}"
                )
            self._do(
                RetirePod(
                    pod_id=pod.pod_id,
                    is_lost=pod.phase is PodPhase.LOST,
                    phase=phase,
                    why=why,
                )
            )

    def _delete_ghosts(self) -> None:
        for runner in self.ghosts:
            self._do(
                DeleteRunner(
                    name=runner.name,
                    runner_id=runner.runner_id,
                    pod_id=runner.pod_id,
                    why=f"{runner.name} is registered, but nothing runs it",
                )
            )

    def _grow(self, missing: int) -> None:
        """Fill free places, then resume, then rent."""
        tally = self.tally
        self.reasons.append(
            f"{tally.wanted} runners wanted ({self.demand.waiting} jobs wait, "
            f"{tally.busy} run), {tally.supply} there or on their way"
        )
        before = len(self.actions)
        missing -= self._fill(missing)
        missing = self._resume(missing)
        if missing > 0:
            self._rent(missing)
        if len(self.actions) > before:
            self.trend = self.trend.moved(self.now, is_up=True)

    def _fill(self, missing: int) -> int:
        """Install on pods with free places; return how many."""
        loads = Counter({p.pod_id: self._starting_on(p) for p in self._ready()})
        loads.update(r.pod_id for r in self.runners if r.is_online or r.is_busy)
        chosen = choose_pods(
            loads,
            capacity=self.pool.runners_per_pod,
            count=missing,
            balance=self.pool.balance,
            drained=[p.pod_id for p in self._ready() if not self._takes_runners(p)],
        )
        by_id = {pod.pod_id: pod for pod in self.pods}
        for pod_id in chosen:
            self._do(
                InstallRunner(
                    pod_id=pod_id,
                    timeout_seconds=self._install_seconds(by_id[pod_id]),
                    why=f"a runner on pod {pod_id} ({self.pool.balance})",
                )
            )
        return len(chosen)

    def _takes_runners(self, pod: SeenPod) -> bool:
        if pod.retry_at is not None and pod.retry_at > self.now:
            self.reasons.append(
                f"pod {pod.pod_id} waits until {pod.retry_at:%H:%M:%S}: {pod.trouble}"
            )
            return False
        return not pod.is_drained

    def _install_seconds(self, pod: SeenPod) -> float:
        """Return what is left of the boot deadline, never less than a minute."""
        if pod.had_runner:
            return self.pool.boot_deadline.total_seconds()
        left = (pod.since + self.pool.boot_deadline - self.now).total_seconds()
        return max(left, SHORTEST_INSTALL_SECONDS)

    def _resume(self, missing: int) -> int:
        """Start stopped pods; return how many runners are still missing."""
        for pod in self._stopped():
            if missing <= 0 or not self._may_add_pod():
                break
            lease = self._spend(pod.price_usd_per_hour)
            if lease is None:
                break
            self._do(
                ResumePod(
                    pod_id=pod.pod_id,
                    lease=lease,
                    why=f"stopped pod {pod.pod_id} is resumed before any is rented",
                )
            )
            self.pods.remove(pod)
            missing -= self.pool.runners_per_pod
        return missing

    def _rent(self, missing: int) -> None:
        retry_at = self.limits.retry_at
        if retry_at is not None and retry_at > self.now:
            self.reasons.append(
                f"nothing is rented before {retry_at:%H:%M:%S} "
                f"({self.limits.failures} failures in a row): {self.limits.trouble}"
            )
            return
        # after a failure one pod is tried, not all that are wanted
        most = 1 if self.limits.failures else missing
        while missing > 0 and most > 0 and self._may_add_pod():
            lease = self._spend(self.limits.price_usd_per_hour)
            if lease is None:
                return
            self._do(
                RentPod(
                    pool=self.pool.name,
                    lease=lease,
                    why=f"no pod of {self.pool.name} has a free place",
                )
            )
            missing -= self.pool.runners_per_pod
            most -= 1

    def _may_add_pod(self) -> bool:
        """Tell whether one more pod keeps the most there may be."""
        added = sum(isinstance(a, RentPod | ResumePod) for a in self.actions)
        present = sum(p.phase in _PRESENT for p in self.pods) + added
        most = -(-self.pool.most // self.pool.runners_per_pod)
        if present < most:
            return True
        # a finished runner leaves its place to the next: these pods suffice
        self.reasons.append(f"{present} pods are the most {self.pool.name} may have")
        return False

    def _spend(self, price: Decimal | None) -> timedelta | None:
        """Book one more pod; return the lease it may have, None where a cap refuses."""
        lease, refusal = self.budget.book(price or Decimal(0), self.pool.lease)
        if lease is None:
            self.reasons.append(refusal)
        return lease

    def _shrink(self, surplus: int) -> None:
        """Give back pods that have been idle for long enough."""
        kept = len(self._stopped())
        for pod in self._idle_pods():
            if self._slack(pod) > surplus:
                continue
            if not (self.limits.is_draining or self.trend.may_fall(self.now)):
                self.reasons.append(
                    f"pod {pod.pod_id} is idle, and kept for a while: the pool "
                    "grew only lately"
                )
                return
            surplus -= self._slack(pod)
            keep = kept < self.pool.warm and not self.limits.is_draining
            kept += keep
            idle = self.now - (pod.idle_since or self.now)
            self._do(
                RetirePod(
                    pod_id=pod.pod_id,
                    keep=keep,
                    why=f"pod {pod.pod_id} has been idle for {render_length(idle)} and "
                    f"{self.tally.wanted} runners are wanted: it is "
                    + ("stopped and kept warm" if keep else "terminated"),
                )
            )
            self.trend = self.trend.moved(self.now, is_up=False)

    def _idle_pods(self) -> list[SeenPod]:
        """Return ready pods without work for long enough, the dearest first."""
        patience = timedelta() if self._ends_now() else self.pool.idle
        busy = {r.pod_id for r in self.runners if r.is_busy}
        idle = [
            pod
            for pod in self._ready()
            if pod.pod_id not in busy
            and not pod.installing
            and pod.idle_since is not None
            and (self.now - pod.idle_since >= patience or pod.is_drained)
        ]
        return sorted(idle, key=lambda p: (-p.price_usd_per_hour, p.since, p.pod_id))

    def _ends_now(self) -> bool:
        return self.limits.is_draining or (
            self.limits.day_left is not None and self.limits.day_left <= 0
        )

    def _slack(self, pod: SeenPod) -> int:
        return sum(r.is_online for r in self.runners if r.pod_id == pod.pod_id)

    def _trim_warm(self) -> None:
        """Terminate stopped pods beyond those to be kept."""
        most = 0 if self.limits.is_draining else self.pool.warm
        for pod in self._stopped()[most:]:
            self._do(
                RetirePod(
                    pod_id=pod.pod_id,
                    why=f"stopped pod {pod.pod_id} is one more than the {most} "
                    "kept warm",
                )
            )

    def _renew_leases(self) -> None:
        """Let pods live on that are needed and have less than half their lease left."""
        leaving = {a.pod_id for a in self.actions if isinstance(a, RetirePod)}
        for pod in self.pods:
            if pod.phase not in _PRESENT or pod.lease_ends_at is None:
                continue
            left = pod.lease_ends_at - self.now
            if pod.pod_id in leaving or left > self.pool.lease / 2:
                continue
            lease = self.budget.renew(pod.price_usd_per_hour, self.pool.lease, left)
            if lease is None:
                self.reasons.append(
                    f"pod {pod.pod_id} ends at {pod.lease_ends_at:%H:%M}: the money "
                    "for today is used up"
                )
                continue
            self._do(
                RenewLease(
                    pod_id=pod.pod_id,
                    lease=lease,
                    why=f"pod {pod.pod_id} is needed and its lease nears its end",
                )
            )

    def _ready(self) -> list[SeenPod]:
        return [pod for pod in self.pods if pod.phase is PodPhase.READY]

    def _stopped(self) -> list[SeenPod]:
        """Return stopped pods, the cheapest first."""
        found = [pod for pod in self.pods if pod.phase is PodPhase.STOPPED]
        return sorted(found, key=lambda p: (p.price_usd_per_hour, p.pod_id))

    def _do(self, action: Action) -> None:
        self.actions.append(action)
        self.reasons.append(action.why)


def _is_ghost(
    runner: SeenRunner, alive: set[str], pods: Iterable[SeenPod], now: datetime
) -> bool:
    """Tell whether a registration has no runner any more.

    One that GitHub holds for busy is left to GitHub, which gives it up by itself.
    """
    if runner.is_online or runner.is_busy:
        return False
    for pod in pods:
        if pod.pod_id == runner.pod_id and (
            pod.installing or pod.phase is PodPhase.LEAVING
        ):
            return False
    return now - runner.since >= GHOST_AGE or runner.pod_id not in alive
