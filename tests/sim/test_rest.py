import http.client
import json
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from support.pods import GPU_TYPE, Pods, make_identity
from support.sim import SimServer
from support.waiting import wait_for

OPENAPI = json.loads((resources.files("runpod_sim") / "openapi.json").read_text())


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


def create_body(own: Pods, **given: Any) -> dict[str, Any]:
    body = {
        "name": "rest",
        "image": "runpod/base",
        "gpu": {"id": GPU_TYPE, "count": 1},
        "ports": ["22/tcp"],
        "env": {"PUBLIC_KEY": own.public_key},
        "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
    }
    return body | given


def create(own: Pods, **given: Any) -> dict[str, Any]:
    status, pod = own.sim.rest("POST", "pods", create_body(own, **given))
    assert status == 201, pod
    assert isinstance(pod, dict)
    return pod


def wait_until_running(own: Pods, pod_id: str) -> dict[str, Any]:
    def running() -> dict[str, Any] | None:
        pod = own.sim.rest("GET", f"pods/{pod_id}")[1]
        return pod if pod["status"] == "RUNNING" and pod["ssh"]["direct"] else None

    return wait_for(running, what="a running pod")


def assert_matches(schema: str, value: Any) -> None:
    root = {
        "$ref": f"#/components/schemas/{schema}",
        "components": OPENAPI["components"],
    }
    Draft202012Validator(root).validate(value)


def test_status_is_the_real_state(own: Pods) -> None:
    created = create(own)
    running = wait_until_running(own, created["id"])
    _, stopped = own.sim.rest(
        "POST", f"pods/{created['id']}/action", {"action": "stop"}
    )

    assert created["status"] == "PROVISIONING"
    assert created["runtime"] is None
    assert created["ssh"]["direct"] is None
    assert running["ssh"]["direct"]["username"] == "root"
    assert running["cost"] == 0.49
    assert (stopped["status"], stopped["cost"]) == ("EXITED", 0)
    for pod in (created, running, stopped):
        assert_matches("Pod", pod)


def test_actions_of_the_wrong_state_are_conflicts(own: Pods) -> None:
    pod = create(own)

    early = own.sim.rest("POST", f"pods/{pod['id']}/action", {"action": "start"})
    own.sim.rest("POST", f"pods/{pod['id']}/action", {"action": "stop"})
    twice = own.sim.rest("POST", f"pods/{pod['id']}/action", {"action": "stop"})
    listed = own.sim.rest("GET", f"pods/{pod['id']}")[1]["actions"]

    assert (early[0], twice[0]) == (409, 409)
    assert twice[1]["title"] == "Conflict"
    assert listed == ["start", "terminate"]


def test_restart_gives_another_port(own: Pods) -> None:
    pod_id = create(own)["id"]
    first = wait_until_running(own, pod_id)["ssh"]["direct"]["port"]

    status, _ = own.sim.rest("POST", f"pods/{pod_id}/action", {"action": "restart"})
    second = wait_until_running(own, pod_id)["ssh"]["direct"]["port"]

    assert status == 200
    assert first != second


def test_deleted_pod_is_not_found(own: Pods) -> None:
    pod_id = create(own)["id"]

    deleted = own.sim.rest("DELETE", f"pods/{pod_id}")
    found = own.sim.rest("GET", f"pods/{pod_id}")

    assert deleted == (204, "")
    assert found == (
        404,
        {"title": "Not Found", "status": 404, "detail": "pod not found"},
    )
    assert own.sim.rest("GET", "pods") == (200, {"pods": []})


def test_every_unknown_key_is_named(own: Pods) -> None:
    body = create_body(own, bogus=1, interruptible=True)
    body["gpu"] = {"id": GPU_TYPE, "typo": 1}

    status, problem = own.sim.rest("POST", "pods", body)

    assert status == 422
    assert_matches("ErrorResponse", problem)
    assert problem["errors"] == [
        "$.gpu: additional properties 'typo' not allowed",
        "$: additional properties 'bogus' not allowed",
        "$: additional properties 'interruptible' not allowed",
    ]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"name": ""}, 422),
        ({"image": None}, 422),
        ({"gpu": {"id": GPU_TYPE, "count": 0}}, 422),
        ({"mounts": {"persistent": {"size": 5, "path": "/w"}}}, 422),
        ({"cpu": {"id": "cpu3c", "vcpuCount": 2}}, 400),
        ({"gpu": {"id": "NVIDIA L5"}}, 400),
        ({"dataCenterIds": ["XX-1"]}, 400),
        ({"mounts": {"network": []}}, 400),
    ],
)
def test_bodies_that_break_a_rule_are_told_apart(
    own: Pods, given: dict[str, Any], status: int
) -> None:
    answered, problem = own.sim.rest("POST", "pods", create_body(own, **given))

    assert answered == status
    assert_matches("ErrorResponse", problem)


def test_cpu_pod_has_no_gpu(own: Pods) -> None:
    body = {"name": "cpu", "image": "i", "cpu": {"id": "cpu3c", "vcpuCount": 4}}

    status, pod = own.sim.rest("POST", "pods", body)

    assert status == 201
    assert pod["cpu"] == {"id": "cpu3c", "vcpuCount": 4, "memory": 8}
    assert "gpu" not in pod
    assert_matches("Pod", pod)


def test_locked_pod_refuses_to_stop(own: Pods) -> None:
    pod_id = create(own)["id"]

    locked = own.sim.rest("PATCH", f"pods/{pod_id}", {"locked": True})
    refused = own.sim.rest("POST", f"pods/{pod_id}/action", {"action": "stop"})

    assert locked[1]["locked"] is True
    assert refused[0] == 409


def test_patch_changes_only_what_it_names(own: Pods) -> None:
    pod_id = create(own)["id"]

    status, pod = own.sim.rest("PATCH", f"pods/{pod_id}", {"image": "other"})

    assert status == 200
    assert (pod["image"], pod["name"], pod["ports"]) == ("other", "rest", ["22/tcp"])


def test_ssh_keys_are_replaced_as_a_whole(own: Pods) -> None:
    own.sim.rest("PUT", "account/ssh-keys", {"keys": ["ssh-ed25519 AAAA a"]})
    own.sim.rest("PUT", "account/ssh-keys", {"keys": ["ssh-ed25519 BBBB b"]})

    assert own.sim.rest("GET", "account/ssh-keys") == (
        200,
        {"keys": ["ssh-ed25519 BBBB b"]},
    )
    assert own.sim.rest("PUT", "account/ssh-keys", {"keys": ["no key"]})[0] == 422
    assert own.sim.graphql("{myself{pubKey}}")["data"]["myself"] == {
        "pubKey": "ssh-ed25519 BBBB b"
    }


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("catalog/gpus", "ListGpuTypesResponse"),
        ("catalog/gpus?include=AVAILABILITY&product=POD", "ListGpuTypesResponse"),
        ("catalog/gpus/NVIDIA%20L4?include=AVAILABILITY&product=POD", "GpuType"),
        ("catalog/cpus", "ListCpuTypesResponse"),
        ("catalog/datacenters?include=GPU_AVAILABILITY", "ListDataCentersResponse"),
        ("pods", "ListPodsResponse"),
    ],
)
def test_answers_match_the_document(own: Pods, path: str, schema: str) -> None:
    status, answer = own.sim.rest("GET", path)

    assert status == 200
    assert_matches(schema, answer)


def test_availability_needs_its_product(own: Pods) -> None:
    assert own.sim.rest("GET", "catalog/gpus?include=AVAILABILITY")[0] == 400


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "missing bearer token"),
        ({"Authorization": "Bearer nonsense"}, "invalid API key"),
    ],
)
def test_rest_needs_a_bearer_key(
    module_sim: SimServer, headers: dict[str, str], detail: str
) -> None:
    status, problem = module_sim.call("GET", "/v2/pods", None, headers)

    assert (status, problem["detail"]) == (401, detail)


def test_quota_is_told_with_every_answer(own: Pods) -> None:
    address = urlsplit(own.sim.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    left = []
    for _ in range(2):
        connection.request(
            "GET", "/v2/pods", None, {"User-Agent": "t", **own.sim.authorization}
        )
        response = connection.getresponse()
        response.read()
        left.append(response.headers["RateLimit"].split(";")[1])
        policy = response.headers["RateLimit-Policy"]
    connection.close()

    assert policy == '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400'
    assert int(left[1].removeprefix("r=")) < 60


def test_log_resumes_after_an_event(own: Pods) -> None:
    pod_id = create(own)["id"]
    wait_until_running(own, pod_id)
    path = f"/v2/pods/{pod_id}/logs"

    events = own.sim.read_events(path, 5)
    rest = own.sim.read_events(path, 3, {"Last-Event-ID": events[1]["ts"]})

    assert rest == events[2:5]
    assert {event["source"] for event in events} == {"system", "container"}
    assert len({event["ts"] for event in events}) == 5
