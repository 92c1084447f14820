import importlib.resources
import json
from decimal import Decimal

import graphql
import pytest

from runpod_client import (
    AuthenticationError,
    CloudType,
    NoCapacityError,
    NotFoundError,
    PodSpec,
    ProtocolError,
    RejectedError,
    RunPodClient,
    UnavailableError,
    refusals,
)
from runpod_client.dialects.graphql import DOCUMENTS, render_deploy_input
from support.http_server import Answer, json_answer
from support.runpod_script import RunPodScript, pod_row, refusal

SPEC = PodSpec(
    name='quotes " and {braces}',
    gpu_types=("NVIDIA L4",),
    image="img",
    volume_gb=5,
    ports=("22/tcp", "8188/http"),
    env={"A": '"x"'},
    cloud_type=CloudType.SECURE,
)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_document_is_valid_in_the_simulator_schema(name: str) -> None:
    schema = graphql.build_schema(
        (importlib.resources.files("runpod_sim") / "schema.graphql").read_text()
    )

    document = graphql.parse(DOCUMENTS[name])

    assert graphql.validate(schema, document) == []
    assert graphql.get_operation_ast(document, name) is not None


def test_values_travel_only_as_variables() -> None:
    assert all('"' not in document for document in DOCUMENTS.values())


def test_deploy_input_has_what_was_wanted_and_nothing_absent() -> None:
    assert render_deploy_input(SPEC, "NVIDIA L4") == {
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


def test_spot_create_sends_the_bid_as_an_exact_number(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    spec = PodSpec(
        name="x",
        gpu_types=("L4",),
        image="img",
        bid_usd_per_gpu_hour=Decimal("0.123456789012345678"),
    )

    client.create_pod(spec)

    assert runpod.counts["createSpotPod"] == 1
    (body,) = (a.body for a in runpod.server.asked if b"createSpotPod" in a.body)
    assert b'"bidPerGpu":0.123456789012345678' in body


def test_spot_pod_is_resumed_by_a_bid(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    row = pod_row("p", "x", desired="EXITED")
    runpod.pods["p"] = row | {"podType": "INTERRUPTABLE", "gpuCount": 3}

    client.start_pod("p", bid_usd_per_gpu_hour=Decimal("0.2"))
    runpod.pods["p"]["desiredStatus"] = "EXITED"
    client.start_pod("p")

    inputs = [
        json.loads(a.body)["variables"]["input"]
        for a in runpod.server.asked
        if b"startSpotPod" in a.body
    ]
    assert inputs == [
        {"podId": "p", "gpuCount": 3, "bidPerGpu": 0.2},
        {"podId": "p", "gpuCount": 3, "bidPerGpu": 0.23},
    ]


@pytest.mark.parametrize(
    ("message", "code", "expected"),
    [
        ("There are no instances currently available", "", NoCapacityError),
        (
            "There are not enough free GPUs on the host machine to start this pod.",
            "INTERNAL_SERVER_ERROR",
            NoCapacityError,
        ),
        ("pod not found to terminate", "POD_NOT_FOUND", NotFoundError),
        (
            "Something went wrong. Please try again later or contact support.",
            "INTERNAL_SERVER_ERROR",
            UnavailableError,
        ),
        ("who are you", "UNAUTHENTICATED", AuthenticationError),
        (
            "Cannot resume a spot pod as an on demand pod.",
            "",
            RejectedError,
        ),
    ],
)
def test_refusals_are_told_by_known_message_then_code(
    message: str, code: str, expected: type[Exception]
) -> None:
    assert refusals.classify(message, code) is expected


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
    client: RunPodClient, runpod: RunPodScript, answer: Answer
) -> None:
    runpod.instead["listPods"] = [answer]

    with pytest.raises(ProtocolError):
        client.list_pods()


def test_unknown_account_is_an_authentication_error(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.instead["getAccount"] = [json_answer({"data": {"myself": None}})]

    with pytest.raises(AuthenticationError):
        client.get_account()


def test_refusal_keeps_all_of_its_messages(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    two = {"errors": [{"message": "a"}, {"message": "b"}], "data": None}
    runpod.instead["getAccount"] = [json_answer(two)]

    with pytest.raises(RejectedError) as caught:
        client.get_account()

    assert caught.value.messages == ("a", "b")


def test_read_refused_for_an_internal_reason_is_asked_again(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.instead["getAccount"] = [refusal("Something went wrong. Please try again.")]

    assert client.get_account().account_id == "user_1"
