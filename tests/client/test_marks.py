from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client import marks
from runpod_client.marks import Marks, parse_marks, render_marks, render_name

INTENT = "3f9a2c1d7be04455"
END = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
MOMENTS = st.datetimes(
    min_value=datetime(2024, 1, 1),  # noqa: DTZ001  # made aware by the strategy
    max_value=datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


@given(
    name=st.text(min_size=1, max_size=40),
    end=st.none() | MOMENTS,
    bid=st.none() | st.decimals("0.01", "99", places=3),
)
def test_what_is_marked_is_read_back(
    name: str, end: datetime | None, bid: Decimal | None
) -> None:
    wire_name = render_name(name, intent_id=INTENT, lease_ends_at=end)
    env = render_marks(
        owner="me", intent_id=INTENT, lease_ends_at=end, bid_usd_per_gpu_hour=bid
    )

    read = parse_marks(wire_name, env)

    assert (read.name, read.owner, read.intent_id) == (name, "me", INTENT)
    assert read.bid_usd_per_gpu_hour == bid
    if end is None:
        assert read.lease_ends_at is None
    else:
        assert read.lease_ends_at is not None
        assert timedelta() <= read.lease_ends_at - end < timedelta(minutes=1)


def test_longest_mark_has_the_length_it_says() -> None:
    wire_name = render_name("x", intent_id=INTENT, lease_ends_at=END)

    assert wire_name == "x [3f9a2c1d 2026-11-22T14:05Z]"
    assert len(wire_name) - 1 == marks.MARK_LENGTH


def test_end_in_the_name_counts_more_than_the_one_given_at_creation() -> None:
    env = render_marks(owner="me", intent_id=INTENT, lease_ends_at=END)

    assert parse_marks("x [3f9a2c1d 2026-11-23T08:00Z]", env).lease_ends_at == datetime(
        2026, 11, 23, 8, tzinfo=UTC
    )
    assert parse_marks("x [3f9a2c1d]", env).lease_ends_at is None
    assert parse_marks("renamed by hand", env).lease_ends_at == END


@pytest.mark.parametrize(
    "wire_name", ["", "x", "x [3f9a2c1d", "[3f9a2c1d]", "x [3F9A2C1D]", "x [3f9a2c1d ]"]
)
def test_name_without_a_mark_is_taken_as_it_is(wire_name: str) -> None:
    assert parse_marks(wire_name, {}) == Marks(
        name=wire_name,
        owner=None,
        intent_id=None,
        lease_ends_at=None,
        bid_usd_per_gpu_hour=None,
    )


def test_pod_listed_without_its_environment_is_known_by_eight_digits() -> None:
    read = parse_marks("x [3f9a2c1d]", {})

    assert (read.owner, read.intent_id) == (None, "3f9a2c1d")


@pytest.mark.parametrize("text", ["soon", "2026-13-01T00:00Z", "", "none"])
def test_unreadable_end_counts_as_none(text: str) -> None:
    assert parse_marks("x", {marks.LEASE: text}).lease_ends_at is None


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "NaN", "Infinity"])
def test_unreadable_bid_counts_as_none(text: str) -> None:
    assert parse_marks("x", {marks.BID: text}).bid_usd_per_gpu_hour is None
