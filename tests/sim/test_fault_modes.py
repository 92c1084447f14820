import http.client
import subprocess
import time
from typing import Any

import pytest

from support.pods import DEPLOY, GPU_TYPE, Pods
from support.sim import SimServer, run_command, serving
from support.waiting import wait_for

WANTED = {"imageName": "i", "gpuTypeId": GPU_TYPE, "name": "marked"}


def raw(sim: SimServer, query: str) -> tuple[int, Any]:
    return sim.call("POST", "/graphql", {"query": query}, sim.authorization)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("no_capacity", "SUPPLY_CONSTRAINT"),
        ("insufficient_balance", "INSUFFICIENT_BALANCE"),
        ("internal_error", "INTERNAL_SERVER_ERROR"),
    ],
)
def test_deploy_is_refused_as_often_as_told(
    sim: SimServer, kind: str, code: str
) -> None:
    sim.add_fault(kind, operation="deploy", times=2)

    answers = [sim.graphql(DEPLOY, input=WANTED) for _ in range(3)]

    assert [a["errors"][0]["extensions"]["code"] for a in answers[:2]] == [code] * 2
    assert "errors" not in answers[2]
    assert sim.admin("GET", "faults") == {"faults": []}


def test_null_result_says_nothing(sim: SimServer) -> None:
    sim.add_fault("null_result")

    answer = sim.graphql(DEPLOY, input=WANTED)

    assert answer == {"data": {"podFindAndDeployOnDemand": None}}
    assert sim.world()["pods"] == []


def test_both_wires_meet_the_same_faults(sim: SimServer) -> None:
    sim.add_fault("no_capacity", operation="deploy")
    body = {"name": "a", "image": "i", "gpu": {"id": GPU_TYPE}}

    status, problem = sim.rest("POST", "pods", body)

    assert status == 400
    assert problem["detail"].startswith("There are no longer any instances available")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("rate_limited", 429), ("gone", 410), ("html_500", 500), ("unauthorized", 401)],
)
def test_requests_fail_before_anything_happens(
    sim: SimServer, kind: str, status: int
) -> None:
    sim.add_fault(kind, operation="deploy")
    sim.add_fault(kind, operation="createPod")

    body = {"query": DEPLOY, "variables": {"input": WANTED}}
    graphql = sim.call("POST", "/graphql", body, sim.authorization)[0]
    rest = sim.rest("POST", "pods", {"name": "a", "image": "i"})[0]

    assert (graphql, rest) == (status, status)
    assert sim.world()["pods"] == []


def test_rate_limit_says_how_long_to_wait(sim: SimServer) -> None:
    sim.add_fault("rate_limited", seconds=7)
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"))
    headers = {"User-Agent": "t", **sim.authorization}

    connection.request("GET", "/v2/pods", None, headers)
    waited = connection.getresponse().headers["Retry-After"]
    connection.close()

    assert waited == "7"


def test_lost_answer_has_rented_all_the_same(sim: SimServer) -> None:
    sim.add_fault("lost_answer", operation="podFindAndDeployOnDemand")

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        sim.graphql(DEPLOY, input=WANTED)

    assert [pod["name"] for pod in sim.world()["pods"]] == ["marked"]


def test_dropped_connection_has_rented_nothing(sim: SimServer) -> None:
    sim.add_fault("drop_connection", operation="podFindAndDeployOnDemand")

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        sim.graphql(DEPLOY, input=WANTED)

    assert sim.world()["pods"] == []


def test_malformed_body_is_no_json(sim: SimServer) -> None:
    sim.add_fault("malformed_body", operation="myself")

    status, text = raw(sim, "{myself{id}}")

    assert status == 200
    assert isinstance(text, str)


def test_malformed_answer_of_a_delete_has_deleted(sim: SimServer) -> None:
    _, pod = sim.rest(
        "POST", "pods", {"name": "a", "image": "i", "gpu": {"id": GPU_TYPE}}
    )
    sim.add_fault("malformed_body", operation="deletePod")

    status, text = sim.rest("DELETE", f"pods/{pod['id']}")

    assert (status, text) == (200, "{")
    assert sim.rest("GET", "pods")[1] == {"pods": []}


def test_mix_of_faults_strikes_its_share_the_same_way_each_time(sim: SimServer) -> None:
    def outcomes() -> list[str]:
        sim.add_fault_mix(0.6, seed=5, wire="rest")
        seen = []
        for _ in range(60):
            try:
                status, answer = sim.rest("GET", "templates")
                seen.append(
                    "broken"
                    if isinstance(answer, str) and status == 200
                    else str(status)
                )
            except (ConnectionError, http.client.HTTPException):
                seen.append("reset")
        sim.admin("DELETE", "faults")
        return seen

    first = outcomes()

    assert first == outcomes()
    assert set(first) == {"200", "429", "500", "524", "reset", "broken"}
    assert 25 <= len(first) - first.count("200") <= 47
    assert raw(sim, "{myself{id}}")[0] == 200


def test_slow_answer_comes_late(sim: SimServer) -> None:
    sim.add_fault("slow_answer", seconds=0.3)

    began = time.monotonic()
    raw(sim, "{myself{id}}")

    assert time.monotonic() - began >= 0.3


def test_runtime_gap_lasts_for_one_look(pods: Pods) -> None:
    pod = pods.start()
    pods.sim.add_fault("runtime_gap")

    looks = [pods.get(pod.id)["runtime"] is None for _ in range(2)]

    assert looks == [True, False]


def test_uptime_can_be_negative(pods: Pods) -> None:
    pod = pods.start()
    pods.sim.add_fault("negative_uptime", seconds=4)

    assert pods.get(pod.id)["runtime"]["uptimeInSeconds"] == -4


def test_slow_pull_ends_with_the_clock(pods: Pods) -> None:
    pods.sim.add_fault("slow_pull", seconds=600)
    pod_id = pods.deploy()

    before = pods.get(pod_id)["runtime"]
    pods.sim.advance(600)

    assert before is None
    assert pods.wait_until_up(pod_id).run("echo up").stdout == "up\n"


def test_no_gpu_on_resume_leaves_the_pod_stopped(pods: Pods) -> None:
    pod_id = pods.deploy()
    pods.call("podStop", pod_id)
    pods.sim.add_fault("no_gpu_on_resume")

    refused = pods.call("podResume", pod_id)

    assert refused["errors"][0]["message"].startswith("There are not enough free GPUs")
    assert pods.get(pod_id)["desiredStatus"] == "EXITED"


def test_empty_balance_ends_every_pod(pods: Pods) -> None:
    pod = pods.start()

    pods.sim.add_fault("balance_zero")

    assert pods.sim.graphql("{myself{pods{id}}}")["data"]["myself"]["pods"] == []
    wait_for(
        lambda: pods.sim.find_pod(pod.id)["process_count"] == 0, what="the pod's end"
    )


def test_probable_fault_is_reproducible(sim: SimServer) -> None:
    def outcomes() -> list[int]:
        sim.add_fault("html_500", operation="myself", probability=0.5, seed=3)
        seen = [raw(sim, "{myself{id}}")[0] for _ in range(12)]
        sim.admin("DELETE", "faults")
        return seen

    first = outcomes()

    assert first == outcomes()
    assert set(first) == {200, 500}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "nonsense"},
        {"kind": "gone", "often": 2},
        {"kind": "gone", "times": 0},
    ],
)
def test_fault_that_makes_no_sense_is_refused(
    module_sim: SimServer, body: dict[str, Any]
) -> None:
    status, answer = module_sim.call("POST", "/_sim/faults", body)

    assert status == 400
    assert answer["error"]


def test_admin_answers_the_loopback_names_alone(module_sim: SimServer) -> None:
    headers = {"Host": "evil.example"}

    status, _ = module_sim.call("GET", "/_sim/world", None, headers)

    assert status == 403


def test_introspection_can_be_turned_off(tmp_path: Any) -> None:
    with serving(tmp_path, "--no-introspection") as server:
        status, answer = raw(server, "{__schema{queryType{name}}}")

    assert status == 400
    assert answer["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


def test_commands_reach_a_running_simulator(module_sim: SimServer) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            run_command([*words, "--url", module_sim.base_url]),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    added = command("fault", "add", "gone", "--operation", "nothing")
    listed = command("fault", "list")
    wrong = command("fault", "add", "nonsense")
    cleared = command("fault", "clear")
    wound = command("clock", "advance", "1h")

    assert '"kind": "gone"' in added.stdout
    assert '"operation": "nothing"' in listed.stdout
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("runpod-sim: 'nonsense' is no kind of fault")
    assert cleared.stdout == '{"cleared": 1}\n'
    assert wound.stdout.endswith("Z\n")


def test_command_says_when_no_simulator_answers() -> None:
    ended = subprocess.run(
        run_command(["clock", "show", "--url", "http://127.0.0.1:1"]),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("runpod-sim: no simulator answers at")
