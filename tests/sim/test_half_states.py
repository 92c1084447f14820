"""Every way a pod can be half there, as a client sees it on both wires."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from support.pods import GPU_TYPE, Pods
from support.sim import SimServer, serving
from support.waiting import wait_for

PULL_SECONDS = 100
LOOK = """
query($id: String!) { pod(input: {podId: $id}) {
  desiredStatus lastStatusChange locked gpuCount costPerHr ports
  machine { podHostId }
  runtime { uptimeInSeconds ports { isIpPublic privatePort publicPort type } }
} }
"""
RENT = "mutation($i:PodRentInterruptableInput!){podRentInterruptable(input:$i){id}}"


@pytest.fixture(scope="module")
def slow_sim(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A simulator where only the wound clock ends a pull."""
    options = ("--pull-seconds", str(PULL_SECONDS), "--ports-seconds", "10")
    with serving(tmp_path_factory.mktemp("sim"), *options) as server:
        yield server


@pytest.fixture
def own(slow_sim: SimServer, request: pytest.FixtureRequest) -> Pods:
    """Rent pods with an account nobody else uses."""
    server = slow_sim.with_key(f"rpa_{abs(hash(request.node.nodeid)):x}")
    server.admin("DELETE", "faults")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ6L0r0OZ0mF5V0a5xP3dY5yQ2m4n6p8r0t2v4x6z8A"
    return Pods(server, request.path, key)


def graphql(own: Pods, pod_id: str) -> dict[str, Any]:
    pod = own.sim.graphql(LOOK, id=pod_id)["data"]["pod"]
    assert isinstance(pod, dict)
    return pod


def rest(own: Pods, pod_id: str) -> dict[str, Any]:
    status, pod = own.sim.rest("GET", f"pods/{pod_id}")
    assert status == 200, pod
    assert isinstance(pod, dict)
    return pod


def log(own: Pods, pod_id: str, count: int, source: str = "system") -> list[str]:
    events = own.sim.read_events(f"/v2/pods/{pod_id}/logs?source={source}", count)
    return [event["line"] for event in events]


def come_up(own: Pods, pod_id: str) -> None:
    """Let the pull end, and wait for the machine behind the pod."""
    own.sim.advance(PULL_SECONDS + 10)
    wait_for(
        lambda: own.sim.find_pod(pod_id)["public_ports"],
        timeout_seconds=20,
        what="the pod's machine",
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("image_not_found", "manifest unknown"),
        ("image_auth", "pull access denied"),
        ("image_pull_error", "toomanyrequests"),
        ("cuda_mismatch", "unsatisfied condition: cuda"),
    ],
)
def test_start_that_cannot_work_bills_until_runpod_gives_up(
    own: Pods, kind: str, said: str
) -> None:
    own.sim.add_fault(kind, seconds=200)
    pod_id = own.deploy()

    own.sim.advance(150)
    trying = rest(own, pod_id)
    wish = graphql(own, pod_id)
    own.sim.advance(86_400)
    given_up = rest(own, pod_id)
    ended = graphql(own, pod_id)

    assert (trying["status"], trying["runtime"]) == ("STARTING", None)
    assert (wish["desiredStatus"], wish["runtime"]) == ("RUNNING", None)
    assert given_up["status"] == "ERROR"
    assert given_up["actions"] == ["start", "terminate"]
    assert ended["desiredStatus"] == "EXITED"
    assert ended["lastStatusChange"].startswith("Exited by Runpod: ")
    assert any(said in line for line in log(own, pod_id, 3))
    row = next(
        r for r in own.sim.admin("GET", "billing")["pods"] if r["pod_id"] == pod_id
    )
    # 200 s of an L4 at $0.49 and not a day of it.
    assert row["compute_usd"] == pytest.approx(0.49 * 200 / 3600, abs=1e-4)


def test_next_start_of_a_failed_pod_works(own: Pods) -> None:
    own.sim.add_fault("image_not_found")
    pod_id = own.deploy()
    own.sim.advance(60)

    status, _ = own.sim.rest("POST", f"pods/{pod_id}/action", {"action": "start"})
    come_up(own, pod_id)

    assert status == 200
    assert rest(own, pod_id)["status"] == "RUNNING"


def test_fault_without_an_end_in_sight_stays_starting(own: Pods) -> None:
    own.sim.add_fault("image_auth", seconds=1e8)
    pod_id = own.deploy()

    own.sim.advance(7 * 86_400)

    assert rest(own, pod_id)["status"] == "STARTING"


def test_pod_can_be_provisioning_for_ever(own: Pods) -> None:
    own.sim.add_fault("provisioning_forever")
    pod_id = own.deploy()

    own.sim.advance(86_400)

    shown = rest(own, pod_id)
    assert (shown["status"], shown["ssh"]) == (
        "PROVISIONING",
        {"proxy": None, "direct": None},
    )
    assert graphql(own, pod_id)["runtime"] is None
    assert [line.split(" ")[0] for line in log(own, pod_id, 1)] == ["create"]


def test_silent_host_reports_nothing_of_a_running_pod(own: Pods) -> None:
    own.sim.add_fault("host_silent", seconds=1000)
    pod_id = own.deploy()
    come_up(own, pod_id)

    silent, silent_rest = graphql(own, pod_id), rest(own, pod_id)
    own.sim.advance(1000)
    speaking = graphql(own, pod_id)

    assert (silent["desiredStatus"], silent["runtime"]) == ("RUNNING", None)
    assert (silent_rest["status"], silent_rest["runtime"]) == ("RUNNING", None)
    assert silent_rest["ssh"]["direct"] is None
    assert speaking["runtime"]["ports"]


def test_crashing_container_starts_over_and_says_so(own: Pods) -> None:
    own.sim.add_fault("crash_loop", seconds=30)
    pod_id = own.deploy()
    come_up(own, pod_id)
    uptimes = []

    for _ in range(4):
        own.sim.advance(20)
        uptimes.append(rest(own, pod_id)["runtime"]["uptime"])

    assert max(uptimes) < 30
    assert uptimes != sorted(uptimes)
    lines = log(own, pod_id, 2, source="container")
    assert all("exited, code 1" in line for line in lines)


@pytest.mark.parametrize("kind", ["sshd_never", "crash_loop"])
def test_mapped_port_can_have_nothing_behind_it(own: Pods, kind: str) -> None:
    own.sim.add_fault(kind, seconds=3600)
    pod_id = own.deploy()
    come_up(own, pod_id)

    direct = rest(own, pod_id)["ssh"]["direct"]

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((direct["host"], direct["port"]), timeout=5)


def test_community_host_can_lack_a_public_ip_that_was_asked_for(own: Pods) -> None:
    own.sim.add_fault("no_public_ip")
    secure_id = own.deploy(cloudType="SECURE")
    pod_id = own.deploy(cloudType="COMMUNITY", supportPublicIp=True)
    come_up(own, secure_id)
    come_up(own, pod_id)

    ports = graphql(own, pod_id)["runtime"]["ports"]

    assert [port["isIpPublic"] for port in ports] == [False, False]
    assert rest(own, pod_id)["ssh"]["direct"] is None
    assert rest(own, secure_id)["ssh"]["direct"] is not None


def test_ssh_port_can_be_missing_from_what_was_asked_for(own: Pods) -> None:
    own.sim.add_fault("no_ssh_port")
    pod_id = own.deploy()

    assert graphql(own, pod_id)["ports"] == "8188/http"


def test_lost_host_takes_its_pods_and_does_not_start_them_again(own: Pods) -> None:
    pod_id = own.deploy()
    come_up(own, pod_id)

    own.sim.add_fault("host_lost", pod_id=pod_id)

    shown = graphql(own, pod_id)
    assert shown["lastStatusChange"].startswith("Exited by Runpod: ")
    assert rest(own, pod_id)["status"] == "EXITED"
    assert "unreachable" in log(own, pod_id, 4)[3]
    machine_id = own.sim.find_pod(pod_id)["machine_id"]
    refused = own.call("podResume", pod_id, gpuCount=1)
    own.sim.admin("POST", f"machines/{machine_id}", {"is_lost": False})
    started = own.call("podResume", pod_id, gpuCount=1)
    assert refused["errors"][0]["message"].startswith("There are not enough free GPUs")
    assert started["data"]["podResume"]["desiredStatus"] == "RUNNING"


def test_start_can_come_up_without_its_gpus(own: Pods) -> None:
    pod_id = own.deploy()
    own.call("podStop", pod_id)
    own.sim.add_fault("zero_gpu")

    own.call("podResume", pod_id, gpuCount=1)

    shown = graphql(own, pod_id)
    assert (shown["desiredStatus"], shown["gpuCount"]) == ("RUNNING", 0)
    assert shown["costPerHr"] == 0


def test_somebody_can_lock_a_pod(own: Pods) -> None:
    pod_id = own.deploy()

    own.sim.add_fault("locked", pod_id=pod_id)

    assert graphql(own, pod_id)["locked"] is True
    assert rest(own, pod_id)["locked"] is True
    refused = own.sim.rest("POST", f"pods/{pod_id}/action", {"action": "stop"})
    assert refused[0] == 409


def rent_spot(own: Pods) -> str:
    answer = own.sim.graphql(
        RENT,
        i={
            "imageName": "i",
            "gpuTypeId": GPU_TYPE,
            "cloudType": "SECURE",
            "bidPerGpu": 0.3,
            "ports": "22/tcp",
        },
    )
    return str(answer["data"]["podRentInterruptable"]["id"])


def plain(own: Pods) -> str:
    return own.deploy(cloudType="COMMUNITY", supportPublicIp=True)


def with_network_volume(own: Pods) -> str:
    """Rent a pod that outlives an empty balance, stopped."""
    center = next(
        machine["data_center_id"]
        for machine in own.sim.world()["machines"]
        if (machine["gpu_type_id"], machine["cloud_type"]) == (GPU_TYPE, "SECURE")
        and machine["free_gpus"]
    )
    body = {"name": "v", "size": 10, "dataCenter": center}
    status, volume = own.sim.rest("POST", "network-volumes", body)
    assert status == 201, volume
    return own.deploy(networkVolumeId=volume["id"])


STATES: dict[str, tuple[str | None, Callable[[Pods], str]]] = {
    "healthy": (None, plain),
    "image_not_found": ("image_not_found", plain),
    "image_auth": ("image_auth", plain),
    "image_pull_error": ("image_pull_error", plain),
    "cuda_mismatch": ("cuda_mismatch", plain),
    "slow_pull": ("slow_pull", plain),
    "provisioning": ("provisioning_forever", plain),
    "host_silent": ("host_silent", plain),
    "ports_never": ("ports_never", plain),
    "no_public_ip": ("no_public_ip", plain),
    "crash_loop": ("crash_loop", plain),
    "sshd_never": ("sshd_never", plain),
    "no_ssh_port": ("no_ssh_port", plain),
    "outbid": ("outbid", rent_spot),
    "host_lost": ("host_lost", plain),
    "out_of_credit": ("balance_zero", with_network_volume),
    "locked": ("locked", plain),
    "zero_gpu": ("zero_gpu", plain),
}
AT_ONCE = {"outbid", "host_lost", "locked", "balance_zero"}


def answers(direct: dict[str, Any] | None) -> bool:
    """Say whether anything listens at an SSH address."""
    if direct is None:
        return False
    try:
        socket.create_connection((direct["host"], direct["port"]), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def symptoms(own: Pods, pod_id: str) -> tuple[Any, ...]:
    """Return what tells one state from another, and nothing that is just different."""
    pod, shown = graphql(own, pod_id), rest(own, pod_id)
    runtime = pod["runtime"]
    count = 4 if pod["desiredStatus"] == "EXITED" else 1
    known = (
        "manifest unknown",
        "access denied",
        "toomanyrequests",
        "cuda>=",
        "unreachable",
    )
    lines = " ".join(log(own, pod_id, count))
    if shown["status"] in {"ERROR", "STARTING"}:
        lines = " ".join(log(own, pod_id, 2 + (shown["status"] == "ERROR")))
    uptime = -1 if runtime is None else runtime["uptimeInSeconds"]
    own.sim.advance(17)
    after = graphql(own, pod_id)["runtime"]
    return (
        pod["desiredStatus"],
        pod["lastStatusChange"].split(":")[0],
        shown["status"],
        shown["ssh"]["proxy"] is None,
        tuple(text for text in known if text in lines),
        runtime is None,
        bool(runtime and runtime["ports"]),
        bool(runtime and runtime["ports"] and runtime["ports"][0]["isIpPublic"]),
        "22/tcp" in pod["ports"],
        # It crashed in between if it has been up for less than has passed.
        after is not None and after["uptimeInSeconds"] < uptime + 17,
        answers(shown["ssh"]["direct"]),
        pod["gpuCount"],
        pod["locked"],
    )


def test_every_state_can_be_told_from_every_other(own: Pods) -> None:
    found: dict[tuple[Any, ...], str] = {}

    for name, (kind, make) in STATES.items():
        seconds = {"slow_pull": 200, "crash_loop": 15}.get(name)
        extra = {} if seconds is None else {"seconds": seconds}
        if kind is not None and kind not in AT_ONCE and kind != "zero_gpu":
            own.sim.add_fault(kind, **extra)
        pod_id = make(own)
        if kind == "zero_gpu":
            own.call("podStop", pod_id)
            own.sim.add_fault(kind)
            own.call("podResume", pod_id, gpuCount=1)
        own.sim.advance(PULL_SECONDS + 20)
        wait_for(
            lambda: not own.sim.world()["busy"], timeout_seconds=20, what="machines"
        )
        if kind in AT_ONCE:
            own.sim.add_fault(kind, pod_id=pod_id)
            own.sim.advance(60)
        seen = symptoms(own, pod_id)
        assert seen not in found, (name, found[seen], seen)
        found[seen] = name
        own.call("podTerminate", pod_id)
        own.sim.admin("POST", f"accounts/{account_id(own)}", {"balance_usd": 100})

    assert len(found) == len(STATES)


def account_id(own: Pods) -> str:
    return str(own.sim.graphql("{myself{id}}")["data"]["myself"]["id"])
