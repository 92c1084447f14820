from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.errors import LeaseError, NotFoundError, TransportError
from runpod_client.leases import (
    MAX_LEASE,
    LeaseChange,
    LeaseKeeper,
    parse_lease,
    read_lease,
    render_lease,
)
from runpod_client.model import Pod
from support.creations import DIALECTS, OWNER, Desk, open_desk
from support.sim import SimServer, serving

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A simulator whose pods never come up: their names matter here."""
    with serving(tmp_path_factory.mktemp("sim"), "--pull-seconds", "9999") as server:
        yield server


@pytest.fixture(params=DIALECTS)
def desk(
    sim: SimServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """An account of the test's own, over each wire."""
    made = open_desk(
        sim.base_url,
        tmp_path,
        key=f"rpa_{tmp_path.name.replace('_', '')}",
        dialect=request.param,
        now=lambda: NOW,
    )
    yield made
    made.terminate_all()
    made.close()


def keeper(desk: Desk, *, owner: str = OWNER) -> LeaseKeeper:
    slept: list[float] = []
    return LeaseKeeper(desk.cloud, owner=owner, now=desk.now, sleep=slept.append)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", 2 * HOUR),
        ("90m", timedelta(minutes=90)),
        ("1d12h", 36 * HOUR),
        ("1d1m", timedelta(days=1, minutes=1)),
        (" 2H ", 2 * HOUR),
        ("none", None),
        ("NONE", None),
    ],
)
def test_length_of_a_lease_is_read(text: str, expected: timedelta | None) -> None:
    assert parse_lease(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "2", "2 h", "h", "-2h", "2h1d", "2.5h", "0m", "0h0m", "367d", "2hours"],
)
def test_what_is_no_length_of_a_lease_is_refused(text: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_lease(text)

    assert caught.value.hint


@given(st.integers(min_value=1, max_value=MAX_LEASE // timedelta(minutes=1)))
def test_every_length_is_written_as_it_is_read(minutes: int) -> None:
    length = timedelta(minutes=minutes)

    assert parse_lease(render_lease(length)) == length


def test_lease_is_set_extended_and_dropped_on_the_pod_itself(desk: Desk) -> None:
    made = desk.create("trainer", lease=2 * HOUR)
    ends_at = made.lease_ends_at
    assert ends_at is not None

    steps: list[Callable[[Pod], LeaseChange]] = [
        lambda pod: keeper(desk).extend(pod, HOUR),
        lambda pod: keeper(desk).set_end(pod, ends_at - HOUR),
        lambda pod: keeper(desk).drop(pod),
        lambda pod: keeper(desk).set_end(pod, ends_at + 5 * HOUR),
    ]
    changes = [step(desk.client().get_pod(made.pod_id)) for step in steps]

    assert [change.after.ends_at for change in changes] == [
        ends_at + HOUR,
        ends_at - HOUR,
        None,
        ends_at + 5 * HOUR,
    ]
    assert [change.added for change in changes] == [HOUR, -2 * HOUR, None, None]
    (pod,) = desk.cloud.list_pods()
    assert (pod.name, pod.owner, pod.intent_id) == ("trainer", OWNER, made.intent_id)
    assert pod.lease_ends_at == ends_at + 5 * HOUR


def test_changing_a_lease_restarts_nothing(desk: Desk) -> None:
    made = desk.create("trainer")
    (before,) = desk.cloud.list_pods()

    change = keeper(desk).extend(made, HOUR)

    (after,) = desk.cloud.list_pods()
    assert not change.was_restarted
    assert after.started_at == before.started_at


def test_overdue_lease_is_extended_from_now_on(desk: Desk) -> None:
    made = desk.create("trainer")
    overdue = replace(made, lease_ends_at=NOW - 5 * HOUR)

    change = keeper(desk).extend(overdue, HOUR)

    assert change.before.is_over
    assert change.after.remaining is not None
    assert HOUR <= change.after.remaining < HOUR + timedelta(minutes=1)


def test_pod_without_an_end_cannot_be_extended(desk: Desk) -> None:
    made = desk.create("trainer", lease=None)

    with pytest.raises(LeaseError, match="never ends") as caught:
        keeper(desk).extend(made, HOUR)

    assert f"lease set {made.pod_id}" in caught.value.hint


def test_lease_of_a_foreign_pod_is_not_touched(desk: Desk) -> None:
    made = desk.create("trainer")

    for pod in (made, replace(made, owner=None), replace(made, intent_id=None)):
        owner = "somebody-else" if pod is made else OWNER
        with pytest.raises(LeaseError, match="not rented by this owner"):
            keeper(desk, owner=owner).set_end(pod, NOW + HOUR)

    (pod,) = desk.cloud.list_pods()
    assert pod.lease_ends_at == made.lease_ends_at


def test_lease_beyond_a_year_is_refused(desk: Desk) -> None:
    made = desk.create("trainer")

    with pytest.raises(LeaseError, match="too long"):
        keeper(desk).extend(made, MAX_LEASE)


def test_lease_of_a_pod_that_is_gone_says_so(desk: Desk) -> None:
    made = desk.create("trainer")
    desk.cloud.terminate_pod(made.pod_id)

    with pytest.raises(NotFoundError):
        keeper(desk).extend(made, HOUR)


def test_lost_answer_of_a_change_is_settled_by_reading_it_back(
    desk: Desk, sim: SimServer
) -> None:
    made = desk.create("trainer")
    sim.add_fault("lost_answer", operation="edit")

    change = keeper(desk).extend(made, HOUR)

    assert change.added == HOUR


def test_change_that_never_arrived_fails_with_its_own_reason(
    desk: Desk, sim: SimServer
) -> None:
    made = desk.create("trainer")
    sim.add_fault("drop_connection", operation="edit", times=9)
    try:
        with pytest.raises(TransportError):
            keeper(desk).extend(made, HOUR)
    finally:
        sim.admin("DELETE", "faults")

    (pod,) = desk.cloud.list_pods()
    assert pod.lease_ends_at == made.lease_ends_at


def test_lease_is_over_at_its_very_end(desk: Desk) -> None:
    made = desk.create("trainer")
    ends_at = made.lease_ends_at
    assert ends_at is not None

    views = [
        read_lease(made, now=now)
        for now in (ends_at - timedelta(seconds=1), ends_at, ends_at + HOUR)
    ]

    assert [lease.is_over for lease in views] == [False, True, True]
    assert views[2].remaining == -HOUR
    assert not read_lease(replace(made, lease_ends_at=None), now=NOW).is_over
