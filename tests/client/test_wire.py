from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_client import (
    CloudType,
    DesiredStatus,
    GPUUtilization,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
    ProtocolError,
    SSHAddress,
    Stock,
    marks,
    wire,
)
from runpod_client.dialects import graphql_records as records
from runpod_client.dialects import graphql_wire
from support.runpod_script import account_row, gpu_type_rows, pod_row


def parse(row: dict[str, Any]) -> Pod:
    body = msgspec.json.encode(row)
    record = wire.decode(body, records.WirePod, operation="findPod")
    return graphql_wire.parse_pod(record)


def test_running_pod_is_read_whole() -> None:
    row = pod_row("50qynxzilsxoey", "trainer", env=["A=1", "B=x=y", "C"])

    pod = parse(row)

    assert pod == Pod(
        pod_id="50qynxzilsxoey",
        name="trainer",
        status=PodStatus.RUNNING,
        status_reason="Rented by User: Sun Nov 01 2026 00:00:00 GMT+0000",
        desired=DesiredStatus.RUNNING,
        wire_status="RUNNING",
        gpu_type="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        image="img",
        price_usd_per_hour=Decimal("0.69"),
        cloud_type=CloudType.SECURE,
        machine_id="hpvdausak8xb",
        data_center_id="EU-RO-1",
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        started_at=datetime(2026, 11, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        uptime_seconds=61,
        volume_gb=10,
        container_disk_gb=20,
        memory_gb=Decimal(62),
        vcpu_count=Decimal("8.5"),
        ports=(
            PortMapping(
                private_port=22,
                public_port=10341,
                ip="203.0.113.7",
                is_public=True,
                protocol=Protocol.TCP,
            ),
            PortMapping(
                private_port=8188,
                public_port=60141,
                ip="100.65.0.9",
                is_public=False,
                protocol=Protocol.HTTP,
            ),
        ),
        gpus=(GPUUtilization(gpu_id="GPU-1", gpu_percent=7, memory_percent=3),),
        env={"A": "1", "B": "x=y", "C": ""},
        asked_ports=("22/tcp", "8188/http"),
        proxy_user="50qynxzilsxoey-64410065",
    )
    assert pod.ssh_address == SSHAddress(host="203.0.113.7", port=10341)


@pytest.mark.parametrize(
    ("desired", "has_runtime", "last_change", "expected"),
    [
        ("RUNNING", True, "", (PodStatus.RUNNING, "")),
        (
            "RUNNING",
            False,
            "",
            (PodStatus.STARTING, "no report from the host yet"),
        ),
        ("RUNNING", False, "Rented by User", (PodStatus.STARTING, "Rented by User")),
        ("CREATED", False, "", (PodStatus.STARTING, "CREATED")),
        ("RESTARTING", True, "", (PodStatus.STARTING, "RESTARTING")),
        ("EXITED", True, "Exited by user: x", (PodStatus.STOPPED, "Exited by user: x")),
        ("EXITED", False, "Outbid: x", (PodStatus.STOPPED, "Outbid: x")),
        ("PAUSED", False, "", (PodStatus.STOPPED, "PAUSED")),
        ("DEAD", False, "", (PodStatus.STOPPED, "DEAD")),
        (
            "EXITED",
            False,
            "TERMINATED BY user: x",
            (PodStatus.TERMINATED, "TERMINATED BY user: x"),
        ),
        ("TERMINATED", False, "Outbid: x", (PodStatus.TERMINATED, "Outbid: x")),
        ("MELTED", True, "x", (PodStatus.UNKNOWN, "RunPod calls it 'MELTED'")),
    ],
)
def test_status_is_what_a_pod_is_and_not_what_is_wished(
    desired: str,
    *,
    has_runtime: bool,
    last_change: str,
    expected: tuple[PodStatus, str],
) -> None:
    found = graphql_wire.parse_status(desired, last_change, has_runtime=has_runtime)

    assert found == expected


def test_stale_runtime_of_a_stopped_pod_is_ignored() -> None:
    pod = parse(pod_row("p", "x", desired="EXITED"))

    assert pod.status is PodStatus.STOPPED
    assert (pod.ports, pod.gpus, pod.uptime_seconds) == ((), (), None)
    assert pod.ssh_address is None


def test_negative_uptime_right_after_a_restart_is_zero() -> None:
    row = pod_row("p", "x")
    row["runtime"]["uptimeInSeconds"] = -3

    assert parse(row).uptime_seconds == 0


@pytest.mark.parametrize(
    ("pod_type", "expected"),
    [("INTERRUPTABLE", True), ("BID", True), ("RESERVED", False), (None, False)],
)
def test_spot_pods_are_told_by_their_type(
    pod_type: str | None, *, expected: bool
) -> None:
    assert parse(pod_row("p", "x") | {"podType": pod_type}).is_spot is expected


def test_port_rows_without_address_or_of_unknown_type_are_left_out() -> None:
    row = pod_row("p", "x")
    whole = row["runtime"]["ports"][0]
    row["runtime"]["ports"] = [
        None,
        whole | {"ip": None},
        whole | {"publicPort": None},
        whole | {"type": "udp"},
    ]

    assert parse(row).ports == ()


def test_pod_with_nothing_but_id_and_status_is_readable() -> None:
    pod = parse({"id": "p", "desiredStatus": "RUNNING", "machine": None})

    assert pod == Pod(
        pod_id="p",
        name="",
        status=PodStatus.STARTING,
        status_reason="no report from the host yet",
        desired=DesiredStatus.RUNNING,
        wire_status="RUNNING",
        gpu_type="",
        gpu_count=0,
        image="",
        price_usd_per_hour=Decimal(0),
    )


def test_price_falls_back_to_the_adjusted_one() -> None:
    row = pod_row("p", "x") | {"costPerHr": 0, "adjustedCostPerHr": 0.44}

    assert parse(row).price_usd_per_hour == Decimal("0.44")


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"desiredStatus": None},
        {"costPerHr": "NaN"},
        {"volumeInGb": "1e999999"},
        {"createdAt": "yesterday"},
        {"env": {"A": "1"}},
        {"runtime": []},
        {"gpuCount": "two"},
    ],
)
def test_malformed_pod_is_a_protocol_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(pod_row("p", "x") | change)


@pytest.mark.parametrize(
    ("wire_status", "last_change", "expected"),
    [
        ("RUNNING", "", DesiredStatus.RUNNING),
        ("CREATED", "", DesiredStatus.RUNNING),
        ("EXITED", "Exited by Runpod: x", DesiredStatus.STOPPED),
        ("EXITED", "Terminated by user: x", DesiredStatus.TERMINATED),
        ("MELTED", "", DesiredStatus.UNKNOWN),
    ],
)
def test_wish_is_told_apart_from_the_state(
    wire_status: str, last_change: str, expected: DesiredStatus
) -> None:
    row = pod_row("p", "x", desired=wire_status) | {"lastStatusChange": last_change}

    pod = parse(row)

    assert (pod.desired, pod.wire_status) == (expected, wire_status)


def test_marks_are_read_from_name_and_environment() -> None:
    end = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
    entries = marks.render_marks(owner="me", intent_id="3f9a2c1d77", lease_ends_at=end)
    name = marks.render_name("trainer", intent_id="3f9a2c1d77", lease_ends_at=end)

    pod = parse(pod_row("p", name, env=[f"{k}={v}" for k, v in entries.items()]))

    assert pod.name == "trainer"
    assert (pod.owner, pod.intent_id) == ("me", "3f9a2c1d77")
    assert pod.lease_ends_at == end


def test_gpu_type_is_offered_once_per_cloud_that_has_it() -> None:
    body = msgspec.json.encode(gpu_type_rows())
    rows = wire.decode(body, list[records.WireGPUType | None], operation="listGpuTypes")

    offers = graphql_wire.parse_gpu_offers(rows, [])

    found = [(o.display_name, o.cloud_type, o.usd_per_gpu_hour) for o in offers]
    assert found == [
        ("RTX 4090", CloudType.SECURE, Decimal("0.69")),
        ("RTX 4090", CloudType.COMMUNITY, Decimal("0.34")),
        ("H100 SXM", CloudType.SECURE, Decimal("3.29")),
        ("H100 SXM", CloudType.COMMUNITY, Decimal("2.69")),
        ("L4", CloudType.SECURE, Decimal("0.49")),
    ]
    assert [o.minimum_bid_usd_per_gpu_hour for o in offers[1:3]] == [
        Decimal("0.2"),
        None,
    ]
    assert [o.stock for o in offers[::2]] == [Stock.HIGH, Stock.LOW, Stock.NONE]
    assert [o.max_gpu_count for o in offers[:2]] == [8, 4]


def test_stock_by_data_center_is_that_of_the_same_cloud() -> None:
    rows = [
        records.WireGPUType(id="L4", secure_cloud=True, community_cloud=True),
        records.WireGPUType(id="A40", secure_cloud=True),
    ]
    high = records.WireAvailability(gpu_type_id="L4", stock_status="High")
    gone = records.WireAvailability(
        gpu_type_id="L4", available=False, stock_status="Low"
    )
    centers = [
        records.WireDataCenter(id="EU-RO-1", secure=[high, None], community=[gone]),
        records.WireDataCenter(id="US-TX-3", secure=[gone]),
        None,
    ]

    secure, community, other = graphql_wire.parse_gpu_offers(rows, centers)

    assert secure.data_centers == {"EU-RO-1": Stock.HIGH, "US-TX-3": Stock.NONE}
    assert community.data_centers == {"EU-RO-1": Stock.NONE}
    assert other.data_centers == {}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("High", Stock.HIGH),
        ("MEDIUM", Stock.MEDIUM),
        ("None", Stock.NONE),
        (None, Stock.NONE),
        ("Plenty", Stock.UNKNOWN),
    ],
)
def test_stock_level_that_is_not_known_is_not_taken_for_none(
    word: str | None, expected: Stock
) -> None:
    assert wire.parse_stock(word) is expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("100.64.0.0", True),
        ("100.127.255.255", True),
        ("100.63.255.255", False),
        ("100.128.0.1", False),
        ("203.0.113.7", False),
        ("", False),
        ("100", False),
    ],
)
def test_carrier_grade_addresses_are_told(ip: str, *, expected: bool) -> None:
    assert wire.is_carrier_grade(ip) is expected


def test_account_without_id_is_a_protocol_error() -> None:
    body = msgspec.json.encode(account_row())
    record = wire.decode(body, records.WireAccount, operation="getAccount")

    account = graphql_wire.parse_account(record)

    assert account.balance_usd == Decimal("12.3456")
    with pytest.raises(ProtocolError):
        graphql_wire.parse_account(records.WireAccount())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)  # other work shares the machine
@given(document=st.dictionaries(st.sampled_from(sorted(pod_row("p", "x"))), JSON))
def test_any_answer_is_a_pod_or_a_protocol_error(document: dict[str, Any]) -> None:
    body = msgspec.json.encode({**pod_row("p", "x"), **document})

    try:
        pod = parse(msgspec.json.decode(body))
    except ProtocolError:
        return

    assert isinstance(replace(pod), Pod)


@settings(deadline=None)  # other work shares the machine
@given(body=st.binary())
def test_any_bytes_are_an_answer_or_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(body, records.WirePod, operation="findPod")


@settings(deadline=None)  # other work shares the machine
@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_the_wire(moment: datetime) -> None:
    assert wire.parse_time(moment.isoformat().replace("+00:00", "Z")) == moment
