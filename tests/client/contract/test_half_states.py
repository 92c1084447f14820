"""The contract on half-states: no wire takes one for what it is not."""

from collections.abc import Iterator

import pytest

from runpod_client import Cloud, PodStatus
from support.contract import Account, get
from support.sim import SimServer

RUNS = {PodStatus.RUNNING}
BOOTS = {PodStatus.STARTING}
ENDED = {PodStatus.STOPPED, PodStatus.FAILED}
MINUTE = 60.0


@pytest.fixture(autouse=True)
def lost_hosts_come_back(module_sim: SimServer) -> Iterator[None]:
    yield
    for machine in module_sim.world()["machines"]:
        if machine["is_lost"]:
            path = f"machines/{machine['id']}"
            module_sim.admin("POST", path, {"is_lost": False})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("image_not_found", ENDED),
        ("image_auth", ENDED),
        ("image_pull_error", ENDED),
        ("cuda_mismatch", ENDED),
        ("provisioning_forever", BOOTS),
        ("crash_loop", RUNS | BOOTS),
        ("sshd_never", RUNS),
        ("host_silent", RUNS | BOOTS),
    ],
)
def test_pod_in_a_half_state_is_what_it_is(
    cloud: Cloud, account: Account, kind: str, expected: set[PodStatus]
) -> None:
    lasting = kind in {"provisioning_forever", "host_silent"}
    account.fail(kind, seconds=3600 if lasting else None)
    made = account.rent(cloud, ports=("22/tcp",))
    account.sim.advance(5 * MINUTE)

    pod = get(cloud, made.pod_id)

    assert pod.status in expected
    assert pod.status.is_billed or pod.status is PodStatus.STOPPED


def test_pod_that_lost_its_machine_does_not_run(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)

    account.fail("host_lost", pod_id=pod.pod_id)

    assert get(cloud, pod.pod_id).status in ENDED


@pytest.mark.parametrize("kind", ["image_not_found", "host_lost"])
def test_reason_of_an_end_is_told_where_the_wire_knows_it(
    cloud: Cloud, account: Account, kind: str
) -> None:
    if kind == "host_lost":
        pod = account.rent_running(cloud)
        account.fail(kind, pod_id=pod.pod_id)
    else:
        account.fail(kind)
        pod = account.rent(cloud)
        account.sim.advance(5 * MINUTE)

    reason = get(cloud, pod.pod_id).status_reason

    if account.dialect == "rest_v2":
        assert reason in {"ERROR", "EXITED"}
    else:
        assert reason.casefold().startswith("exited by runpod")


def test_pod_without_the_port_it_asked_for_says_so(
    cloud: Cloud, account: Account
) -> None:
    account.fail("no_ssh_port", "deploy")

    pod = account.rent_running(cloud, ports=("22/tcp", "8188/http"))

    assert pod.asked_ports is not None
    assert "22/tcp" not in pod.asked_ports
    assert pod.ssh_address is None


def test_pod_that_came_back_without_gpus_counts_none_or_what_it_had(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)
    account.fail("zero_gpu", "resume")

    cloud.start_pod(pod)
    account.boot()

    seen = get(cloud, pod.pod_id)
    assert seen.status is PodStatus.RUNNING
    assert seen.gpu_count in {0, 1}
    assert seen.price_usd_per_hour == 0


def test_pod_that_is_locked_is_told(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)

    account.fail("locked", pod_id=pod.pod_id)

    assert get(cloud, pod.pod_id).is_locked
    account.sim.rest("PATCH", f"pods/{pod.pod_id}", {"locked": False})
