import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from runpod_sim import billing
from runpod_sim.catalog import Catalog
from runpod_sim.model import (
    BootMachine,
    BootPlan,
    DeclinedError,
    DesiredStatus,
    LiveStatus,
    NetworkVolume,
    Pod,
    PodSpec,
    StopMachine,
)
from runpod_sim.runtime import live_status
from runpod_sim.world import World, WorldSettings

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
BOOT = BootPlan(pull_seconds=10, ports_seconds=5)
SPEC = PodSpec(
    name="p",
    image="i",
    gpu_type_ids=("NVIDIA A40",),
    ports=("22/tcp", "8188/http"),
    container_disk_gb=73,
    volume_gb=73,
)


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def make_world() -> tuple[World, str]:
    world = World(Catalog(), WorldSettings(), seed=1)
    return world, world.open_account("rpa_test", BEGIN).id


def make_pod(world: World, account: str, spec: PodSpec = SPEC) -> Pod:
    return world.deploy(account, spec, BEGIN, boot=BOOT).pod


def test_machine_boots_once_when_the_pull_is_over() -> None:
    world, account = make_world()
    pod = make_pod(world, account)

    early = world.settle(after(9.9))
    due = world.settle(after(10))
    later = world.settle(after(11))

    assert early == []
    assert [(type(effect), effect.pod.id) for effect in due] == [(BootMachine, pod.id)]
    assert later == []


def test_ports_need_time_and_a_machine() -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    world.settle(after(20))

    without = world.runtime_of(world.get_pod(pod.id), after(20))
    world.attach(pod.id, 1, ((22, 40001),))
    early = world.runtime_of(world.get_pod(pod.id), after(14.9))
    ready = world.runtime_of(world.get_pod(pod.id), after(15))

    assert without is not None
    assert without.public_ports is None
    assert early is not None
    assert early.public_ports is None
    assert ready is not None
    assert ready.public_ports == ((22, 40001),)
    assert ready.uptime_seconds == 5


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        (0, LiveStatus.PROVISIONING),
        (5, LiveStatus.STARTING),
        (10, LiveStatus.RUNNING),
    ],
)
def test_live_status_follows_the_pull(seconds: float, status: LiveStatus) -> None:
    world, account = make_world()

    assert live_status(make_pod(world, account), after(seconds)) is status


def test_machine_of_an_earlier_start_is_not_attached() -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    world.stop(account, pod.id, after(1))
    world.resume(account, pod.id, after(2), boot=BOOT)

    assert not world.attach(pod.id, 1, ((22, 40001),))
    assert world.attach(pod.id, 2, ((22, 40002),))


def test_stop_asks_for_the_end_of_the_machine_and_terminate_for_its_volumes() -> None:
    world, account = make_world()
    pod = make_pod(world, account)

    stopped = world.stop(account, pod.id, after(1))
    gone = world.terminate(account, pod.id, after(2))

    assert stopped.effects == (StopMachine(stopped.pod, 2.0),)
    assert gone.effects == (StopMachine(gone.pod, 2.0, delete_volume=True),)
    assert gone.pod.desired_status is DesiredStatus.EXITED
    assert gone.pod.last_status_change.startswith("Terminated by user: Sun Nov 01 2026")


def test_stop_of_a_stopped_pod_changes_nothing() -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    first = world.stop(account, pod.id, after(1))

    again = world.stop(account, pod.id, after(9))

    assert again.pod == first.pod
    assert again.effects == ()


@pytest.mark.parametrize("operation", ["stop", "terminate", "resume", "restart"])
def test_nothing_brings_a_terminated_pod_back(operation: str) -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    world.terminate(account, pod.id, after(1))

    given_too = {} if operation in {"stop", "terminate"} else {"boot": BOOT}
    with pytest.raises(DeclinedError) as refused:
        getattr(world, operation)(account, pod.id, after(2), **given_too)

    assert refused.value.refusal.http_status == 404


def test_stopped_pod_can_find_its_host_full() -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    world.stop(account, pod.id, after(1))
    world.stock.take(pod.machine_id, 8)

    with pytest.raises(DeclinedError, match="not enough free GPUs"):
        world.resume(account, pod.id, after(2), boot=BOOT)


def test_stopped_pod_does_not_restart() -> None:
    world, account = make_world()
    pod = make_pod(world, account)
    world.stop(account, pod.id, after(1))

    with pytest.raises(DeclinedError, match="not running"):
        world.restart(account, pod.id, after(2), boot=BOOT)


def test_stock_runs_out_and_comes_back() -> None:
    world, account = make_world()
    pods = [make_pod(world, account, replace(SPEC, gpu_count=8)) for _ in range(2)]

    with pytest.raises(DeclinedError, match="no longer any instances"):
        make_pod(world, account)
    world.stop(account, pods[0].id, after(1))

    assert make_pod(world, account).machine_id == pods[0].machine_id


def test_bill_is_exact_in_every_state() -> None:
    world, account = make_world()
    pod = make_pod(world, account)

    world.settle(after(3600))
    running = world.charges_usd(pod.id)
    world.stop(account, pod.id, after(3600))
    world.settle(after(7200))
    stopped = world.charges_usd(pod.id)

    # 73 GB are a hundredth of a dollar an hour at $0.10 a month of 730 hours.
    assert running == {"compute": Decimal("0.44"), "storage": Decimal("0.02")}
    assert stopped == {"compute": Decimal("0.44"), "storage": Decimal("0.04")}


def test_empty_balance_ends_pods_at_that_instant() -> None:
    world, account = make_world()
    plain = make_pod(world, account)
    wanted = NetworkVolume("", account, "v", 73, plain.data_center_id)
    volume = world.create_network_volume(wanted, BEGIN)
    kept = make_pod(world, account, replace(SPEC, network_volume_id=volume.id))
    world.set_balance(account, Decimal("1.8614"), BEGIN)

    effects = world.settle(after(30 * 86_400))

    # Two pods at 0.46 and a volume at 0.007 an hour.
    empty_at = after(float(Fraction("1.8614") / Fraction("0.927") * 3600))
    assert world.find_pod(account, plain.id) is None
    assert world.get_pod(kept.id).stopped_at == empty_at
    assert world.get_pod(kept.id).last_status_change.startswith("Exited by Runpod")
    assert {type(effect) for effect in effects} == {StopMachine}
    assert world.get_account(account).balance_exact_usd < 0


rates = st.fractions(min_value=0, max_value=100)
moments = st.floats(min_value=0, max_value=1e7).map(after)


@given(rates, st.lists(moments, min_size=2))
def test_parts_of_a_bill_add_up_to_the_whole(
    rate: Fraction, instants: list[datetime]
) -> None:
    instants.sort()
    parts = [
        billing.charge_usd(rate, since, until) for since, until in pairwise(instants)
    ]

    assert sum(parts) == billing.charge_usd(rate, instants[0], instants[-1])


@given(st.lists(st.floats(min_value=0, max_value=1e5), max_size=8))
def test_how_often_time_is_settled_does_not_change_the_bill(
    steps: list[float],
) -> None:
    often, account = make_world()
    once, _ = make_world()
    make_pod(often, account)
    make_pod(once, account)
    end_at = after(100_000)

    for step in sorted(steps):
        often.settle(after(step))
    often.settle(end_at)
    once.settle(end_at)

    assert often.get_account(account) == once.get_account(account)


class PodLives(RuleBasedStateMachine):
    """Any order of operations keeps what must always hold."""

    @initialize()
    def begin(self) -> None:
        self.world, self.account = make_world()
        self.seconds = 0.0
        self.next_port = 40_000
        self.gone: set[str] = set()

    @property
    def now(self) -> datetime:
        return after(self.seconds)

    def some_pod(self, index: int) -> Pod | None:
        pods = self.world.pods()
        return pods[index % len(pods)] if pods else None

    @rule(seconds=st.floats(min_value=0, max_value=20_000))
    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        for effect in self.world.settle(self.now):
            if isinstance(effect, BootMachine):
                self.next_port += 1
                ports = ((22, self.next_port),)
                self.world.attach(effect.pod.id, effect.pod.start_number, ports)

    @rule(spot=st.booleans())
    def deploy(self, *, spot: bool) -> None:
        spec = replace(SPEC, bid_usd_per_hour=Decimal("0.3") if spot else None)
        with contextlib.suppress(DeclinedError):
            self.world.deploy(self.account, spec, self.now, boot=BOOT)

    @precondition(lambda self: self.world.pods())
    @rule(
        index=st.integers(min_value=0, max_value=50),
        operation=st.sampled_from(["stop", "resume", "restart", "terminate", "outbid"]),
    )
    def operate(self, index: int, operation: str) -> None:
        pod = self.some_pod(index)
        assert pod is not None
        try:
            if operation in {"stop", "terminate"}:
                getattr(self.world, operation)(self.account, pod.id, self.now)
            elif operation == "outbid":
                self.world.outbid(pod.id, self.now)
            elif operation == "restart":
                self.world.restart(self.account, pod.id, self.now, boot=BOOT)
            else:
                bid = Decimal("0.3") if pod.is_spot else None
                self.world.resume(
                    self.account, pod.id, self.now, boot=BOOT, bid_usd_per_hour=bid
                )
        except DeclinedError:
            return
        assert pod.id not in self.gone

    @invariant()
    def terminated_pods_stay_so(self) -> None:
        world = self.world
        for pod in world.pods():
            if pod.id in self.gone:
                assert pod.terminated_at is not None
            if pod.terminated_at is not None:
                self.gone.add(pod.id)
                assert not pod.is_running

    @invariant()
    def no_two_running_pods_share_a_port(self) -> None:
        world = self.world
        ports = [
            public
            for pod in world.pods()
            if pod.is_running
            for _, public in pod.public_ports
        ]
        assert len(ports) == len(set(ports))

    @invariant()
    def no_host_gives_more_gpus_than_it_has(self) -> None:
        world = self.world
        for machine_id, used in world.used_gpus().items():
            assert used <= world.stock.get(machine_id).gpu_count

    @invariant()
    def bills_of_pods_add_up_to_the_accounts(self) -> None:
        world = self.world
        total = sum(sum(world.charges_usd(pod.id).values()) for pod in world.pods())
        account = world.get_account(self.account)
        charged = billing.as_decimal(account.charged_usd)
        assert abs(charged - total) <= Decimal("0.000001") * 2 * (len(world.pods()) + 1)


TestPodLives = PodLives.TestCase
TestPodLives.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
