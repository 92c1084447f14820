from pathlib import Path

from support.pods import GPU_TYPE, Pods
from support.waiting import wait_for

RENT = "mutation($i:PodRentInterruptableInput!){podRentInterruptable(input:$i){id}}"


def rent(pods: Pods, bid: float) -> dict[str, object]:
    return pods.sim.graphql(
        RENT,
        i={
            "imageName": "i",
            "gpuTypeId": GPU_TYPE,
            "cloudType": "SECURE",
            "bidPerGpu": bid,
            "ports": "22/tcp",
            "env": [{"key": "PUBLIC_KEY", "value": pods.public_key}],
        },
    )


def rented(pods: Pods) -> str:
    answer = rent(pods, 0.3)
    return str(answer["data"]["podRentInterruptable"]["id"])  # type: ignore[index]  # JSON


def test_bid_below_the_minimum_finds_nothing(pods: Pods) -> None:
    answer = rent(pods, 0.01)

    assert answer["errors"][0]["message"] == (  # type: ignore[index]  # JSON
        "There are no longer any instances available with the request specifications."
        " Please try again later."
    )


def test_outbid_pod_gets_term_and_five_seconds(pods: Pods) -> None:
    pod = pods.wait_until_up(rented(pods))
    pod.run(
        'setsid bash -c \'trap "echo told > $WORKSPACE/told" TERM;'
        " echo > $WORKSPACE/ready; while :; do sleep 0.1; done'"
        " >/dev/null 2>&1 </dev/null &"
    )
    workspace = Path(pods.sim.find_pod(pod.id)["directory"]) / "workspace"
    wait_for((workspace / "ready").exists, what="the process listens for TERM")

    pods.sim.admin("POST", f"pods/{pod.id}/outbid")

    shown = pods.get(pod.id)
    assert shown["desiredStatus"] == "EXITED"
    assert shown["podType"] == "INTERRUPTABLE"
    assert shown["lastStatusChange"].startswith("Outbid: ")
    assert pods.sim.find_pod(pod.id)["process_count"] > 0
    wait_for(
        lambda: pods.sim.find_pod(pod.id)["process_count"] == 0,
        timeout_seconds=15,
        what="the kill",
    )
    assert (workspace / "told").read_text() == "told\n"


def test_spot_pod_starts_by_a_bid_alone(pods: Pods) -> None:
    pod_id = rented(pods)
    pods.call("podStop", pod_id)

    refused = pods.call("podResume", pod_id, gpuCount=1)
    started = pods.call("podBidResume", pod_id, gpuCount=1, bidPerGpu=0.35)

    assert refused["errors"][0]["message"] == (
        "Cannot resume a spot pod as an on demand pod."
    )
    assert started["data"]["podBidResume"]["desiredStatus"] == "RUNNING"
    assert pods.get(pod_id)["costPerHr"] == 0.35


def test_fault_outbids_every_spot_pod_and_no_other(pods: Pods) -> None:
    spot = rented(pods)
    on_demand = pods.deploy()

    pods.sim.add_fault("outbid")

    assert pods.get(spot)["desiredStatus"] == "EXITED"
    assert pods.get(on_demand)["desiredStatus"] == "RUNNING"
