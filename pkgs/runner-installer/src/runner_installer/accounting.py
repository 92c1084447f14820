"""What pools cost and may still cost: caps, dollars of the day, dollars of finished jobs.

Amounts come from the pods' prices as RunPod tells them and from the leases they have:
money that a lease can still cost counts as spent already, so that a cap holds even if
this program dies.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from runner_installer.model import WorkflowJob
from runner_installer.observing import View
from runner_installer.pools import Pool, PoolFile
from runner_installer.scaling import Limits, PodPhase, Trend
from runner_installer.serve_memory import Memory
from runner_installer.spending import Ledger, price_job
from runner_installer.workplace import Workplace
from runpod_client import Error, Pod
from runpod_client.logs import get_logger

log = get_logger(__name__)


class Accounts:
    """The money of one file of pools."""

    def __init__(
        self, pools: PoolFile, workplace: Workplace, memory: Memory, ledger: Ledger
    ) -> None:
        self._pools = pools
        self._workplace = workplace
        self._memory = memory
        self._ledger = ledger

    async def find_limits(
        self,
        pool: Pool,
        ours: Mapping[str, Sequence[Pod]],
        view: View,
        now: datetime,
        *,
        is_draining: bool,
    ) -> Limits:
        """Return what a pool may do now; the narrower of two caps counts."""
        memory = self._memory.pool(pool.name)
        caps = [
            (pool.caps, ours[pool.name], pool.name),
            (self._pools.caps, [p for pods in ours.values() for p in pods], None),
        ]
        price = await self._price(pool)
        coming = sum(pod.phase is PodPhase.CREATING for pod in view.pods)
        hour: list[Decimal] = []
        day: list[Decimal] = []
        for cap, pods, name in caps:
            ahead = (price or Decimal(0)) * coming
            if cap.usd_per_hour is not None:
                hour.append(cap.usd_per_hour - find_rate(pods) - ahead)
            if cap.usd_per_day is not None:
                spent = self._memory.spent_on(_day(now), name)
                held = _committed(pods, now) + ahead * _hours(pool.lease)
                day.append(cap.usd_per_day - spent - held)
        return Limits(
            pool=pool,
            price_usd_per_hour=price,
            hour_left=min(hour, default=None),
            day_left=min(day, default=None),
            failures=memory.failures,
            retry_at=memory.retry_at,
            trouble=memory.trouble,
            trend=Trend(
                is_up=memory.is_up,
                turned_at=memory.turned_at,
                fell_at=memory.fell_at,
            ),
            is_draining=is_draining,
        )

    async def _price(self, pool: Pool) -> Decimal | None:
        """Return what the next pod may cost; asked for only where a cap needs it."""
        is_capped = any(
            cap is not None
            for caps in (pool.caps, self._pools.caps)
            for cap in (caps.usd_per_hour, caps.usd_per_day)
        )
        if not is_capped:
            return None
        try:
            return await self._workplace.find_price(pool)
        except Error as error:
            # renting will meet the same, and is where it is dealt with
            log.info("pool_price_unknown", pool=pool.name, error_detail=error.message)
            return pool.wish.max_price_usd_per_hour

    def count(self, ours: Mapping[str, Sequence[Pod]], now: datetime) -> None:
        """Add what the pods cost since the last tick, or since they were started."""
        since = self._memory.counted_at or now
        for name, pods in ours.items():
            for pod in pods:
                if not pod.status.is_billed:
                    continue
                began = max(since, pod.started_at or pod.created_at or since)
                hours = _hours(max(now - began, timedelta()))
                self._memory.spend(_day(now), name, pod.price_usd_per_hour * hours)
        self._memory.counted_at = now

    def settle(self, jobs: Iterable[WorkflowJob]) -> None:
        """Write down what finished jobs cost."""
        for job in jobs:
            runner = self._memory.runners.get(job.runner_name)
            pool = self._pools.find(runner.pool) if runner else None
            if runner is None or pool is None:
                continue
            cost = price_job(
                job,
                pool=pool.name,
                pod_id=runner.pod_id,
                gpu_type=runner.gpu_type,
                price_usd_per_hour=runner.price_usd_per_hour,
                share=pool.runners_per_pod,
            )
            if cost is not None:
                self._ledger.add(cost)
        self._memory.forget_runners()


def find_rate(pods: Sequence[Pod]) -> Decimal:
    """Return what pods cost per hour now."""
    billed = (p.price_usd_per_hour for p in pods if p.status.is_billed)
    return sum(billed, Decimal(0))


def _committed(pods: Sequence[Pod], now: datetime) -> Decimal:
    """Return what pods cost until their leases end, if nobody ends them before."""
    total = Decimal(0)
    for pod in pods:
        if pod.status.is_billed and pod.lease_ends_at is not None:
            left = max(pod.lease_ends_at - now, timedelta())
            total += pod.price_usd_per_hour * _hours(left)
    return total


def _hours(length: timedelta) -> Decimal:
    return Decimal(str(length.total_seconds())) / 3600


def _day(now: datetime) -> str:
    return now.date().isoformat()
