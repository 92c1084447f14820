import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runpod_client import (
    ClientSettings,
    Constraints,
    NoCapacityError,
    PodEdit,
    PodSpec,
    PodStatus,
    RejectedError,
    RunPodClient,
    Secret,
    open_client,
)
from runpod_client.lifecycle import Turns
from support.runpod_script import RunPodScript, pod_row, refusal
from support.sim import SimServer

SPEC = PodSpec(
    name="trainer",
    image="img",
    place=Constraints(gpu_types=("L4",)),
    volume_gb=10,
    env={"A": "1"},
)


@pytest.fixture(params=["graphql", "rest_v2", "auto"])
def rented(
    request: pytest.FixtureRequest, sim: SimServer, tmp_path: Path
) -> Iterator[RunPodClient]:
    """Return a client of the simulator, over each wire in turn."""
    settings = ClientSettings(
        api_key=Secret(sim.env["RUNPOD_API_KEY"]),
        api_url=sim.base_url,
        state_dir=tmp_path / "state",
        dialect=request.param,
    )
    with open_client(settings) as client:
        yield client


def count_of(sim: SimServer, pod_id: str, what: str) -> int:
    """Return how often a pod was stopped, by the times the simulator keeps."""
    return sum(row["event"] == what for row in sim.find_pod(pod_id)["events"])


def test_fifty_callers_stop_a_pod_once(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.pods["id0"] = pod_row("id0", "a")

    with ThreadPoolExecutor(50) as pool:
        stopped = list(pool.map(lambda _n: client.stop_pod("id0").status, range(50)))

    assert set(stopped) == {PodStatus.STOPPED}
    assert runpod.counts["stopPod"] == 1


def test_turns_leave_nothing_behind() -> None:
    turns = Turns()
    started = threading.Barrier(4)
    seen: list[bool] = []

    def take() -> None:
        started.wait(10)
        with turns.take("pod") as was_taken:
            seen.append(was_taken)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(seen) == 4
    with turns.take("pod") as was_taken:
        assert not was_taken


def test_restart_makes_a_younger_container_and_keeps_the_pod(
    rented: RunPodClient,
) -> None:
    pod = rented.create_pod(SPEC)
    before = rented.wait_until_running(pod.pod_id, timeout=60)

    after = rented.restart_pod(pod.pod_id, timeout=60)

    assert after.pod_id == before.pod_id
    assert after.status is PodStatus.RUNNING
    assert after.started_at is not None
    assert before.started_at is not None
    assert after.started_at > before.started_at


def test_restart_of_a_stopped_pod_is_rejected(rented: RunPodClient) -> None:
    pod = rented.create_pod(SPEC)
    rented.stop_pod(pod.pod_id)

    with pytest.raises(RejectedError, match="only a running one restarts"):
        rented.restart_pod(pod.pod_id)


def test_restart_without_a_wire_for_it_may_lose_the_gpu_and_says_so(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.pods["id0"] = pod_row("id0", "a")
    runpod.instead["startPod"] = [
        refusal("There are not enough free GPUs on the host machine to start this pod.")
    ]

    with pytest.raises(NoCapacityError):
        client.restart_pod("id0")


def test_new_name_keeps_the_mark_and_the_running_container(
    rented: RunPodClient,
) -> None:
    pod = rented.create_pod(SPEC)
    before = rented.wait_until_running(pod.pod_id, timeout=60)

    after = rented.edit_pod(pod.pod_id, PodEdit(name="other"))

    assert (after.name, after.intent_id) == ("other", pod.intent_id)
    assert after.started_at == before.started_at
    assert rented.resolve_pod("other").pod_id == pod.pod_id


def test_new_variables_never_cost_a_pod_its_marks(rented: RunPodClient) -> None:
    pod = rented.create_pod(SPEC)
    rented.wait_until_running(pod.pod_id, timeout=60)

    edit = PodEdit(env={"B": "2"}, ports=("22/tcp", "8188/http"))
    after = rented.edit_pod(pod.pod_id, edit)

    assert (after.owner, after.intent_id) == (pod.owner, pod.intent_id)
    assert after.env["B"] == "2"
    assert "A" not in after.env
    assert after.env["PUBLIC_KEY"] == pod.env["PUBLIC_KEY"]
