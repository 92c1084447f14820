import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import Pod, PodStatus
from runpod_client.changes import (
    Change,
    ChangeKind,
    Tracker,
    render_change,
)
from runpod_client.model import GPUUtilization, PortMapping, Protocol

STARTED_AT = datetime(2026, 11, 1, tzinfo=UTC)
FLEET = 5000
IDS = [f"pod{number}" for number in range(6)]


def make_pod(pod_id: str = "a", **given: object) -> Pod:
    pod = Pod(
        pod_id=pod_id,
        name=f"name-{pod_id}",
        status=PodStatus.RUNNING,
        gpu_type="NVIDIA L4",
        gpu_count=1,
        image="img",
        price_usd_per_hour=Decimal("0.49"),
        started_at=STARTED_AT,
        uptime_seconds=100,
        gpus=(GPUUtilization(gpu_id="GPU-1", gpu_percent=3, memory_percent=1),),
        ports=(
            PortMapping(
                private_port=22,
                public_port=10341,
                ip="203.0.113.7",
                is_public=True,
                protocol=Protocol.TCP,
            ),
        ),
        env={"TOKEN": "planted-secret"},
    )
    return replace(pod, **given)  # type: ignore[arg-type]  # a test's own fields


def kinds(changes: tuple[Change, ...]) -> list[tuple[str, ChangeKind]]:
    return [(change.pod.pod_id, change.kind) for change in changes]


def test_first_listing_makes_every_pod_appear_in_its_order() -> None:
    changes = Tracker().observe([make_pod("b"), make_pod("a")])

    assert kinds(changes) == [("b", ChangeKind.APPEARED), ("a", ChangeKind.APPEARED)]


def test_growing_uptime_and_gpu_load_are_no_change() -> None:
    tracker = Tracker()
    tracker.observe([make_pod()])
    busier = GPUUtilization(gpu_id="GPU-1", gpu_percent=97, memory_percent=80)

    changes = tracker.observe([make_pod(uptime_seconds=160, gpus=(busier,))])

    assert changes == ()


def test_change_names_the_fields_and_keeps_both_sides() -> None:
    tracker = Tracker()
    before = make_pod()
    after = make_pod(status=PodStatus.STOPPED, status_reason="Outbid: now", ports=())
    tracker.observe([before])

    changes = tracker.observe([after])

    assert changes == (
        Change(
            kind=ChangeKind.CHANGED,
            pod=after,
            before=before,
            fields=("status", "status_reason", "ports"),
        ),
    )


def test_container_that_started_anew_is_a_change_of_uptime() -> None:
    tracker = Tracker()
    tracker.observe([make_pod(uptime_seconds=500)])

    changes = tracker.observe([make_pod(uptime_seconds=2)])

    assert [change.fields for change in changes] == [("uptime_seconds",)]


def test_pod_is_gone_only_at_the_second_absence_in_a_row() -> None:
    tracker = Tracker()
    tracker.observe([make_pod("a"), make_pod("b")])

    first = tracker.observe([make_pod("b")])
    back = tracker.observe([make_pod("a"), make_pod("b")])
    again = tracker.observe([make_pod("b")])
    second = tracker.observe([make_pod("b")])
    after = tracker.observe([make_pod("b")])

    assert (first, back, again, after) == ((), (), (), ())
    assert kinds(second) == [("a", ChangeKind.GONE)]


def test_partial_listing_counts_no_absence_and_forgives_none() -> None:
    tracker = Tracker()
    tracker.observe([make_pod("a"), make_pod("b")])

    partial = [tracker.observe([make_pod("b")], is_complete=False) for _ in range(5)]
    first = tracker.observe([make_pod("b")])
    between = tracker.observe([], is_complete=False)
    second = tracker.observe([make_pod("b")])

    assert partial == [()] * 5
    assert (first, between) == ((), ())
    assert kinds(second) == [("a", ChangeKind.GONE)]


def test_pod_that_comes_back_after_it_was_gone_appears_again() -> None:
    tracker = Tracker()
    tracker.observe([make_pod()])
    tracker.observe([])
    tracker.observe([])

    changes = tracker.observe([make_pod()])

    assert kinds(changes) == [("a", ChangeKind.APPEARED)]


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(IDS)), st.booleans()), min_size=1, max_size=30
    )
)
def test_listings_of_any_kind_never_lose_a_live_pod_nor_keep_a_dead_one(
    listings: list[tuple[set[str], bool]],
) -> None:
    tracker = Tracker()
    alive: set[str] = set()
    history: dict[str, int] = {}

    for present, is_complete in listings:
        changes = tracker.observe(
            [make_pod(pod_id) for pod_id in sorted(present)], is_complete=is_complete
        )

        # written the other way round than the tracker: absences since last seen
        for pod_id in present:
            history[pod_id] = 0
        for pod_id in alive - present:
            history[pod_id] += is_complete
        gone = {pod_id for pod_id in alive - present if history[pod_id] == 2}
        assert {c.pod.pod_id for c in changes if c.kind is ChangeKind.GONE} == gone, (
            listings
        )
        assert {
            c.pod.pod_id for c in changes if c.kind is ChangeKind.APPEARED
        } == present - alive, listings
        alive = (alive | present) - gone
        assert {pod.pod_id for pod in tracker.pods} == alive


def test_rendered_change_tells_states_with_the_reason_and_no_secret() -> None:
    tracker = Tracker()
    tracker.observe([make_pod()])
    (stopped,) = tracker.observe(
        [
            make_pod(
                status=PodStatus.STOPPED,
                status_reason="Outbid: Sun Nov 01 2026",
                env={"TOKEN": "another-planted-secret"},
            )
        ]
    )
    tracker.observe([])
    (gone,) = tracker.observe([])

    assert render_change(stopped) == (
        "name-a (a) status RUNNING -> STOPPED, env changed (Outbid: Sun Nov 01 2026)"
    )
    assert render_change(gone) == "name-a (a) gone: STOPPED"
    assert "planted" not in repr(stopped)


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("changed_one_in", [1, 10], ids=["all-change", "some-change"])
def test_five_thousand_pods_are_compared_within_a_tenth_of_a_second_of_cpu(
    changed_one_in: int,
) -> None:
    before = [make_pod(f"pod{number}") for number in range(FLEET)]
    # every hundredth is missing; new records, as from a wire
    listing = [
        make_pod(
            f"pod{number}",
            uptime_seconds=160,
            status=PodStatus.RUNNING if number % changed_one_in else PodStatus.STOPPED,
        )
        for number in range(1, FLEET + 1)
        if number % 100
    ]
    spent = []

    for _ in range(3):
        tracker = Tracker()
        tracker.observe(before)
        tracker.observe([])
        started = time.process_time()
        changes = tracker.observe(listing)
        spent.append(time.process_time() - started)

    found = [change.kind for change in changes]
    assert found.count(ChangeKind.GONE) == FLEET // 100
    assert found.count(ChangeKind.APPEARED) == 0
    wanted = [pod for pod in listing if pod.status is PodStatus.STOPPED]
    assert found.count(ChangeKind.CHANGED) == len(wanted)
    # the fastest of three: a busy machine makes the others slower than they are
    print(f"{FLEET} pods compared in {min(spent):.3f} s of CPU")  # noqa: T201  # figures
    assert min(spent) <= 0.1, f"{min(spent):.3f} s"
