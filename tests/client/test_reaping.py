import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client.errors import ConfigError
from runpod_client.model import GPUUtilization, Pod, PodStatus
from runpod_client.observations import Observation, ObservationStore, observe
from runpod_client.reaping import (
    ActionPolicy,
    Cause,
    Reap,
    ReapAction,
    ReapPolicy,
    decide,
    find_saving,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
OURS = "owner-1"
POD = Pod(
    pod_id="p",
    name="trainer",
    status=PodStatus.RUNNING,
    gpu_type="NVIDIA L4",
    gpu_count=1,
    image="img",
    price_usd_per_hour=Decimal("0.73"),
    container_disk_gb=20,
    started_at=NOW - 5 * HOUR,
    uptime_seconds=5 * 3600,
    owner=OURS,
    intent_id="3f9a2c1d00000000",
    lease_ends_at=NOW + HOUR,
)
OVERDUE = replace(POD, lease_ends_at=NOW - 5 * MINUTE)
IDLE = ReapPolicy(idle_window=timedelta(minutes=30))


def decide_one(
    pod: Pod,
    policy: ReapPolicy | None = None,
    observations: tuple[Observation, ...] = (),
) -> Reap | None:
    reaps = decide(
        [pod],
        owner=OURS,
        now=NOW,
        policy=policy or ReapPolicy(),
        observations=observations,
    )
    return reaps[0] if reaps else None


def looks(
    *percents: int | None, every: timedelta = 10 * MINUTE
) -> tuple[Observation, ...]:
    """Return looks at the pod, the last of them now."""
    return tuple(
        Observation(pod_id="p", observed_at=NOW - age * every, gpu_percent=percent)
        for age, percent in enumerate(reversed(percents))
    )


def test_pod_inside_its_lease_is_left_alone() -> None:
    assert decide_one(POD) is None
    assert decide_one(replace(POD, lease_ends_at=None)) is None


def test_overdue_pod_is_ended_with_reason_and_saving() -> None:
    assert decide_one(OVERDUE) == Reap(
        pod=OVERDUE,
        action=ReapAction.TERMINATE,
        cause=Cause.LEASE_OVER,
        reason="its lease ended 5m ago",
        # 20 GB of container disk for 0.10 USD per GB-month beside the GPU
        saves_usd_per_hour=Decimal("0.73") + Decimal(2) / 730,
    )


def test_lease_that_ends_this_very_moment_is_over() -> None:
    assert decide_one(replace(POD, lease_ends_at=NOW)) is not None


def test_grace_puts_the_end_off() -> None:
    assert decide_one(OVERDUE, ReapPolicy(grace=6 * MINUTE)) is None
    assert decide_one(OVERDUE, ReapPolicy(grace=5 * MINUTE)) is not None


@pytest.mark.parametrize(
    ("policy", "volume_gb", "network_volume_id", "expected"),
    [
        ("auto", 0, "", ReapAction.TERMINATE),
        ("auto", 50, "", ReapAction.STOP),
        ("auto", 0, "vol1", ReapAction.TERMINATE),
        ("stop", 0, "", ReapAction.STOP),
        ("terminate", 50, "", ReapAction.TERMINATE),
    ],
)
def test_action_follows_the_policy_and_what_there_is_to_keep(
    policy: str, volume_gb: int, network_volume_id: str, expected: ReapAction
) -> None:
    pod = replace(OVERDUE, volume_gb=volume_gb, network_volume_id=network_volume_id)

    reap = decide_one(pod, ReapPolicy(action=ActionPolicy(policy)))

    assert reap is not None
    assert reap.action is expected


@pytest.mark.parametrize(
    "change",
    [
        {"owner": None},
        {"owner": ""},
        {"owner": "owner-10"},
        {"owner": "Owner-1"},
        {"owner": "owner-1 "},
        {"intent_id": None},
        {"intent_id": ""},
        {"status": PodStatus.TERMINATED},
        {"status": PodStatus.STOPPED},
    ],
)
def test_what_is_not_ours_or_does_not_run_is_never_touched(
    change: dict[str, object],
) -> None:
    assert decide_one(replace(OVERDUE, **change)) is None  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "status", [PodStatus.STARTING, PodStatus.FAILED, PodStatus.UNKNOWN]
)
def test_overdue_pod_that_may_bill_is_ended_whatever_its_state(
    status: PodStatus,
) -> None:
    assert decide_one(replace(OVERDUE, status=status)) is not None


def test_locked_pod_is_reported_only() -> None:
    reap = decide_one(replace(OVERDUE, is_locked=True))

    assert reap is not None
    assert (reap.action, reap.saves_usd_per_hour) == (ReapAction.REPORT, Decimal(0))
    assert reap.reason == "its lease ended 5m ago, but it is locked"


def test_stopped_pod_is_destroyed_only_where_the_policy_says_after_how_long() -> None:
    stopped = replace(OVERDUE, status=PodStatus.STOPPED, volume_gb=73)

    assert decide_one(stopped, ReapPolicy(terminate_stopped_after=6 * MINUTE)) is None
    reap = decide_one(stopped, ReapPolicy(terminate_stopped_after=5 * MINUTE))

    assert reap is not None
    assert (reap.action, reap.cause) == (ReapAction.TERMINATE, Cause.STOPPED_LONG)
    assert reap.saves_usd_per_hour == Decimal("0.02")  # 73 GB for 0.20 a GB-month


def test_stopping_saves_less_than_terminating_since_the_volume_bills_on() -> None:
    pod = replace(OVERDUE, volume_gb=73, container_disk_gb=0)

    assert find_saving(pod, ReapAction.STOP) == Decimal("0.72")
    assert find_saving(pod, ReapAction.TERMINATE) == Decimal("0.74")


def test_without_an_owner_name_nothing_is_decided() -> None:
    with pytest.raises(ValueError, match="owner name"):
        decide([replace(OVERDUE, owner="")], owner="", now=NOW, policy=ReapPolicy())


def test_pod_idle_all_through_the_window_is_ended() -> None:
    reap = decide_one(POD, IDLE, looks(0, 1, 4, 0))

    assert reap is not None
    assert (reap.cause, reap.action) == (Cause.IDLE, ReapAction.TERMINATE)
    assert reap.reason == "its GPUs were below 5 % for 30m"


@pytest.mark.parametrize(
    ("observations", "why"),
    [
        ((), "nobody has looked"),
        (looks(0, 0, 0), "the looks begin inside the window"),
        (looks(0, 0), "too few looks"),
        (looks(0, 0, 0, every=15 * MINUTE), "too few looks inside the window"),
        (looks(0, 0, None, 0), "a look told nothing"),
        (looks(None, 0, 0, 0), "the look at its beginning told nothing"),
        (looks(0, 0, 5, 0), "it was busy once"),
        (looks(9, 0, 0, 0), "it was busy at its beginning"),
        (looks(0, 0, 0, 9), "it is busy now"),
        (tuple(replace(o, pod_id="q") for o in looks(0, 0, 0, 0)), "another pod"),
    ],
)
def test_pod_not_surely_idle_is_left_alone(
    observations: tuple[Observation, ...], why: str
) -> None:
    assert decide_one(POD, IDLE, observations) is None, why


@pytest.mark.parametrize(
    "pod",
    [
        replace(POD, status=PodStatus.STARTING),
        replace(POD, status=PodStatus.UNKNOWN),
        replace(POD, started_at=NOW - 29 * MINUTE),
        replace(POD, started_at=None, created_at=None),
        replace(POD, uptime_seconds=None),
        replace(POD, uptime_seconds=29 * 60),
    ],
)
def test_pod_younger_than_the_window_or_of_unknown_age_is_not_idle(pod: Pod) -> None:
    assert decide_one(pod, IDLE, looks(0, 0, 0, 0)) is None


def test_looks_of_an_earlier_start_do_not_count() -> None:
    pod = replace(POD, started_at=NOW - 31 * MINUTE, uptime_seconds=31 * 60)

    assert decide_one(pod, IDLE, looks(0, 0, 0, 0, every=12 * MINUTE)) is None


def test_idle_locked_pod_is_reported_only() -> None:
    reap = decide_one(replace(POD, is_locked=True), IDLE, looks(0, 0, 0, 0))

    assert reap is not None
    assert reap.action is ReapAction.REPORT


@pytest.mark.parametrize(
    ("loads", "expected"),
    [((), None), ((None,), None), ((3, None), None), ((3, 80), 80), ((0, 0), 0)],
)
def test_a_look_tells_the_busiest_gpu_or_nothing(
    loads: tuple[int | None, ...], expected: int | None
) -> None:
    gpus = tuple(
        GPUUtilization(gpu_id=str(n), gpu_percent=load, memory_percent=None)
        for n, load in enumerate(loads)
    )

    assert observe(replace(POD, gpus=gpus), NOW).gpu_percent == expected


def test_looks_are_kept_between_runs_and_forgotten_in_time(tmp_path: Path) -> None:
    seen = looks(0, None, 7)
    ObservationStore(tmp_path).add(seen)

    store = ObservationStore(tmp_path)
    kept = store.list_since(NOW - HOUR)
    store.prune(NOW - 15 * MINUTE)

    assert sorted(kept, key=lambda o: o.observed_at) == sorted(
        seen, key=lambda o: o.observed_at
    )
    assert [o.gpu_percent for o in store.list_since(NOW - HOUR)] == [None, 7]
    assert (tmp_path / "observations.sqlite3").stat().st_mode & 0o777 == 0o600


def test_reading_looks_where_there_are_none_makes_no_file(tmp_path: Path) -> None:
    assert ObservationStore(tmp_path / "state").list_since(NOW) == []
    assert list(tmp_path.iterdir()) == []


def test_broken_store_of_looks_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "observations.sqlite3").write_bytes(b"no database" * 99)

    with pytest.raises(ConfigError, match="observations"):
        ObservationStore(tmp_path).list_since(NOW)


def made_up_worlds(
    count: int,
) -> Iterator[tuple[list[Pod], ReapPolicy, list[Observation]]]:
    """Yield fleets of ours, others' and nobody's pods in every state, with looks."""
    dice = random.Random(20261122)  # noqa: S311  # to be repeatable
    for _ in range(count):
        policy = ReapPolicy(
            action=dice.choice(list(ActionPolicy)),
            grace=dice.choice([timedelta(), 3 * MINUTE, HOUR]),
            idle_window=dice.choice([None, 10 * MINUTE, 30 * MINUTE]),
            terminate_stopped_after=dice.choice([None, timedelta(), HOUR]),
        )
        pods = [made_up_pod(dice, number) for number in range(dice.randint(0, 6))]
        observations = [o for pod in pods for o in made_up_looks(dice, pod)]
        yield pods, policy, observations


def made_up_looks(dice: random.Random, pod: Pod) -> Iterator[Observation]:
    every = dice.choice([1, 5, 10]) * MINUTE
    idle: list[int | None] = [0, 3]
    loads = dice.choice([idle, [0, 0, 0, 0, 0, 0, 0, 60, None]])
    for age in range(dice.randint(0, 12)):
        yield Observation(
            pod_id=pod.pod_id,
            observed_at=NOW - age * every,
            gpu_percent=dice.choice(loads),
        )


def made_up_pod(dice: random.Random, number: int) -> Pod:
    age = dice.choice([MINUTE, 15 * MINUTE, 40 * MINUTE, 9 * HOUR, 9 * HOUR])
    end = dice.choice([None, -HOUR, -2 * MINUTE, timedelta(), MINUTE, HOUR])
    return replace(
        POD,
        pod_id=f"p{number}",
        status=dice.choice([PodStatus.RUNNING] * 4 + list(PodStatus)),
        owner=dice.choice([OURS, OURS, OURS, None, "", "owner-2", "owner-12", "x"]),
        intent_id=dice.choice(["3f9a2c1d00000000"] * 4 + ["3f9a2c1d", None, ""]),
        lease_ends_at=None if end is None else NOW + end,
        started_at=dice.choice([NOW - age, NOW - age, None]),
        uptime_seconds=dice.choice([int(age.total_seconds()), None]),
        is_locked=dice.random() < 0.1,
        volume_gb=dice.choice([0, 50]),
        network_volume_id=dice.choice(["", "vol1"]),
    )


def test_ten_thousand_made_up_fleets_lose_no_pod_that_should_live() -> None:
    counts: dict[Cause, int] = dict.fromkeys(Cause, 0)
    for pods, policy, observations in made_up_worlds(10_000):
        reaps = decide(
            pods, owner=OURS, now=NOW, policy=policy, observations=observations
        )

        decided = {reap.pod.pod_id for reap in reaps}
        assert len(decided) == len(reaps)
        for reap in reaps:
            counts[reap.cause] += 1
            assert_may_be_ended(reap, policy, observations)
        for pod in pods:
            is_ours = pod.owner == OURS and bool(pod.intent_id)
            ends_at = pod.lease_ends_at
            if is_ours and ends_at and pod.status.is_billed:
                assert (ends_at + policy.grace > NOW) or pod.pod_id in decided

    assert min(counts.values()) > 50, counts


def assert_may_be_ended(
    reap: Reap, policy: ReapPolicy, observations: list[Observation]
) -> None:
    pod = reap.pod
    assert pod.owner == OURS
    assert pod.intent_id
    assert pod.status is not PodStatus.TERMINATED
    assert (reap.action is ReapAction.REPORT) is pod.is_locked
    assert reap.saves_usd_per_hour >= 0
    if reap.cause is Cause.IDLE:
        assert_was_idle(pod, policy, observations)
        return
    assert pod.lease_ends_at is not None
    assert pod.lease_ends_at + policy.grace <= NOW
    if reap.cause is Cause.STOPPED_LONG:
        assert pod.status is PodStatus.STOPPED
        assert policy.terminate_stopped_after is not None
    else:
        assert pod.status.is_billed


def assert_was_idle(
    pod: Pod, policy: ReapPolicy, observations: list[Observation]
) -> None:
    assert pod.status is PodStatus.RUNNING
    assert policy.idle_window is not None
    begins_at = NOW - policy.idle_window
    assert pod.started_at is None or pod.started_at <= begins_at
    seen = [o for o in observations if o.pod_id == pod.pod_id]
    within = [o.gpu_percent for o in seen if o.observed_at > begins_at]
    assert len(within) >= policy.min_observations
    assert all(percent is not None and percent < 5 for percent in within)
    assert any(o.observed_at <= begins_at for o in seen)
