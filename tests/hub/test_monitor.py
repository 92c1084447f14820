from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from runpod_client import Pod, TransportError
from runpod_hub.heartbeats import Heartbeats
from runpod_hub.model import AgentStatus, TickOutcome
from runpod_hub.monitor import Monitor, MonitorPolicy, next_start
from runpod_hub.state import Board
from runpod_hub.store import Store
from support.hub_world import EnoughError, ScriptedClock, ScriptedCloud, make_pod

POLICY = MonitorPolicy(
    interval_seconds=60.0,
    alert_usd_per_hour=Decimal(5),
    agent_timeout_seconds=180.0,
    retention=timedelta(days=14),
)
DOWN = TransportError("RunPod cannot be reached: connection refused")


@dataclass
class World:
    """A monitor and everything around it."""

    clock: ScriptedClock
    cloud: ScriptedCloud
    board: Board
    store: Store
    monitor: Monitor

    async def kinds(self) -> list[str]:
        """Return the kinds of all events, oldest first."""
        snapshot = await self.store.load_snapshot()
        return [event.kind for event in reversed(snapshot.events)]


def make_world(store: Store, *answers: list[Pod] | Exception) -> World:
    clock = ScriptedClock()
    cloud = ScriptedCloud(clock, list(answers))
    board = Board()
    monitor = Monitor(cloud=cloud, store=store, board=board, clock=clock, policy=POLICY)
    return World(clock, cloud, board, store, monitor)


async def run_ticks(world: World, count: int) -> None:
    """Let the loop run until it goes to sleep for the `count`th time."""
    world.clock.sleeps_allowed = len(world.clock.sleeps) + count
    with pytest.raises(EnoughError):
        await world.monitor.run()


@given(st.floats(0, 1e6), st.floats(0, 1e5), st.floats(min_value=0.5, max_value=86_400))
def test_the_next_start_is_on_the_grid_and_ahead(
    started: float, elapsed: float, interval: float
) -> None:
    now = started + elapsed

    start = next_start(started, now, interval)

    steps = (start - started) / interval
    assert now <= start + 1e-6
    assert start <= now + interval + 1e-6
    assert steps == pytest.approx(round(steps))


async def test_the_first_look_is_at_once_and_slow_ones_do_not_drift(
    store: Store,
) -> None:
    world = make_world(store, [make_pod()])
    world.cloud.listing_seconds = 7.0

    await run_ticks(world, 3)

    assert world.cloud.listed_at == [0.0, 60.0, 120.0]


async def test_a_look_longer_than_the_interval_skips_the_starts_it_missed(
    store: Store,
) -> None:
    world = make_world(store, [make_pod()])
    world.cloud.listing_seconds = 130.0

    await run_ticks(world, 2)

    assert world.cloud.listed_at == [0.0, 180.0]


async def test_a_failing_look_keeps_the_figures_and_says_why(store: Store) -> None:
    world = make_world(store, [make_pod()], DOWN, DOWN, [make_pod()])

    await run_ticks(world, 3)
    failed = world.board.snapshot
    await run_ticks(world, 1)

    assert [pod.pod_id for pod in failed.pods] == ["pod1"]
    assert failed.last_tick is not None
    assert (failed.last_tick.outcome, failed.last_tick.error) == (
        TickOutcome.FAILED,
        str(DOWN),
    )
    assert await world.kinds() == [
        "pod_appeared",
        "cloud_unreachable",
        "cloud_recovered",
    ]


async def test_a_bug_in_one_look_does_not_end_the_watch(store: Store) -> None:
    world = make_world(store, RuntimeError("a bug"), [make_pod()])

    with capture_logs() as logs:
        await run_ticks(world, 2)

    assert next(log["event"] for log in logs) == "monitor_tick_failed"
    assert len(world.board.snapshot.pods) == 1


async def test_a_pod_is_gone_after_the_second_listing_without_it(store: Store) -> None:
    world = make_world(store, [make_pod()], [], [])

    await run_ticks(world, 2)
    once = world.board.snapshot.pods
    await run_ticks(world, 1)

    assert [pod.absences for pod in once] == [1]
    assert world.board.snapshot.pods == ()
    assert await world.kinds() == ["pod_appeared", "pod_gone"]


async def test_cost_over_the_threshold_is_told_once_and_its_end_too(
    store: Store,
) -> None:
    dear = make_pod(price_usd_per_hour=Decimal("5.01"))
    world = make_world(store, [dear], [dear], [make_pod()])

    with capture_logs() as logs:
        await run_ticks(world, 3)

    assert [kind for kind in await world.kinds() if kind.startswith("cost_")] == [
        "cost_threshold_exceeded",
        "cost_threshold_cleared",
    ]
    levels = [
        log["log_level"] for log in logs if log["event"] == "monitor_tick_finished"
    ]
    assert levels == ["warning", "warning", "info"]


async def test_the_look_is_logged_as_one_line_with_its_figures(store: Store) -> None:
    world = make_world(store, [make_pod()])

    with capture_logs() as logs:
        await run_ticks(world, 1)

    line = next(log for log in logs if log["event"] == "monitor_tick_finished")
    assert line["summary"] == (
        "1/1 pods running · $0.50/hour ($12.00/day, $365/month of 730 h)"
        " · balance $99.12"
    )
    assert (line["running_pods"], line["price_usd_per_hour"]) == (1, "0.50")


async def test_an_unreadable_account_does_not_spoil_the_pods(store: Store) -> None:
    world = make_world(store, [make_pod()])
    world.cloud.account = DOWN

    await run_ticks(world, 1)

    assert world.board.snapshot.account is None
    assert len(world.board.snapshot.pods) == 1


async def test_a_silent_agent_is_disconnected_even_while_runpod_is_down(
    store: Store,
) -> None:
    world = make_world(store, [make_pod()], DOWN)
    await run_ticks(world, 1)
    heartbeats = Heartbeats(store=store, board=world.board, clock=world.clock)
    await heartbeats.receive(
        pod_id="pod1", agent="A", status=AgentStatus.WORKING, current_task="tests"
    )

    await run_ticks(world, 5)

    (session,) = world.board.snapshot.agents
    assert session.status is AgentStatus.DISCONNECTED
    assert (await world.kinds())[-2:] == ["cloud_unreachable", "agent_disconnected"]
