import json
import urllib.request
from typing import Any

import pytest

from support.pods import DEPLOY, GPU_TYPE, Pods, make_identity
from support.sim import SimServer
from support.waiting import wait_for

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications."
    " Please refresh and try again."
)


@pytest.fixture
def own(
    module_sim: SimServer,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pods:
    """Rent pods with an account nobody else uses."""
    identity, public_key = make_identity(tmp_path_factory.mktemp("key"))
    server = module_sim.with_key(f"rpa_{abs(hash(request.node.nodeid)):x}")
    return Pods(server, identity, public_key)


def post(
    sim: SimServer, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    return sim.call("POST", "/graphql", body, headers)


def test_fresh_pod_is_running_without_a_runtime(own: Pods) -> None:
    own.sim.add_fault("slow_pull", operation="deploy")
    pod = own.get(own.deploy())

    assert pod["desiredStatus"] == "RUNNING"
    assert pod["runtime"] is None
    assert pod["uptimeSeconds"] == 0


def test_ports_appear_after_the_runtime(own: Pods) -> None:
    own.sim.add_fault("ports_never", operation="deploy")
    pod_id = own.deploy()

    runtime = wait_for(lambda: own.get(pod_id)["runtime"], what="the runtime")

    assert runtime["ports"] is None


def test_pod_lists_ssh_once_and_as_public(own: Pods) -> None:
    pod = own.start()

    ports = own.get(pod.id)["runtime"]["ports"]

    assert [(p["privatePort"], p["isIpPublic"], p["type"]) for p in ports] == [
        (22, True, "tcp"),
        (8188, False, "http"),
    ]
    assert ports[1]["ip"].startswith("100.65.")


def test_community_pod_without_a_public_ip_has_none(own: Pods) -> None:
    pod_id = own.deploy(cloudType="COMMUNITY")

    ports = wait_for(
        lambda: (own.get(pod_id)["runtime"] or {}).get("ports"), what="ports"
    )

    assert ports[0]["isIpPublic"] is False


def test_stopped_pod_shows_a_stale_runtime_for_a_while(own: Pods) -> None:
    pod = own.start()

    own.call("podStop", pod.id)
    stale = own.get(pod.id)
    own.sim.advance(60)
    later = own.get(pod.id)

    assert (stale["desiredStatus"], later["desiredStatus"]) == ("EXITED", "EXITED")
    assert stale["runtime"]["ports"][0]["publicPort"] == pod.port
    assert later["runtime"] is None


def test_terminated_pod_disappears(own: Pods) -> None:
    pod_id = own.deploy()

    answer = own.call("podTerminate", pod_id)

    assert answer == {"data": {"podTerminate": None}}
    assert own.sim.graphql("{myself{pods{id}}}") == {"data": {"myself": {"pods": []}}}
    found = own.sim.graphql("query($i: String!){pod(input:{podId:$i}){id}}", i=pod_id)
    assert found == {"data": {"pod": None}}


def test_unknown_pod_is_null_to_read_and_an_error_to_terminate(own: Pods) -> None:
    answer = own.call("podTerminate", "nosuchpod")

    assert answer["errors"][0]["message"] == "pod not found to terminate"
    assert answer["errors"][0]["extensions"]["code"] == "POD_NOT_FOUND"


def test_misspelled_gpu_type_looks_like_no_capacity(own: Pods) -> None:
    wanted = {"imageName": "i", "gpuTypeId": "NVIDIA L5"}

    answer = own.sim.graphql(DEPLOY, input=wanted)

    error = answer["errors"][0]
    assert error["message"] == NO_CAPACITY
    assert error["path"] == ["podFindAndDeployOnDemand"]
    assert error["extensions"]["code"] == "SUPPLY_CONSTRAINT"
    assert error["extensions"]["userId"].startswith("user_")
    assert answer["data"] == {"podFindAndDeployOnDemand": None}


def test_errors_stand_before_data_in_an_answer_with_status_200(own: Pods) -> None:
    body = {"query": 'mutation{podStop(input:{podId:"x"}){id}}'}

    status, answer = post(own.sim, body, own.sim.authorization)

    assert status == 200
    assert list(answer) == ["errors", "data"]


def test_unknown_input_field_is_a_validation_error(own: Pods) -> None:
    query = "mutation{podFindAndDeployOnDemand(input:{interruptible:true}){id}}"

    status, answer = post(own.sim, {"query": query}, own.sim.authorization)

    assert status == 400
    error = answer["errors"][0]
    assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert error["message"].startswith(
        'Field "interruptible" is not defined by type "PodFindAndDeployOnDemandInput".'
    )


def test_missing_variable_is_bad_user_input(own: Pods) -> None:
    body = {
        "query": "mutation($i:PodBidResumeInput!){podBidResume(input:$i){id}}",
        "variables": {"i": {"podId": "x", "bidPerGpu": 0.2}},
    }

    status, answer = post(own.sim, body, own.sim.authorization)

    assert status == 400
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    ("stop_after", "status"), [("2027-01-01T00:00:00Z", 200), ("1h", 400)]
)
def test_only_rfc_3339_passes_as_an_instant(
    own: Pods, stop_after: str, status: int
) -> None:
    body = {
        "query": DEPLOY,
        "variables": {"input": {"imageName": "i", "stopAfter": stop_after}},
    }

    answered, _ = post(own.sim, body, own.sim.authorization)

    assert answered == status


def test_stop_after_never_fires(own: Pods) -> None:
    pod_id = own.deploy(stopAfter="2020-01-01T00:00:00Z")

    own.sim.advance(60)

    assert own.get(pod_id)["desiredStatus"] == "RUNNING"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, {"query": "{gpuTypes{id}}"}, 200),
        ({}, {"query": "{dataCenters{id}}"}, 200),
        ({}, {"query": "{gpuTypes{id}}", "variables": {"a": 1}}, 401),
        ({}, {"query": "{myself{id}}"}, 401),
        ({"Authorization": "Bearer wrong"}, {"query": "{gpuTypes{id}}"}, 401),
        ({"Authorization": "Bearer rpa_x"}, {"query": "{myself{id}}"}, 200),
    ],
)
def test_catalog_is_public_and_accounts_need_a_key(
    module_sim: SimServer, headers: dict[str, str], body: Any, status: int
) -> None:
    assert post(module_sim, body, headers)[0] == status


def test_key_in_the_url_is_accepted(module_sim: SimServer) -> None:
    path = "/graphql?api_key=rpa_in_the_url"

    status, answer = module_sim.call("POST", path, {"query": "{myself{id}}"})

    assert status == 200
    assert answer["data"]["myself"]["id"]


def test_client_without_a_name_of_its_own_is_turned_away(
    module_sim: SimServer,
) -> None:
    request = urllib.request.Request(  # noqa: S310 - the loopback
        f"{module_sim.base_url}/graphql",
        json.dumps({"query": "{gpuTypes{id}}"}).encode(),
    )

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)  # noqa: S310 - the loopback

    assert refused.value.code == 403
    assert refused.value.read() == b"error code: 1010"


def test_whole_floats_are_written_without_a_fraction(own: Pods) -> None:
    pod_id = own.deploy(gpuTypeId="NVIDIA A40", volumeInGb=20)
    body = {"query": f'{{pod(input:{{podId:"{pod_id}"}}){{memoryInGb volumeInGb}}}}'}

    _, answer = post(own.sim, body, own.sim.authorization)

    assert json.dumps(answer["data"]["pod"]) == '{"memoryInGb": 50, "volumeInGb": 20}'


def test_prices_are_written_exactly(own: Pods) -> None:
    answer = own.sim.graphql('{gpuTypes(input:{id:"NVIDIA RTX A6000"}){securePrice}}')

    assert answer["data"]["gpuTypes"] == [{"securePrice": 0.491}]


def test_start_ssh_adds_the_accounts_keys_to_the_answer(own: Pods) -> None:
    own.sim.graphql(
        "mutation($k:String!){updateUserSettings(input:{pubKey:$k}){id pubKey}}",
        k="ssh-ed25519 AAAA one",
    )
    wanted = {"imageName": "i", "gpuTypeId": GPU_TYPE, "startSsh": True}

    answer = own.sim.graphql(DEPLOY, input=wanted)

    env = answer["data"]["podFindAndDeployOnDemand"]["env"]
    assert env == ["PUBLIC_KEY=ssh-ed25519 AAAA one"]


def test_pod_belongs_to_its_account_alone(own: Pods, module_sim: SimServer) -> None:
    pod_id = own.deploy()
    other = module_sim.with_key("rpa_someone_else")

    answer = other.graphql("query($i:String!){pod(input:{podId:$i}){id}}", i=pod_id)

    assert answer == {"data": {"pod": None}}


def test_resume_with_zero_gpus_is_refused_and_has_its_own_call(own: Pods) -> None:
    pod_id = own.deploy()
    own.call("podStop", pod_id)

    refused = own.call("podResume", pod_id, gpuCount=0)
    started = own.call("podResumeZeroGpu", pod_id)

    assert refused["errors"][0]["message"].startswith("There are not enough free GPUs")
    assert started["data"]["podResumeZeroGpu"]["gpuCount"] == 0


def test_resume_needs_free_gpus_on_the_pods_own_host(own: Pods) -> None:
    pod_id = own.deploy(gpuTypeId="NVIDIA B200")
    machine = own.sim.find_pod(pod_id)["machine_id"]
    own.call("podStop", pod_id)

    own.sim.admin("POST", f"machines/{machine}", {"taken_gpus": 8})
    refused = own.call("podResume", pod_id)
    own.sim.admin("POST", f"machines/{machine}", {"taken_gpus": 0})
    started = own.call("podResume", pod_id)

    assert refused["errors"][0]["message"].startswith("There are not enough free GPUs")
    assert started["data"]["podResume"]["desiredStatus"] == "RUNNING"


def test_edit_needs_image_and_disk_and_starts_the_container_anew(own: Pods) -> None:
    pod = own.start()

    own.call("podEditJob", pod.id, imageName="other", containerDiskInGb=30)
    again = own.wait_until_up(pod.id)

    assert again.port != pod.port
    assert own.get(pod.id)["imageName"] == "other"


def test_rename_does_not_restart(own: Pods) -> None:
    pod = own.start()

    own.call("podEditName", pod.id, name="renamed")

    assert own.get(pod.id)["name"] == "renamed"
    assert own.find_port(pod.id) == pod.port


def test_spend_limit_is_per_hour_over_everything(own: Pods) -> None:
    answers = [
        own.sim.graphql(
            DEPLOY,
            input={"imageName": "i", "gpuTypeId": "NVIDIA B300 SXM6 AC", "gpuCount": 8},
        )
        for _ in range(2)
    ]

    error = answers[1]["errors"][0]
    assert "errors" not in answers[0]
    assert error["message"] == (
        "Renting this pod would put you over your current spending limit ($80.00/hr)."
    )
    assert error["extensions"]["code"] == "INSUFFICIENT_BALANCE"


def test_balance_falls_by_the_second(own: Pods) -> None:
    own.deploy(gpuTypeId="NVIDIA A40", containerDiskInGb=73, volumeInGb=0)

    own.sim.advance(3600)
    user = own.sim.graphql("{myself{clientBalance currentSpendPerHr}}")["data"][
        "myself"
    ]

    # 0.44 for the GPU and 73 GB at 0.10 a month of 730 hours.
    assert user["currentSpendPerHr"] == 0.45
    assert 100 - 0.46 < user["clientBalance"] <= 100 - 0.45


def test_introspection_can_be_had(module_sim: SimServer) -> None:
    status, _ = post(module_sim, {"query": "{__schema{queryType{name}}}"})

    assert status == 200
