"""What is decided about a pool: enough, never too much, never to and fro, and said why.

A small world without a wire applies what is decided, so that whole traces of demand
can be run through the pure function.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner_installer.back_off import find_back_off
from runner_installer.decisions import decide
from runner_installer.model import parse_scope
from runner_installer.pools import PodWish, Pool
from runner_installer.scaling import (
    Action,
    Decision,
    DeleteRunner,
    Demand,
    InstallRunner,
    Limits,
    LostJob,
    PodPhase,
    RenewLease,
    RentPod,
    RerunJob,
    ResumePod,
    RetirePod,
    SeenPod,
    SeenRunner,
    Trend,
)

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=30)
POOL = Pool(
    name="gpu",
    scope=parse_scope("acme/widgets"),
    labels=("gpu",),
    wish=PodWish(gpu_types=("RTX 4090",)),
    most=6,
    idle=timedelta(minutes=5),
)


def pod(
    pod_id: str = "p1",
    *,
    phase: PodPhase = PodPhase.READY,
    since: datetime = START,
    **given: Any,
) -> SeenPod:
    return SeenPod(pod_id=pod_id, phase=phase, since=since, **given)


def runner(
    pod_id: str = "p1",
    *,
    number: int = 1,
    busy: bool = False,
    online: bool = True,
    since: datetime = START,
) -> SeenRunner:
    return SeenRunner(
        name=f"serve-gpu-{pod_id}-{number}",
        runner_id=number,
        pod_id=pod_id,
        is_online=online,
        is_busy=busy,
        since=since,
    )


def decide_for(
    demand: Demand,
    pods: Sequence[SeenPod] = (),
    runners: Sequence[SeenRunner] = (),
    *,
    pool: Pool = POOL,
    after: timedelta = timedelta(),
    **limits: Any,
) -> Decision:
    return decide(demand, runners, pods, Limits(pool=pool, **limits), START + after)


def kinds(decision: Decision) -> list[str]:
    return [type(action).__name__ for action in decision.actions]


@pytest.mark.parametrize("waiting", [1, 3])
def test_a_pod_is_rented_for_each_job_that_has_no_runner(waiting: int) -> None:
    decision = decide_for(Demand(waiting=waiting))

    assert kinds(decision) == ["RentPod"] * waiting


def test_pods_hold_as_many_runners_as_they_may() -> None:
    pool = replace(POOL, runners_per_pod=4)

    decision = decide_for(Demand(waiting=6), pool=pool)

    assert kinds(decision) == ["RentPod", "RentPod"]


def test_pods_that_are_being_created_or_boot_count_as_there() -> None:
    pods = [pod("", phase=PodPhase.CREATING), pod("p2", phase=PodPhase.BOOTING)]

    decision = decide_for(Demand(waiting=2), pods)

    assert decision.actions == ()


def test_free_place_is_filled_before_a_pod_is_resumed_and_that_before_one_is_rented() -> (
    None
):
    pods = [pod("p1"), pod("p2", phase=PodPhase.STOPPED)]

    decision = decide_for(Demand(waiting=3), pods, pool=replace(POOL, warm=1))

    assert kinds(decision) == ["InstallRunner", "ResumePod", "RentPod"]


def test_an_idle_runner_serves_a_waiting_job_and_nothing_is_rented() -> None:
    decision = decide_for(Demand(waiting=1), [pod()], [runner()])

    assert decision.actions == ()


def test_scale_set_says_how_many_are_wanted_jobs_on_runners_included() -> None:
    pods, runners = [pod()], [runner(busy=True)]

    decision = decide_for(Demand(assigned=3), pods, runners)

    assert decision.tally.wanted == 3
    assert kinds(decision) == ["RentPod", "RentPod"]


def test_runners_are_kept_ready_beyond_the_jobs_there_are() -> None:
    decision = decide_for(
        Demand(), [pod()], [runner(busy=True)], pool=replace(POOL, least=2)
    )

    assert decision.tally.wanted == 3
    assert kinds(decision) == ["RentPod", "RentPod"]


def test_idle_pod_is_given_back_only_after_its_time() -> None:
    pods, runners = [pod(idle_since=START)], [runner()]

    early = decide_for(Demand(), pods, runners, after=timedelta(minutes=4))
    due = decide_for(Demand(), pods, runners, after=timedelta(minutes=5))

    assert early.actions == ()
    assert [type(a) for a in due.actions] == [RetirePod]
    assert "idle for 5 min" in due.reasons[0]


def test_first_idle_pods_are_stopped_and_kept_warm_further_ones_terminated() -> None:
    pods = [pod(f"p{n}", idle_since=START) for n in range(3)]
    runners = [runner(f"p{n}", number=n) for n in range(3)]

    decision = decide_for(
        Demand(),
        pods,
        runners,
        pool=replace(POOL, warm=1),
        after=timedelta(minutes=6),
    )

    kept = [a.keep for a in decision.actions if isinstance(a, RetirePod)]
    assert kept == [True, False, False]


def test_pod_with_a_runner_on_a_job_is_never_given_back() -> None:
    pool = replace(POOL, runners_per_pod=2)
    runners = [runner(number=1, busy=True), runner(number=2)]

    decision = decide_for(
        Demand(),
        [pod(idle_since=START)],
        runners,
        pool=pool,
        after=timedelta(hours=1),
        is_draining=True,
    )

    assert decision.actions == ()


def test_pod_that_does_not_boot_in_time_is_replaced_and_its_phase_named() -> None:
    late = pod(phase=PodPhase.BOOTING, trouble="pulling the image")

    decision = decide_for(Demand(waiting=1), [late], after=timedelta(minutes=21))

    retire, rent = decision.actions
    assert isinstance(retire, RetirePod)
    assert (retire.phase, isinstance(rent, RentPod)) == ("boot", True)
    assert "pulling the image" in retire.why


def test_pod_that_takes_no_runner_is_replaced_after_three_attempts() -> None:
    broken = pod(failures=3, trouble="the step unpack failed")

    decision = decide_for(Demand(waiting=1), [broken])

    retire = decision.actions[0]
    assert isinstance(retire, RetirePod)
    assert retire.phase == "install"
    assert "unpack" in retire.why


def test_pod_left_for_a_look_is_neither_used_nor_ended() -> None:
    kept = pod(is_kept=True, failures=3, idle_since=START)

    decision = decide_for(Demand(waiting=1), [kept], after=timedelta(hours=2))

    assert kinds(decision) == ["RentPod"]


def test_failures_are_met_with_growing_pauses_and_one_pod_at_a_time() -> None:
    waits = [find_back_off(n).total_seconds() for n in range(1, 8)]
    held = decide_for(
        Demand(waiting=3), retry_at=START + TICK, failures=2, trouble="out of stock"
    )
    due = decide_for(Demand(waiting=3), retry_at=START, failures=2)

    assert waits == [0, 5, 10, 20, 40, 80, 900]
    assert held.actions == ()
    assert any("out of stock" in reason for reason in held.reasons)
    assert kinds(due) == ["RentPod"]


def test_lost_stock_is_asked_for_again_and_again_without_the_long_pause() -> None:
    assert find_back_off(50, is_bounded=False) == timedelta(seconds=80)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"hour_left": Decimal("0.30")}, "max_usd_per_hour"),
        ({"day_left": Decimal("0.05")}, "max_usd_per_day"),
    ],
)
def test_cap_refuses_before_anything_is_rented(
    limits: dict[str, Any], said: str
) -> None:
    decision = decide_for(
        Demand(waiting=1), price_usd_per_hour=Decimal("0.34"), **limits
    )

    assert decision.actions == ()
    assert said in decision.reasons[-1]


def test_cap_lets_through_as_many_pods_as_it_pays_for() -> None:
    decision = decide_for(
        Demand(waiting=5),
        price_usd_per_hour=Decimal("0.34"),
        hour_left=Decimal("1.00"),
    )

    assert kinds(decision) == ["RentPod", "RentPod"]


def test_lease_is_as_long_as_the_money_of_the_day_lasts() -> None:
    decision = decide_for(
        Demand(waiting=1),
        price_usd_per_hour=Decimal(1),
        day_left=Decimal("0.5"),
    )

    (rent,) = decision.actions
    assert isinstance(rent, RentPod)
    assert rent.lease == timedelta(minutes=29)


def test_lease_of_a_needed_pod_is_renewed_in_its_second_half() -> None:
    ends = START + timedelta(minutes=50)

    decision = decide_for(Demand(), [pod(lease_ends_at=ends)], [runner(busy=True)])

    (renew,) = decision.actions
    assert isinstance(renew, RenewLease)
    assert renew.lease == POOL.lease


def test_registration_without_a_runner_is_deleted_after_a_while_not_at_once() -> None:
    ghost = runner(online=False)

    early = decide_for(Demand(), [pod()], [ghost], after=timedelta(seconds=20))
    late = decide_for(Demand(), [pod()], [ghost], after=timedelta(seconds=40))
    gone = decide_for(Demand(), [], [ghost])

    assert early.actions == ()
    assert kinds(late) == kinds(gone) == ["DeleteRunner"]


def test_registration_is_left_alone_while_its_pod_is_installed_or_it_is_busy() -> None:
    ghost = runner(online=False)
    held = runner("p2", number=2, online=False, busy=True)

    decision = decide_for(
        Demand(), [pod(installing=1)], [ghost, held], after=timedelta(minutes=2)
    )

    assert [a for a in decision.actions if isinstance(a, DeleteRunner)] == []


def test_job_of_a_lost_spot_pod_is_run_again_only_where_asked_for_and_once_failed() -> (
    None
):
    failed = LostJob(repository="acme/widgets", job_id=7, run_id=1, is_failed=True)
    opted_in = replace(POOL, rerun_on_spot_loss=True)

    asked = decide_for(Demand(lost=(failed,)), pool=opted_in)
    early = decide_for(Demand(lost=(replace(failed, is_failed=False),)), pool=opted_in)
    unasked = decide_for(Demand(lost=(failed,)))

    assert [type(a) for a in asked.actions] == [RerunJob]
    assert early.actions == unasked.actions == ()


def test_pod_that_was_taken_away_is_ended_and_replaced() -> None:
    lost = pod(phase=PodPhase.LOST, is_spot=True, trouble="outbid")

    decision = decide_for(Demand(waiting=1), [lost])

    retire, rent = decision.actions
    assert isinstance(retire, RetirePod)
    assert retire.is_lost
    assert isinstance(rent, RentPod)


@dataclass
class World:
    """Applies decisions: pods boot in a tick, runners come online in another."""

    pool: Pool
    now: datetime = START
    pods: dict[str, SeenPod] = field(default_factory=dict)
    runners: dict[str, SeenRunner] = field(default_factory=dict)
    trend: Trend = field(default_factory=Trend)
    jobs: int = 0
    made: int = 0
    moves: list[tuple[datetime, bool]] = field(default_factory=list)

    def tick(self, *, queued: int) -> Decision:
        self.now += TICK
        self._take_jobs(queued)
        decision = decide(
            Demand(waiting=queued),
            list(self.runners.values()),
            list(self.pods.values()),
            Limits(pool=self.pool, trend=self.trend),
            self.now,
        )
        self.trend = decision.trend
        self._boot()
        for action in decision.actions:
            self._apply(action)
        return decision

    def _take_jobs(self, queued: int) -> None:
        """Mark pods busy or idle; jobs in this world are only waited for."""
        for pod_id, known in self.pods.items():
            if known.phase is PodPhase.READY and queued == 0:
                since = known.idle_since or self.now
            else:
                since = None
            self.pods[pod_id] = replace(known, idle_since=since)

    def _boot(self) -> None:
        for pod_id, known in self.pods.items():
            if known.phase is PodPhase.BOOTING:
                self.pods[pod_id] = replace(known, phase=PodPhase.READY)

    def _apply(self, action: Action) -> None:
        match action:
            case RentPod():
                self.made += 1
                name = f"pod{self.made}"
                self.pods[name] = pod(name, phase=PodPhase.BOOTING, since=self.now)
                self.moves.append((self.now, True))
            case ResumePod():
                self.pods[action.pod_id] = pod(
                    action.pod_id, phase=PodPhase.BOOTING, since=self.now
                )
                self.moves.append((self.now, True))
            case InstallRunner():
                self.made += 1
                made = runner(action.pod_id, number=self.made, since=self.now)
                self.runners[made.name] = made
            case RetirePod():
                self.moves.append((self.now, False))
                self.runners = {
                    name: r
                    for name, r in self.runners.items()
                    if r.pod_id != action.pod_id
                }
                if action.keep:
                    self.pods[action.pod_id] = pod(
                        action.pod_id, phase=PodPhase.STOPPED
                    )
                else:
                    del self.pods[action.pod_id]
            case _:
                raise AssertionError(f"nothing else is due: {action}")

    @property
    def turns(self) -> list[tuple[datetime, bool]]:
        """Return when the pool changed its direction, and whether upward."""
        pairs = zip(self.moves, self.moves[1:], strict=False)
        return [
            (at, after) for (_, before), (at, after) in pairs if before is not after
        ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_pod", [1, 2])
def test_thousand_steps_of_demand_are_followed_without_flapping(
    seed: int, per_pod: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # a reproducible trace
    pool = replace(POOL, warm=2, runners_per_pod=per_pod, idle=timedelta(minutes=1))
    world = World(pool)
    unmet, longest, queued = 0, 0, 0

    for _ in range(1000):
        if chance.random() < 0.15:
            queued = chance.choice([0, 0, 0, 1, 2, 4, 9])
        decision = world.tick(queued=queued)
        assert len(world.runners) <= pool.most
        assert decision.tally.wanted <= pool.most
        assert len(decision.reasons) >= len(decision.actions)
        reached = decide(
            Demand(waiting=queued),
            list(world.runners.values()),
            list(world.pods.values()),
            Limits(pool=pool, trend=world.trend),
            world.now,
        ).tally
        unmet = unmet + 1 if reached.supply < reached.wanted else 0
        longest = max(longest, unmet)

    assert longest <= 2
    turns = world.turns
    falls = [at for at, is_up in turns if not is_up]
    assert len(falls) > 5
    assert len(turns) <= 1000 * TICK / timedelta(minutes=10)
    assert min(b - a for a, b in pairwise(falls)) >= timedelta(minutes=20)
    assert all(
        later - earlier >= timedelta(minutes=10)
        for (earlier, _), (later, is_up) in pairwise(turns)
        if not is_up
    )


@settings(max_examples=60, deadline=None)
@given(
    trace=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    most=st.integers(1, 8),
    least=st.integers(0, 3),
    per_pod=st.integers(1, 3),
    warm=st.integers(0, 3),
)
def test_no_trace_leads_to_more_runners_or_pods_than_there_may_be(
    trace: list[int], most: int, least: int, per_pod: int, warm: int
) -> None:
    pool = replace(
        POOL,
        most=most,
        least=min(least, most),
        runners_per_pod=per_pod,
        warm=warm,
        idle=timedelta(seconds=60),
    )
    world = World(pool)

    for queued in trace:
        world.tick(queued=queued)
        running = [p for p in world.pods.values() if p.phase is not PodPhase.STOPPED]
        assert len(world.runners) <= most
        assert len(running) <= -(-most // per_pod)
        assert len(world.pods) - len(running) <= warm


def test_draining_gives_everything_back_at_once_whatever_is_warm() -> None:
    pool = replace(POOL, warm=3)
    pods = [pod("p1", idle_since=START), pod("p2", phase=PodPhase.STOPPED)]

    decision = decide_for(
        Demand(waiting=4), pods, [runner()], pool=pool, is_draining=True
    )

    assert [
        (a.pod_id, a.keep) for a in decision.actions if isinstance(a, RetirePod)
    ] == [("p1", False), ("p2", False)]
