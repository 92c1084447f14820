from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_client import (
    CapabilityMissingError,
    CloudType,
    Constraints,
    DesiredStatus,
    GPUUtilization,
    LogLine,
    NotFoundError,
    Placement,
    Pod,
    PodEdit,
    PodSpec,
    PodStatus,
    PortMapping,
    Protocol,
    ProtocolError,
    RejectedError,
    Secret,
    SSHAddress,
    Stock,
    Template,
)
from runpod_client.dialects import rest_bodies, rest_records, rest_wire
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.transport import Repetition, Transport
from runpod_client.wire import decode
from support.http_server import Answer, ScriptedServer, json_answer

SPEC = PodSpec(
    name="trainer [3f9a2c1d]",
    place=Constraints(),
    image="img",
    volume_gb=10,
    ports=("22/tcp", "8188/http"),
    env={"A": "1"},
)
PLACE = Placement(
    gpu_type="NVIDIA L4",
    gpu_count=2,
    cloud_type=CloudType.SECURE,
    data_center_ids=("EU-RO-1", "US-TX-3"),
    min_cuda="12.8",
    price_usd_per_hour=Decimal("0.98"),
)


def pod_row(**changes: Any) -> dict[str, Any]:
    """Return the example of a pod in RunPod's OpenAPI document, in short."""
    row: dict[str, Any] = {
        "id": "7h9k2m4n6p",
        "name": "trainer [3f9a2c1d 2026-11-22T14:05Z]",
        "image": "img",
        "args": "",
        "disk": 50,
        "ports": ["8888/http", "22/tcp"],
        "env": {"RUNPOD_CLIENT_OWNER": "me", "RUNPOD_CLIENT_INTENT": "3f9a2c1d77"},
        "registry": None,
        "status": "RUNNING",
        "actions": ["stop", "restart", "terminate"],
        "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
        "cloud": "SECURE",
        "dataCenterId": "US-KS-2",
        "cudaVersion": "12.8",
        "ssh": {
            "proxy": {
                "host": "ssh.runpod.io",
                "port": 22,
                "username": "7h9k2m4n6p-64411eb2",
                "command": "ssh 7h9k2m4n6p-64411eb2@ssh.runpod.io",
            },
            "direct": None,
        },
        "template": None,
        "cost": 0.44,
        "locked": False,
        "globalNetworking": {"enabled": False},
        "runtime": {
            "uptime": 3600,
            "gpus": [{"util": 94, "memoryUtil": 78}],
            "ports": [
                {"private": 22, "public": 34446, "type": "tcp", "ip": "195.26.233.3"},
                {"private": 8888, "public": 60141, "type": "http", "ip": None},
            ],
        },
        "createdAt": "2026-06-01T12:00:00Z",
        "startedAt": "2026-06-01T12:02:00Z",
    }
    return row | changes


def parse(row: dict[str, Any]) -> Pod:
    body = msgspec.json.encode(row)
    return rest_wire.parse_pod(decode(body, rest_records.RestPod, operation="findPod"))


@pytest.fixture
def cloud(http_server: ScriptedServer) -> Iterator[RestV2Cloud]:
    transport = Transport(
        base_url=http_server.base_url,
        api_key=Secret("rpa_planted0secret0value"),
        timeout_seconds=5,
        repetition=Repetition(initial_seconds=0.01),
    )
    made = RestV2Cloud(transport, log_seconds=2)
    yield made
    made.close()


def problem(status: int, detail: str) -> Answer:
    return json_answer(
        {"title": "T", "status": status, "detail": detail}, status=status
    )


def test_running_pod_is_read_whole() -> None:
    pod = parse(pod_row())

    assert pod == Pod(
        pod_id="7h9k2m4n6p",
        name="trainer",
        status=PodStatus.RUNNING,
        desired=DesiredStatus.RUNNING,
        wire_status="RUNNING",
        gpu_type="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        image="img",
        price_usd_per_hour=Decimal("0.44"),
        cloud_type=CloudType.SECURE,
        data_center_id="US-KS-2",
        created_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
        started_at=datetime(2026, 6, 1, 12, 2, tzinfo=UTC),
        uptime_seconds=3600,
        volume_gb=20,
        container_disk_gb=50,
        ports=(
            PortMapping(
                private_port=22,
                public_port=34446,
                ip="195.26.233.3",
                is_public=True,
                protocol=Protocol.TCP,
            ),
            PortMapping(
                private_port=8888,
                public_port=60141,
                ip="",
                is_public=False,
                protocol=Protocol.HTTP,
            ),
        ),
        gpus=(GPUUtilization(gpu_id="0", gpu_percent=94, memory_percent=78),),
        env={"RUNPOD_CLIENT_OWNER": "me", "RUNPOD_CLIENT_INTENT": "3f9a2c1d77"},
        asked_ports=("8888/http", "22/tcp"),
        cuda_version="12.8",
        proxy_user="7h9k2m4n6p-64411eb2",
        owner="me",
        intent_id="3f9a2c1d77",
        lease_ends_at=datetime(2026, 11, 22, 14, 5, tzinfo=UTC),
    )
    assert pod.ssh_address == SSHAddress(host="195.26.233.3", port=34446)


@pytest.mark.parametrize(
    ("word", "status", "desired"),
    [
        ("PROVISIONING", PodStatus.STARTING, DesiredStatus.RUNNING),
        ("STARTING", PodStatus.STARTING, DesiredStatus.RUNNING),
        ("RUNNING", PodStatus.RUNNING, DesiredStatus.RUNNING),
        ("ERROR", PodStatus.FAILED, DesiredStatus.RUNNING),
        ("EXITED", PodStatus.STOPPED, DesiredStatus.STOPPED),
        ("TERMINATED", PodStatus.TERMINATED, DesiredStatus.TERMINATED),
        ("MELTED", PodStatus.UNKNOWN, DesiredStatus.UNKNOWN),
    ],
)
def test_status_is_what_a_pod_is_and_the_wish_is_derived(
    word: str, status: PodStatus, desired: DesiredStatus
) -> None:
    pod = parse(pod_row(status=word))

    assert (pod.status, pod.desired, pod.wire_status) == (status, desired, word)


def test_pod_of_unknown_status_counts_as_billed() -> None:
    pod = parse(pod_row(status="MELTED"))

    assert pod.status.is_billed
    assert pod.status_reason == "RunPod calls it 'MELTED'"


def test_spot_pod_is_told_by_its_mark() -> None:
    env = {"RUNPOD_CLIENT_BID": "0.21"}

    assert parse(pod_row(env=env)).is_spot
    assert not parse(pod_row()).is_spot


def test_stopped_pod_has_no_present_start_and_no_ports() -> None:
    pod = parse(pod_row(status="EXITED", startedAt=None, cost=0))

    assert (pod.started_at, pod.ports, pod.uptime_seconds) == (None, (), None)
    assert pod.price_usd_per_hour == 0


def test_tcp_port_behind_carrier_grade_nat_is_not_public() -> None:
    row = pod_row()
    row["runtime"]["ports"][0]["ip"] = "100.65.0.9"

    assert parse(row).ssh_address is None


def test_network_volume_is_told_from_a_volume_disk() -> None:
    mounts = {"network": [{"volumeId": "agv6w2qcg7", "path": "/data"}]}

    pod = parse(pod_row(mounts=mounts))

    assert (pod.network_volume_id, pod.volume_gb) == ("agv6w2qcg7", 0)


def test_pod_with_nothing_but_id_and_status_is_readable() -> None:
    assert parse({"id": "p", "status": "STARTING"}) == Pod(
        pod_id="p",
        name="",
        status=PodStatus.STARTING,
        status_reason="STARTING",
        desired=DesiredStatus.RUNNING,
        wire_status="STARTING",
        gpu_type="",
        gpu_count=0,
        image="",
        price_usd_per_hour=Decimal(0),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"status": None},
        {"cost": "NaN"},
        {"disk": "1e999999"},
        {"createdAt": "yesterday"},
        {"env": ["A=1"]},
        {"runtime": []},
        {"gpu": {"count": "two"}},
    ],
)
def test_malformed_pod_is_a_protocol_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(pod_row(**change))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)  # other work shares the machine
@given(document=st.dictionaries(st.sampled_from(sorted(pod_row())), JSON))
def test_any_answer_is_a_pod_or_a_protocol_error(document: dict[str, Any]) -> None:
    body = msgspec.json.encode({**pod_row(), **document})

    try:
        pod = parse(msgspec.json.decode(body))
    except ProtocolError:
        return

    assert isinstance(replace(pod), Pod)


def test_create_body_has_what_was_wanted_and_nothing_absent() -> None:
    assert rest_bodies.render_create(SPEC, PLACE) == {
        "name": "trainer [3f9a2c1d]",
        "image": "img",
        "gpu": {"id": "NVIDIA L4", "count": 2, "minCudaVersion": "12.8"},
        "cloud": "SECURE",
        "disk": 20,
        "mounts": {"persistent": {"size": 10, "path": "/workspace"}},
        "ports": ["22/tcp", "8188/http"],
        "env": {"A": "1"},
        "dataCenterIds": ["EU-RO-1", "US-TX-3"],
        "startSsh": True,
    }


def test_bare_major_of_cuda_is_written_out() -> None:
    body = rest_bodies.render_create(SPEC, replace(PLACE, min_cuda="12"))

    assert body["gpu"]["minCudaVersion"] == "12.0"


def test_network_volume_takes_the_place_of_a_volume_disk() -> None:
    spec = replace(SPEC, network_volume_id="v1", volume_mount_path="/data")

    body = rest_bodies.render_create(spec, PLACE)

    assert body["mounts"] == {"network": [{"volumeId": "v1", "path": "/data"}]}


def test_volume_disk_that_v2_would_refuse_is_not_made_larger() -> None:
    with pytest.raises(RejectedError, match="below 10 GB"):
        rest_bodies.render_create(replace(SPEC, volume_gb=5), PLACE)


def test_placement_in_no_single_cloud_is_refused() -> None:
    with pytest.raises(RejectedError, match="one cloud at a time"):
        rest_bodies.render_create(SPEC, replace(PLACE, cloud_type=CloudType.ANY))


def test_template_says_no_to_what_v2_would_start_unasked() -> None:
    body = rest_bodies.render_template(
        Template(template_id="", name="bare", image="img")
    )

    assert body == {
        "name": "bare",
        "image": "img",
        "ports": [],
        "env": {},
        "public": False,
        "serverless": False,
        "startSsh": False,
        "startJupyter": False,
    }


def test_what_v2_lacks_is_refused_without_a_call(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    spot = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.2"))
    pod = parse(pod_row(status="EXITED", env={"RUNPOD_CLIENT_BID": "0.21"}))

    found = []
    for refused in (
        lambda: cloud.create_pod(SPEC, spot),
        lambda: cloud.start_pod(pod),
        lambda: cloud.start_pod_without_gpus("p"),
        cloud.get_account,
    ):
        with pytest.raises(CapabilityMissingError) as caught:
            refused()
        found.append((caught.value.capability, "GraphQL has it" in caught.value.hint))

    assert http_server.asked == []
    assert found == [
        ("spot pods", True),
        ("spot pods", True),
        ("starting a pod without its GPUs", True),
        ("balance and spending", True),
    ]


def test_members_of_clusters_are_not_listed_and_not_found(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    member = pod_row(id="member", cluster={"id": "c1", "rank": 0})
    http_server.queue = [json_answer({"pods": [pod_row(), member]})]

    listed = cloud.list_pods()
    http_server.queue = [json_answer(member)]
    found = cloud.find_pod("member")

    assert [pod.pod_id for pod in listed] == ["7h9k2m4n6p"]
    assert found is None


def test_pod_that_is_not_there_is_told_from_an_api_that_is_not(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    elsewhere = Answer(status=404, body=b"<html>")

    http_server.queue = [problem(404, "pod not found")]
    by_words = cloud.find_pod("p")
    http_server.queue = [elsewhere, json_answer({"pods": []})]
    by_listing = cloud.find_pod("p")
    http_server.queue = [elsewhere, elsewhere]
    with pytest.raises(CapabilityMissingError) as caught:
        cloud.find_pod("p")

    assert (by_words, by_listing) == (None, None)
    assert caught.value.http_status == 404


def test_change_of_a_pod_that_is_not_there_is_not_found(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    http_server.queue = [problem(404, "pod not found")]

    with pytest.raises(NotFoundError):
        cloud.restart_pod("p")


def test_stop_that_is_refused_since_it_has_stopped_is_done(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    refused = problem(409, "cannot stop a pod that is EXITED")

    http_server.queue = [refused, json_answer(pod_row(status="EXITED"))]
    cloud.stop_pod("p")
    http_server.queue = [problem(409, "locked"), json_answer(pod_row())]
    with pytest.raises(RejectedError, match="locked"):
        cloud.stop_pod("p")

    assert http_server.queue == []


def test_id_is_quoted_in_a_path(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    http_server.queue = [problem(404, "pod not found")]

    cloud.find_pod("../templates?x=1")

    assert http_server.asked[0].path == "/v2/pods/..%2Ftemplates%3Fx%3D1"


def test_change_of_a_volume_disk_keeps_its_path(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    bare = parse(pod_row(mounts={}))

    http_server.queue = [json_answer(pod_row(mounts={}))]
    with pytest.raises(RejectedError, match="no volume disk"):
        cloud.edit_pod(bare, PodEdit(volume_gb=30))

    assert rest_bodies.render_update(
        PodEdit(volume_gb=30, image="new"), volume_mount_path="/data"
    ) == {"image": "new", "mounts": {"persistent": {"size": 30, "path": "/data"}}}


def test_log_is_read_up_to_the_lines_asked_for(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    events = "".join(
        f'id: {n}\ndata: {{"source": "system", "line": "line {n}",'
        f' "ts": "2026-06-01T12:00:0{n}Z"}}\n\n'
        for n in range(5)
    )
    http_server.queue = [Answer(body=events.encode())]

    lines = cloud.read_logs("p", is_system=True, tail=2)

    assert lines == [
        LogLine(
            text=f"line {n}",
            is_system=True,
            written_at=datetime(2026, 6, 1, 12, 0, n, tzinfo=UTC),
        )
        for n in range(2)
    ]
    assert http_server.asked[0].path == "/v2/pods/p/logs?source=system&tail=2"


def test_log_that_holds_something_else_is_a_protocol_error(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    http_server.queue = [Answer(body=b"data: no json\n\n")]

    with pytest.raises(ProtocolError):
        cloud.read_logs("p", is_system=False)


def gpu_row(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "NVIDIA L4",
        "name": "L4",
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": 24,
        "secure": True,
        "community": False,
        "price": {"secure": 0.44, "community": 0},
        "maxCount": {"secure": 8, "community": 0},
        "availability": "HIGH",
        "dataCenters": [{"id": "US-KS-2", "name": "Kansas", "availability": "LOW"}],
        "cudaVersions": [{"version": "12.8", "available": True}],
    }
    return row | changes


def test_gpu_catalogue_of_both_clouds_is_put_together(
    cloud: RestV2Cloud, http_server: ScriptedServer
) -> None:
    both = gpu_row(id="A40", community=True, price={"secure": 0.5, "community": 0.4})
    placeholder = gpu_row(id="unknown")
    secure = [both, placeholder, gpu_row()]
    community = [both | {"availability": "NONE", "dataCenters": None}, gpu_row()]
    http_server.queue = [
        json_answer({"gpus": secure}),
        json_answer({"gpus": community}),
    ]

    offers = cloud.list_gpu_offers(gpu_count=2)

    assert [
        (o.gpu_type, o.cloud_type, o.usd_per_gpu_hour, o.stock) for o in offers
    ] == [
        ("A40", CloudType.SECURE, Decimal("0.5"), Stock.HIGH),
        ("A40", CloudType.COMMUNITY, Decimal("0.4"), Stock.NONE),
        ("NVIDIA L4", CloudType.SECURE, Decimal("0.44"), Stock.HIGH),
    ]
    assert offers[0].data_centers == {"US-KS-2": Stock.LOW}
    assert offers[2].cuda_versions == ("12.8",)
    assert "count=2&cloud=COMMUNITY" in http_server.asked[1].path


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>"),
        Answer(body=b""),
        Answer(body=b"[]"),
        json_answer({}),
        json_answer({"pods": {}}),
        json_answer({"pods": [{"id": 1, "status": "RUNNING"}]}),
    ],
)
def test_malformed_listing_is_a_protocol_error(
    cloud: RestV2Cloud, http_server: ScriptedServer, answer: Answer
) -> None:
    http_server.queue = [answer]

    with pytest.raises(ProtocolError):
        cloud.list_pods()
