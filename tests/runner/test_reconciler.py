"""Whole lives of a pool: jobs get runners, money is kept, kills leave nothing behind."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from runner_installer.demand import Board
from runner_installer.model import WorkflowJob, parse_scope
from runner_installer.polling import QueuePoll
from runner_installer.pools import Caps, PodWish, Pool, PoolFile
from runner_installer.reconciler import Reconciler
from runner_installer.scaling import PodPhase
from runner_installer.serve_memory import Memory
from runner_installer.spending import Ledger
from support.serve_world import JOB_SECONDS, LOCK_SECONDS, SmallWorld

TICK = 30.0
POOL = Pool(
    name="gpu",
    scope=parse_scope("acme/widgets"),
    labels=("gpu",),
    wish=PodWish(gpu_types=("NVIDIA L4",)),
    most=4,
    idle=timedelta(minutes=2),
)


class Server:
    """A `serve` that can be killed: only its memory file outlives it."""

    def __init__(
        self,
        world: SmallWorld,
        folder: Path,
        *,
        pool: Pool = POOL,
        caps: Caps | None = None,
        memory: Memory | None = None,
        hears: bool = True,
    ) -> None:
        self.world = world
        self.folder = folder
        self.pool = pool
        self.caps = caps or Caps()
        self.memory = memory or Memory()
        self.ledger = Ledger(folder / "costs.sqlite")
        self.board = Board([pool], now=world.now)
        self.poll = QueuePoll(world, now=world.now)
        if hears:
            world.tell(self.board)
        self.reconciler = Reconciler(
            PoolFile(path=folder / "runners.toml", pools=(pool,), caps=self.caps),
            self.board,
            world,
            self.memory,
            self.ledger,
            now=world.now,
            clock=world.monotonic,
        )

    async def tick(self, *, seconds: float = TICK, polls: bool = False) -> None:
        """Let time pass, tick, and let what was begun end."""
        self.world.advance(seconds)
        if polls:
            await self.poll.poll_once(self.board)
        await self.reconciler.tick(is_fresh=True)
        await self.reconciler.finish(5)

    async def run(self, ticks: int, *, polls: bool = False) -> None:
        for _ in range(ticks):
            await self.tick(polls=polls)

    async def kill(self, *, after_steps: int, loses_memory: bool) -> "Server":
        """Begin a tick, die in the middle of it, and start anew."""
        self.world.advance(TICK)
        tick = asyncio.create_task(self.reconciler.tick(is_fresh=True))
        for _ in range(after_steps):
            await asyncio.sleep(0)
        tick.cancel()
        await asyncio.gather(tick, return_exceptions=True)
        await self.reconciler.finish(0)
        kept = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)
        return Server(
            self.world,
            self.folder,
            pool=self.pool,
            caps=self.caps,
            memory=Memory() if loses_memory else kept,
        )

    @property
    def phases(self) -> list[PodPhase]:
        return [p.phase for r in self.reconciler.reports for p in r.view.pods]


@pytest.fixture
def world() -> SmallWorld:
    return SmallWorld()


def ended(world: SmallWorld) -> int:
    return sum(job.conclusion == "success" for job in world.jobs.values())


async def test_jobs_get_runners_and_the_pods_are_gone_when_nobody_needs_them(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    for _ in range(3):
        world.queue()

    await server.run(5)
    busiest = len(world.pods)
    await server.run(10)

    assert ended(world) == 3
    assert busiest == 3
    assert (world.pods, world.runners) == ({}, {})


async def test_hint_is_enough_to_rent_and_several_ticks_rent_once(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    world.queue()

    await asyncio.gather(*[server.reconciler.tick() for _ in range(1)])
    for _ in range(4):
        await server.reconciler.tick()
    await server.reconciler.finish(5)
    await server.reconciler.tick()

    assert [e.split()[0] for e in world.events] == ["rent"]


async def test_runner_that_took_the_job_is_not_answered_with_a_second_pod(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path, hears=False)
    world.queue()
    await server.tick(polls=True)

    await server.tick()
    await server.run(2)

    assert sum(e.startswith("rent") for e in world.events) == 1


async def test_job_of_a_lost_webhook_is_found_by_the_poll(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path, hears=False)
    world.queue()

    await server.run(3)
    before = len(world.events)
    await server.run(8, polls=True)

    assert before == 0
    assert ended(world) == 1
    (cost,) = server.ledger.list_costs()
    assert cost.seconds == pytest.approx(JOB_SECONDS, abs=TICK)


async def test_job_that_was_cancelled_meanwhile_is_not_rented_for(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    job = world.queue()
    world.hooks.clear()
    world.jobs[job.job_id] = replace(job, status="completed", conclusion="cancelled")

    await server.tick()

    assert world.events == []


async def test_job_that_github_does_not_tell_about_is_rented_for(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    world.queue()
    world.is_reachable = False

    await server.tick()

    assert [e.split()[0] for e in world.events] == ["rent"]


async def test_warm_pod_is_resumed_before_one_is_rented(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path, pool=replace(POOL, warm=1))
    world.queue()
    await server.run(12)
    cold = list(world.events)
    world.queue()

    await server.run(6)

    assert cold[-1].startswith("stop")
    assert [e.split()[0] for e in world.events[len(cold) :]][:2] == [
        "resume",
        "install",
    ]
    assert ended(world) == 2


async def test_lost_stock_is_told_and_asked_for_with_growing_pauses(
    world: SmallWorld, tmp_path: Path
) -> None:
    world.stock = 0
    server = Server(world, tmp_path)
    world.queue()

    await server.tick()
    memory = server.memory.pool("gpu")
    first = memory.failures, memory.trouble
    await server.tick(seconds=1)
    held = memory.failures
    world.stock = 1
    await server.tick(seconds=10)

    assert first == (1, "out of stock: nothing is free")
    assert held == 1
    assert list(world.pods)
    assert memory.failures == 0


async def test_pod_that_never_boots_is_replaced_and_attempts_are_bounded(
    world: SmallWorld, tmp_path: Path
) -> None:
    world.boots = False
    pool = replace(POOL, boot_deadline=timedelta(minutes=1), most=1)
    server = Server(world, tmp_path, pool=pool)
    world.queue()

    await server.run(60)

    rented = sum(e.startswith("rent") for e in world.events)
    assert 4 <= rented <= 10
    assert "no SSH address within 1 min" in server.memory.pool("gpu").trouble


async def test_pod_that_takes_no_runner_is_replaced(
    world: SmallWorld, tmp_path: Path
) -> None:
    world.installs = False
    server = Server(world, tmp_path)
    world.queue()
    await server.run(6)
    replaced = list(world.events)
    world.installs = True

    await server.run(8)

    assert any(e.startswith("end") for e in replaced)
    assert ended(world) == 1


async def test_spot_pod_taken_away_under_a_job_has_the_job_run_again_once(
    world: SmallWorld, tmp_path: Path
) -> None:
    world.is_spot = True
    server = Server(world, tmp_path, pool=replace(POOL, rerun_on_spot_loss=True))
    job = world.queue()
    await server.run(2)
    await server.tick(seconds=1)
    assert world.jobs[job.job_id].status == "in_progress"

    world.kill_pod(next(iter(world.pods)))
    await server.run(3)
    early = list(world.rerun)
    await server.run(int(LOCK_SECONDS / TICK) + 6)

    assert early == []
    assert world.rerun == [job.job_id]
    assert ended(world) == 1


async def test_run_costs_the_price_of_its_pod_for_the_time_of_its_job(
    world: SmallWorld, tmp_path: Path
) -> None:
    world.price = Decimal("3.60")
    server = Server(world, tmp_path)
    job = world.queue()

    await server.run(8)

    (cost,) = server.ledger.list_costs(run_id=job.run_id)
    assert cost.usd == (Decimal(str(cost.seconds)) * Decimal("0.001")).quantize(
        Decimal("0.000001")
    )
    assert cost.conclusion == "success"


async def test_hourly_cap_holds_however_many_jobs_wait(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path, caps=Caps(usd_per_hour=Decimal("0.70")))
    for _ in range(6):
        world.queue()

    for _ in range(20):
        await server.tick()
        assert len(world.pods) <= 2

    assert ended(world) == 6


async def test_daily_cap_holds_by_leases_even_where_nobody_is_left_to_end_pods(
    world: SmallWorld, tmp_path: Path
) -> None:
    cap = Decimal("0.50")
    server = Server(world, tmp_path, caps=Caps(usd_per_day=cap))
    for _ in range(6):
        world.queue()

    await server.run(40)

    today = world.now().date().isoformat()
    ahead = sum(
        (
            p.price_usd_per_hour
            * Decimal((p.lease_ends_at - world.now()).total_seconds())
            / 3600
            for p in world.pods.values()
            if p.lease_ends_at is not None
        ),
        Decimal(0),
    )
    assert server.memory.spent_on(today) + ahead <= cap


async def test_pods_of_others_are_neither_counted_nor_touched(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    await world.rent(POOL, timedelta(hours=1))
    (pod_id,) = world.pods
    world.pods[pod_id] = replace(world.pods[pod_id], owner="somebody-else")

    await server.run(20)

    assert list(world.pods) == [pod_id]


async def test_every_tenth_webhook_lost_starves_no_job(
    world: SmallWorld, tmp_path: Path
) -> None:
    server = Server(world, tmp_path)
    chance = random.Random(10)  # noqa: S311  # reproducible
    hear = world.hooks[0]
    lost = 0

    def hear_most(job: WorkflowJob) -> None:
        nonlocal lost
        if chance.random() < 0.1:
            lost += 1
        else:
            hear(job)

    world.hooks = [hear_most]
    for step in range(90):
        if step < 60:
            world.queue()
        await server.tick(polls=step % 2 == 0)

    waits = [
        (job.started_at - job.created_at).total_seconds()
        for job in world.jobs.values()
        if job.started_at and job.created_at
    ]
    assert lost > 8
    assert ended(world) == 60
    assert max(waits) < 20 * TICK


async def chaos(world: SmallWorld, folder: Path, *, kills: int, seed: int) -> None:
    """Kill servers, pods and runners at random; look for ghosts two ticks later."""
    chance = random.Random(seed)  # noqa: S311  # reproducible
    server = Server(world, folder, pool=replace(POOL, warm=1, runners_per_pod=2))
    for number in range(kills):
        if chance.random() < 0.7:
            world.queue()
        victim = chance.choice(["server", "server", "pod", "runner"])
        if victim == "server":
            server = await server.kill(
                after_steps=chance.randrange(12), loses_memory=chance.random() < 0.3
            )
        elif victim == "pod" and world.pods:
            world.kill_pod(chance.choice(sorted(world.pods)))
        elif victim == "runner" and world.runners:
            world.kill_runner(chance.choice(sorted(world.runners)))
        # a job whose runner died keeps its record busy for a while: no ghost yet
        ghosts = set(world.ghosts)
        await server.run(2, polls=True)
        left = ghosts & set(world.ghosts)
        assert not left, f"ghosts after kill {number} ({victim})"
        running = [p for p in world.pods.values() if p.status.is_billed]
        assert len(running) <= 2
    await server.run(int(LOCK_SECONDS / TICK) + 12, polls=True)
    server.reconciler.is_draining = True
    await server.run(2, polls=True)

    assert (world.pods, world.runners) == ({}, {})
    lost = [j for j in world.jobs.values() if j.status != "completed"]
    assert lost == []


@pytest.mark.parametrize("seed", range(2))
async def test_ten_kills_leave_no_ghost_and_no_pod(
    world: SmallWorld, tmp_path: Path, seed: int
) -> None:
    await chaos(world, tmp_path, kills=10, seed=seed)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(5))
async def test_five_hundred_kills_leave_no_ghost_and_no_pod(
    world: SmallWorld, tmp_path: Path, seed: int
) -> None:
    await chaos(world, tmp_path, kills=500, seed=seed + 100)
