import stat
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import Account, PodStatus
from runpod_hub import StoreBusyError, StoreError, migrations
from runpod_hub.model import (
    AccountRecord,
    AgentSession,
    AgentStatus,
    Event,
    PodSample,
    Snapshot,
    Tick,
    TickOutcome,
)
from runpod_hub.store import Store
from support.hub_world import NOON, make_record

TICK = Tick(started_at=NOON, finished_at=NOON, outcome=TickOutcome.OK)
FAILED = Tick(
    started_at=NOON + timedelta(minutes=1),
    finished_at=NOON + timedelta(minutes=1),
    outcome=TickOutcome.FAILED,
    error="RunPod cannot be reached",
)
ACCOUNT = AccountRecord(
    account=Account(
        account_id="u",
        balance_usd=Decimal("12.345678901"),
        spend_usd_per_hour=Decimal("0.1"),
        spend_limit_usd_per_hour=Decimal(80),
    ),
    observed_at=NOON,
)
SAMPLE = PodSample(
    sampled_at=NOON,
    pod_id="pod1",
    status=PodStatus.RUNNING,
    price_usd_per_hour=Decimal("0.1"),
)
EVENT = Event(
    occurred_at=NOON,
    actor="monitor",
    kind="pod_appeared",
    subject="pod1",
    data={"a": "b"},
)
AGENT = AgentSession(
    pod_id="pod1",
    agent="A",
    status=AgentStatus.WORKING,
    current_task="tests",
    started_at=NOON,
    last_heartbeat_at=NOON,
)


async def test_what_a_tick_wrote_is_read_back_to_the_last_digit(
    store: Store, database: Path
) -> None:
    pod = make_record(price_usd_per_hour=Decimal("0.100000000000000000001"))

    await store.record_tick(
        TICK,
        pods=[pod],
        samples=[SAMPLE],
        events=[EVENT],
        agents=[AGENT],
        account=ACCOUNT,
    )

    again = Store(database)
    snapshot = await again.load_snapshot()
    samples = await again.list_samples("pod1", since=NOON)
    await again.close()
    (event,) = snapshot.events
    assert snapshot == Snapshot(
        pods=(pod,),
        agents=(AGENT,),
        events=(event,),
        account=ACCOUNT,
        pods_as_of=NOON,
        last_tick=TICK,
    )
    assert (event.sequence, event.kind, event.data) == (1, "pod_appeared", {"a": "b"})
    assert samples == [SAMPLE]


async def test_a_failed_tick_leaves_the_figures_and_their_time(store: Store) -> None:
    await store.record_tick(TICK, pods=[make_record()])

    await store.record_tick(FAILED)

    snapshot = await store.load_snapshot()
    assert snapshot.pods == (make_record(),)
    assert (snapshot.pods_as_of, snapshot.last_tick) == (NOON, FAILED)


async def test_a_tick_is_written_whole_or_not_at_all(store: Store) -> None:
    orphan = PodSample(
        sampled_at=NOON,
        pod_id="nobody",
        status=PodStatus.RUNNING,
        price_usd_per_hour=Decimal(1),
    )

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await store.record_tick(TICK, pods=[make_record()], samples=[orphan])

    assert await store.load_snapshot() == Snapshot()


async def test_gone_pods_and_their_agents_are_not_loaded(store: Store) -> None:
    await store.record_tick(TICK, pods=[make_record(gone_at=NOON)], agents=[AGENT])

    snapshot = await store.load_snapshot()

    assert (snapshot.pods, snapshot.agents) == ((), ())


async def test_only_the_newest_session_of_an_agent_is_loaded(store: Store) -> None:
    later = NOON + timedelta(hours=1)
    newer = AgentSession(
        pod_id="pod1",
        agent="A",
        status=AgentStatus.IDLE,
        current_task="",
        started_at=later,
        last_heartbeat_at=later,
    )

    await store.record_tick(TICK, pods=[make_record()], agents=[AGENT])
    await store.record_agent(newer, [])

    assert (await store.load_snapshot()).agents == (newer,)


async def test_pruning_forgets_what_is_old_and_keeps_the_audit(store: Store) -> None:
    await store.record_tick(
        TICK, pods=[make_record(gone_at=NOON)], samples=[SAMPLE], events=[EVENT]
    )

    rows = await store.prune(
        now=NOON + timedelta(days=15), retention=timedelta(days=14)
    )

    assert rows == 3
    assert await store.list_samples("pod1", since=NOON) == []
    assert len((await store.load_snapshot()).events) == 1


def test_database_and_folder_are_closed_to_others(database: Path) -> None:
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_migrations_go_down_and_up_again(database: Path) -> None:
    assert migrations.downgrade(database, "base") == "base"
    assert migrations.upgrade(database) == "0001"
    assert migrations.upgrade(database) == "0001"


def test_a_file_that_is_no_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite3"
    path.write_text("this is a shopping list, quite a long one, not a database at all")

    with pytest.raises(StoreError, match="not a database"):
        migrations.upgrade(path)


def test_a_database_is_locked_against_a_second_user(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite3"

    with (
        migrations.lock(path),
        pytest.raises(StoreBusyError, match="another runpod-hub"),
        migrations.lock(path, timeout_seconds=0.1),
    ):
        pass

    with migrations.lock(path, timeout_seconds=0.1):
        assert path.with_name("hub.sqlite3.lock").exists()
