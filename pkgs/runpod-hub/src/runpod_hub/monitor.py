"""The loop that watches: load, decide, act, record, once an interval.

Ticks start on a fixed grid, so they neither drift nor overlap: one that takes longer
than the interval skips the starts it missed. A failing tick is recorded and leaves the
last known figures as they are. No network call is made inside a transaction.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from runpod_client import APIError, DeadlineError, Pod
from runpod_client.logs import get_logger
from runpod_hub import agents, costs
from runpod_hub.interfaces import Clock, Cloud
from runpod_hub.model import (
    AccountRecord,
    AgentSession,
    Event,
    Snapshot,
    Tick,
    TickOutcome,
)
from runpod_hub.observation import Observation, observe
from runpod_hub.state import Board
from runpod_hub.store import Store

_LOG = get_logger(__name__)
_ACTOR = "monitor"
_PRUNE_EVERY = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class MonitorPolicy:
    """The numbers the monitor decides by."""

    interval_seconds: float
    alert_usd_per_hour: Decimal
    agent_timeout_seconds: float
    retention: timedelta


def next_start(started: float, now: float, interval_seconds: float) -> float:
    """Return the next instant of the grid that begins at `started`, after `now`."""
    return started + interval_seconds * (
        math.floor((now - started) / interval_seconds) + 1
    )


class Monitor:
    """Watches one account into one store and one board."""

    def __init__(
        self,
        *,
        cloud: Cloud,
        store: Store,
        board: Board,
        clock: Clock,
        policy: MonitorPolicy,
    ) -> None:
        self._cloud = cloud
        self._store = store
        self._board = board
        self._clock = clock
        self._policy = policy
        self._pruned_at: datetime | None = None

    async def run(self) -> None:
        """Tick until cancelled; the first time at once."""
        started = self._clock.monotonic()
        while True:
            try:
                await self.tick()
            except Exception:  # noqa: BLE001  # boundary: one tick must not end the watch
                _LOG.exception("monitor_tick_failed")
            now = self._clock.monotonic()
            pause = next_start(started, now, self._policy.interval_seconds) - now
            await self._clock.sleep(pause)

    async def tick(self) -> None:
        """Look once, and record and publish what that changed."""
        started_at = self._clock.now()
        before = self._board.snapshot
        try:
            listed = await self._cloud.list_pods()
        except (APIError, DeadlineError) as error:
            await self._record_failure(before, started_at, error)
            return
        account = await self._find_account()
        await self._record_success(before, started_at, listed, account)
        await self._prune()

    async def _find_account(self) -> AccountRecord | None:
        """Return the account, None where it cannot be read: pods matter more."""
        try:
            account = await self._cloud.get_account()
        except (APIError, DeadlineError) as error:
            _LOG.warning(
                "account_read_failed",
                error=type(error).__name__,
                error_detail=str(error),
            )
            return None
        return AccountRecord(account=account, observed_at=self._clock.now())

    async def _record_success(
        self,
        before: Snapshot,
        started_at: datetime,
        listed: list[Pod],
        account: AccountRecord | None,
    ) -> None:
        now = self._clock.now()
        observation = observe(before.pods, listed, now=now)
        # heartbeats may have come while RunPod answered: judge the newest sessions
        silent = self._find_silent(now)
        events = [
            *self._recovery(before, now),
            *observation.events,
            *self._crossing(before, observation, now),
            *(_agent_lost(session, now) for session in silent),
        ]
        tick = Tick(started_at=started_at, finished_at=now, outcome=TickOutcome.OK)
        await self._store.record_tick(
            tick,
            pods=observation.records,
            samples=observation.samples,
            events=events,
            agents=silent,
            account=account,
        )
        snapshot = await self._board.refresh(self._store.load_snapshot)
        self._log_summary(snapshot, tick)

    async def _record_failure(
        self, before: Snapshot, started_at: datetime, error: APIError | DeadlineError
    ) -> None:
        now = self._clock.now()
        tick = Tick(
            started_at=started_at,
            finished_at=now,
            outcome=TickOutcome.FAILED,
            error=str(error),
        )
        silent = self._find_silent(now)
        events = [_agent_lost(session, now) for session in silent]
        if before.last_tick is None or before.last_tick.outcome is TickOutcome.OK:
            events.append(
                Event(
                    occurred_at=now,
                    actor=_ACTOR,
                    kind="cloud_unreachable",
                    subject="runpod",
                    data={"error": type(error).__name__, "error_detail": str(error)},
                )
            )
        await self._store.record_tick(tick, events=events, agents=silent)
        await self._board.refresh(self._store.load_snapshot)
        _LOG.warning(
            "monitor_tick_failed",
            error=type(error).__name__,
            error_detail=str(error),
            elapsed_seconds=(now - started_at).total_seconds(),
        )

    def _find_silent(self, now: datetime) -> list[AgentSession]:
        return agents.find_silent(
            self._board.snapshot.agents,
            now=now,
            timeout_seconds=self._policy.agent_timeout_seconds,
        )

    def _recovery(self, before: Snapshot, now: datetime) -> list[Event]:
        if before.last_tick is None or before.last_tick.outcome is TickOutcome.OK:
            return []
        return [
            Event(
                occurred_at=now, actor=_ACTOR, kind="cloud_recovered", subject="runpod"
            )
        ]

    def _crossing(
        self, before: Snapshot, observation: Observation, now: datetime
    ) -> list[Event]:
        threshold = self._policy.alert_usd_per_hour
        after = costs.summarize(observation.present).usd_per_hour
        crossing = costs.decide_crossing(
            costs.summarize(before.pods).usd_per_hour, after, threshold=threshold
        )
        if crossing is None:
            return []
        return [
            Event(
                occurred_at=now,
                actor=_ACTOR,
                kind=str(crossing),
                subject="fleet",
                data={
                    "usd_per_hour": str(after),
                    "threshold_usd_per_hour": str(threshold),
                },
            )
        ]

    def _log_summary(self, snapshot: Snapshot, tick: Tick) -> None:
        summary = costs.summarize(snapshot.pods)
        threshold = self._policy.alert_usd_per_hour
        balance = snapshot.account.account.balance_usd if snapshot.account else None
        log = _LOG.warning if summary.usd_per_hour > threshold else _LOG.info
        log(
            "monitor_tick_finished",
            summary=costs.render_summary_line(
                summary, threshold=threshold, balance=balance
            ),
            total_pods=summary.total_pods,
            running_pods=summary.running_pods,
            price_usd_per_hour=str(summary.usd_per_hour),
            active_agents=agents.count_active(snapshot.agents),
            elapsed_seconds=(tick.finished_at - tick.started_at).total_seconds(),
        )

    async def _prune(self) -> None:
        now = self._clock.now()
        if self._pruned_at is not None and now - self._pruned_at < _PRUNE_EVERY:
            return
        rows = await self._store.prune(now=now, retention=self._policy.retention)
        self._pruned_at = now
        if rows:
            _LOG.info("store_pruned", rows=rows)


def _agent_lost(session: AgentSession, now: datetime) -> Event:
    return Event(
        occurred_at=now,
        actor=_ACTOR,
        kind="agent_disconnected",
        subject=session.pod_id,
        data={"agent": session.agent, "last_task": session.current_task},
    )
