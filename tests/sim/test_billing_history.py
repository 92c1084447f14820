from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_sim.ledger import Cost, Ledger, Line
from runpod_sim.rest_billing import SIZES, bucket_end, bucket_start
from support.pods import Pods

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
LINE = Line("account", "pod", Cost.GPU)
instants = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(instants, st.sampled_from(SIZES))
def test_every_instant_lies_in_its_bucket(instant: datetime, size: str) -> None:
    start = bucket_start(instant, size)
    end = bucket_end(start, size)

    assert start <= instant < end
    assert bucket_start(end, size) == end
    assert bucket_start(end - timedelta(microseconds=1), size) == start


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 9)), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_buckets_add_up_to_what_was_charged(
    changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    ledger = Ledger()
    for second, rate in sorted(changes):
        ledger.set_rate(LINE, Fraction(rate), BEGIN + timedelta(seconds=second))
    edges = [BEGIN + timedelta(seconds=s) for s in sorted({0, *cuts, 20_000})]

    parts = [
        amount
        for begin, end in pairwise(edges)
        for _, _, amount in ledger.between("account", {Cost.GPU}, begin, end)
    ]

    assert sum(parts) == ledger.charged_usd("pod", Cost.GPU, edges[-1])


def test_history_splits_a_bill_by_day_and_kind(pods: Pods) -> None:
    pod_id = pods.deploy(cloudType="SECURE", containerDiskInGb=73)
    pods.sim.advance(2 * 86_400)

    _, by_pod = pods.sim.rest("GET", "billing/pods?bucketSize=day")
    _, whole = pods.sim.rest("GET", "billing?bucketSize=day")

    days = by_pod["records"]
    assert {record["podId"] for record in days} == {pod_id}
    assert len(days) == 3
    # A whole day of an L4 at $0.49, and of 73 GB at a hundredth of a dollar an hour.
    assert days[1]["gpuAmount"] == pytest.approx(11.76)
    assert days[1]["diskAmount"] == pytest.approx(0.24)
    assert by_pod["metadata"]["uniquePodCount"] == 1
    assert whole["metadata"]["totals"]["podGpuAmount"] == pytest.approx(
        by_pod["metadata"]["totals"]["gpuAmount"], abs=1e-3
    )
    billed = pods.sim.admin("GET", "billing")["total_usd"]
    assert Decimal(str(by_pod["metadata"]["totals"]["totalAmount"])) == pytest.approx(
        Decimal(str(billed)), abs=Decimal("0.001")
    )


def test_history_shows_what_network_volumes_cost(pods: Pods) -> None:
    body = {"name": "v", "size": 730, "dataCenter": "EU-RO-1"}
    _, volume = pods.sim.rest("POST", "network-volumes", body)
    body = {**body, "type": "HIGH_PERFORMANCE", "size": 73}
    _, fast = pods.sim.rest("POST", "network-volumes", body)
    pods.sim.advance(3600)

    _, answer = pods.sim.rest("GET", "billing/network-volumes?bucketSize=year")
    _, one = pods.sim.rest(
        "GET", f"billing/network-volumes?networkVolumeId={volume['id']}"
    )

    amounts = {r["networkVolumeId"]: r for r in answer["records"]}
    assert amounts[volume["id"]]["standardAmount"] == pytest.approx(0.07, rel=0.01)
    assert amounts[fast["id"]]["highPerformanceAmount"] == pytest.approx(
        0.014, rel=0.01
    )
    assert one["metadata"]["query"]["networkVolumeId"] == volume["id"]
    assert {r["networkVolumeId"] for r in one["records"]} == {volume["id"]}
