import asyncio
from datetime import timedelta

from runpod_hub.model import Snapshot, Tick, TickOutcome
from runpod_hub.state import Board, judge_freshness
from support.hub_world import NOON, make_record

OK = Tick(started_at=NOON, finished_at=NOON, outcome=TickOutcome.OK)
FAILED = Tick(
    started_at=NOON, finished_at=NOON, outcome=TickOutcome.FAILED, error="it is down"
)


async def test_a_slow_follower_sees_the_newest_state_only() -> None:
    board = Board()
    follower = board.follow()
    first = await anext(follower)

    for count in (1, 2, 3):
        await _publish(board, count)
    newest = await asyncio.wait_for(anext(follower), timeout=5)

    assert first == Snapshot()
    assert len(newest.pods) == 3


async def test_a_follower_waits_while_nothing_changes() -> None:
    board = Board()
    follower = board.follow()
    await anext(follower)

    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    was_done = waiting.done()
    await _publish(board, 1)
    snapshot = await asyncio.wait_for(waiting, timeout=5)

    assert not was_done
    assert len(snapshot.pods) == 1


def test_figures_are_stale_when_the_last_look_failed() -> None:
    freshness = judge_freshness(
        NOON, FAILED, now=NOON + timedelta(seconds=5), interval_seconds=60
    )

    assert (freshness.age_seconds, freshness.reason) == (5.0, "it is down")


def test_figures_are_stale_when_looks_stay_away() -> None:
    def judge(seconds: int) -> bool:
        now = NOON + timedelta(seconds=seconds)
        return judge_freshness(NOON, OK, now=now, interval_seconds=60).is_stale

    assert (judge(60), judge(150), judge(151)) == (False, False, True)


def test_figures_that_were_never_read_are_stale_without_an_age() -> None:
    freshness = judge_freshness(None, None, now=NOON, interval_seconds=60)

    assert freshness.is_stale
    assert freshness.age_seconds is None


async def _publish(board: Board, pods: int) -> None:
    async def load() -> Snapshot:
        return Snapshot(pods=tuple(make_record(str(n)) for n in range(pods)))

    await board.refresh(load)
