from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from runpod_client import (
    AuthenticationError,
    CapabilityMissingError,
    CloudType,
    Constraints,
    NoCapacityError,
    NotFoundError,
    Placement,
    Pod,
    PodEdit,
    PodSpec,
    PodStatus,
    ProtocolError,
    RejectedError,
    Secret,
)
from runpod_client.dialects import graphql_inputs
from runpod_client.dialects.graphql import DOCUMENTS, GraphQLCloud
from runpod_client.transport import Repetition, Transport
from support.http_server import Answer, json_answer
from support.runpod_script import (
    API_KEY,
    OUT_OF_STOCK,
    RunPodScript,
    pod_row,
    refusal,
)

SPEC = PodSpec(
    name='quotes " and {braces}',
    place=Constraints(),
    image="img",
    volume_gb=5,
    ports=("22/tcp", "8188/http"),
    env={"A": '"x"'},
)
PLACE = Placement(
    gpu_type="NVIDIA L4",
    gpu_count=1,
    cloud_type=CloudType.SECURE,
    price_usd_per_hour=Decimal("0.49"),
)
STOPPED_SPOT = Pod(
    pod_id="p",
    name="x",
    status=PodStatus.STOPPED,
    gpu_type="NVIDIA L4",
    gpu_count=3,
    image="img",
    price_usd_per_hour=Decimal("0.69"),
    is_spot=True,
)


@pytest.fixture
def cloud(runpod: RunPodScript) -> GraphQLCloud:
    return GraphQLCloud(
        Transport(
            base_url=runpod.server.base_url,
            api_key=Secret(API_KEY),
            timeout_seconds=5,
            repetition=Repetition(initial_seconds=0.01),
        )
    )


def inputs_of(runpod: RunPodScript, operation: str) -> list[Any]:
    """Return what an operation was sent, call by call."""
    return [
        asked.json["variables"]["input"]
        for asked in runpod.server.asked
        if asked.json["operationName"] == operation
    ]


def test_values_travel_only_as_variables() -> None:
    assert all('"' not in document for document in DOCUMENTS.values())


def test_deploy_input_has_what_was_wanted_and_nothing_absent() -> None:
    assert graphql_inputs.render_deploy(SPEC, PLACE, None) == {
        "name": 'quotes " and {braces}',
        "imageName": "img",
        "gpuTypeId": "NVIDIA L4",
        "gpuCount": 1,
        "cloudType": "SECURE",
        "containerDiskInGb": 20,
        "volumeInGb": 5,
        "volumeMountPath": "/workspace",
        "ports": "22/tcp,8188/http",
        "env": [{"key": "A", "value": '"x"'}],
        "startSsh": True,
        "supportPublicIp": True,
    }


def test_cuda_floor_of_a_spot_pod_is_a_list_from_there_upwards() -> None:
    on_demand = replace(PLACE, min_cuda="12.8")
    spot = replace(on_demand, bid_usd_per_gpu_hour=Decimal("0.2"))

    floor = graphql_inputs.render_deploy(SPEC, on_demand, None)
    listed = graphql_inputs.render_deploy(SPEC, spot, None)

    assert floor["minCudaVersion"] == "12.8"
    assert "minCudaVersion" not in listed
    assert "12.10" in listed["allowedCudaVersions"]
    assert "12.7" not in listed["allowedCudaVersions"]


def test_spot_create_sends_the_bid_as_an_exact_number(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    bid = Decimal("0.123456789012345678")

    cloud.create_pod(SPEC, replace(PLACE, bid_usd_per_gpu_hour=bid))

    (asked,) = runpod.server.asked
    assert asked.json["operationName"] == "createSpotPod"
    assert b'"bidPerGpu":0.123456789012345678' in asked.body


def test_data_centers_are_asked_in_turn_until_one_has_room(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["createPod"] = [OUT_OF_STOCK, OUT_OF_STOCK]
    places = replace(PLACE, data_center_ids=("EU-RO-1", "US-TX-3", "CA-MTL-1"))

    cloud.create_pod(SPEC, places)

    asked = [wanted["dataCenterId"] for wanted in inputs_of(runpod, "createPod")]
    assert asked == ["EU-RO-1", "US-TX-3", "CA-MTL-1"]
    assert len(runpod.pods) == 1


def test_data_centers_without_room_are_no_capacity(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["createPod"] = [OUT_OF_STOCK, OUT_OF_STOCK]
    places = replace(PLACE, data_center_ids=("EU-RO-1", "US-TX-3"))

    with pytest.raises(NoCapacityError):
        cloud.create_pod(SPEC, places)

    assert runpod.pods == {}


def test_failure_in_one_data_center_is_not_tried_in_the_next(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["createPod"] = [Answer(status=503)]
    places = replace(PLACE, data_center_ids=("EU-RO-1", "US-TX-3"))

    with pytest.raises(Exception, match="503"):
        cloud.create_pod(SPEC, places)

    assert runpod.counts["createPod"] == 1


def test_spot_pod_is_resumed_by_the_bid_given_else_marked_else_last_billed(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.pods["p"] = pod_row("p", "x", desired="EXITED")
    marked = replace(STOPPED_SPOT, env={"RUNPOD_CLIENT_BID": "0.21"})

    cloud.start_pod(marked, bid_usd_per_gpu_hour=Decimal("0.2"))
    cloud.start_pod(marked)
    cloud.start_pod(STOPPED_SPOT)

    assert inputs_of(runpod, "startSpotPod") == [
        {"podId": "p", "gpuCount": 3, "bidPerGpu": 0.2},
        {"podId": "p", "gpuCount": 3, "bidPerGpu": 0.21},
        {"podId": "p", "gpuCount": 3, "bidPerGpu": 0.23},
    ]


def test_pod_that_lost_its_gpus_is_started_without_a_count(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.pods["p"] = pod_row("p", "x", desired="EXITED")

    cloud.start_pod(replace(STOPPED_SPOT, is_spot=False, gpu_count=0))

    assert inputs_of(runpod, "startPod") == [{"podId": "p"}]


def test_edit_gives_back_the_environment_that_carries_the_marks() -> None:
    pod = replace(
        STOPPED_SPOT,
        container_disk_gb=20,
        env={"RUNPOD_CLIENT_OWNER": "me"},
        asked_ports=("22/tcp",),
    )

    wanted = graphql_inputs.render_edit(pod, PodEdit(image="newer"))

    assert wanted == {
        "podId": "p",
        "imageName": "newer",
        "containerDiskInGb": 20,
        "ports": "22/tcp",
        "env": [{"key": "RUNPOD_CLIENT_OWNER", "value": "me"}],
    }


def test_restart_and_logs_are_refused_without_a_call(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    with pytest.raises(CapabilityMissingError) as restart:
        cloud.restart_pod("p")
    with pytest.raises(CapabilityMissingError) as logs:
        cloud.read_logs("p", is_system=True)

    assert runpod.server.asked == []
    assert restart.value.capability == "restarting in place"
    assert "REST v2 has it" in logs.value.hint


def test_document_that_the_schema_no_longer_knows_is_a_missing_capability(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    gone = {
        "message": 'Cannot query field "podRentInterruptable" on type "Mutation".',
        "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
    }
    runpod.instead["createSpotPod"] = [json_answer({"errors": [gone]}, status=400)]

    with pytest.raises(CapabilityMissingError) as caught:
        cloud.create_pod(SPEC, replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.2")))

    assert caught.value.capability == "spot pods"


def test_address_without_graphql_is_a_missing_capability_and_no_missing_pod(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["findPod"] = [Answer(status=404, body=b"<html>")]

    with pytest.raises(CapabilityMissingError):
        cloud.find_pod("p")


def test_stop_that_is_refused_since_it_has_stopped_is_done(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.pods["p"] = pod_row("p", "x", desired="EXITED")
    runpod.pods["q"] = pod_row("q", "x")
    runpod.instead["stopPod"] = [refusal("This pod is not running.", "RUNPOD")] * 2

    cloud.stop_pod("p")
    with pytest.raises(RejectedError):
        cloud.stop_pod("q")


TEMPLATE_ROWS = [
    {"id": "t1", "name": "torch", "imageName": "img", "ports": "22/tcp, 80/http"},
    {"id": "t2", "name": "twin"},
    {"id": "t3", "name": "twin"},
]


def test_template_is_deleted_by_the_name_behind_its_id(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    listing = json_answer({"data": {"myself": {"podTemplates": TEMPLATE_ROWS}}})
    runpod.instead["listTemplates"] = [listing] * 3
    runpod.instead["deleteTemplate"] = [json_answer({"data": {}})]

    cloud.delete_template("t1")
    with pytest.raises(NotFoundError):
        cloud.delete_template("t9")
    with pytest.raises(RejectedError):
        cloud.delete_template("t3")

    deletions = [a.json for a in runpod.server.asked if b"deleteTemplate(" in a.body]
    assert [d["variables"] for d in deletions] == [{"name": "torch"}]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>"),
        Answer(body=b""),
        Answer(body=b"[]"),
        json_answer({}),
        json_answer({"data": None}),
        json_answer({"data": {"myself": {"pods": {}}}}),
        json_answer({"data": {"myself": {"pods": [{"id": 1}]}}}),
        json_answer({"errors": {"message": "no list"}}),
    ],
)
def test_malformed_listing_is_a_protocol_error(
    cloud: GraphQLCloud, runpod: RunPodScript, answer: Answer
) -> None:
    runpod.instead["listPods"] = [answer]

    with pytest.raises(ProtocolError):
        cloud.list_pods()


def test_unknown_account_is_an_authentication_error(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["getAccount"] = [json_answer({"data": {"myself": None}})]

    with pytest.raises(AuthenticationError):
        cloud.get_account()


def test_refusal_keeps_all_of_its_messages(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    two = {"errors": [{"message": "a"}, {"message": "b"}], "data": None}
    runpod.instead["getAccount"] = [json_answer(two)]

    with pytest.raises(RejectedError) as caught:
        cloud.get_account()

    assert caught.value.messages == ("a", "b")


def test_read_refused_for_an_internal_reason_is_asked_again(
    cloud: GraphQLCloud, runpod: RunPodScript
) -> None:
    runpod.instead["getAccount"] = [refusal("Something went wrong. Please try again.")]

    assert cloud.get_account().account_id == "user_1"
