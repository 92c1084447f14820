"""The parts of a running hub, as the faces (HTTP, dashboard) get to see them."""

from dataclasses import dataclass
from datetime import datetime

from runpod_hub.access import Access
from runpod_hub.config import HubSettings
from runpod_hub.heartbeats import Heartbeats
from runpod_hub.interfaces import Clock
from runpod_hub.state import Board, Freshness, judge_freshness
from runpod_hub.store import Store


@dataclass(frozen=True, kw_only=True)
class Hub:
    """What `app.build_app` has put together."""

    settings: HubSettings
    clock: Clock
    store: Store
    board: Board
    heartbeats: Heartbeats
    access: Access

    def judge_pods(self) -> Freshness:
        """Say how far the pods' figures can be trusted now."""
        return self._judge(self.board.snapshot.pods_as_of)

    def judge_account(self) -> Freshness:
        """Say how far the balance can be trusted now."""
        account = self.board.snapshot.account
        return self._judge(account.observed_at if account else None)

    def _judge(self, as_of: datetime | None) -> Freshness:
        return judge_freshness(
            as_of,
            self.board.snapshot.last_tick,
            now=self.clock.now(),
            interval_seconds=self.settings.interval_seconds,
        )
