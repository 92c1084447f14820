"""The contract on pods: the same on every wire."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from runpod_client import (
    CapabilityMissingError,
    Cloud,
    CloudType,
    DesiredStatus,
    NoCapacityError,
    NotFoundError,
    Pod,
    PodEdit,
    PodStatus,
    Protocol,
    RejectedError,
    marks,
)
from support.contract import GPU, PLACE, SPEC, Account, get, open_cloud
from support.waiting import wait_for

UNKNOWN_ID = "zzzzzzzzzzzzzz"
INTENT = "3f9a2c1d77e84b20"
END = datetime(2030, 11, 22, 14, 5, tzinfo=UTC)


def test_new_account_has_no_pods(cloud: Cloud) -> None:
    assert cloud.list_pods() == []


def test_created_pod_is_what_was_asked_for(cloud: Cloud, account: Account) -> None:
    spec = replace(SPEC, volume_gb=20, container_disk_gb=30)

    made = cloud.create_pod(spec, PLACE)

    assert made.name == "plain"
    assert made.image == "runpod/base"
    assert (made.gpu_type, made.gpu_count) == (GPU, 1)
    assert made.cloud_type is CloudType.SECURE
    assert (made.volume_gb, made.container_disk_gb) == (20, 30)
    assert made.price_usd_per_hour == Decimal("0.49")
    assert not made.is_spot
    assert [row["id"] for row in account.rows()] == [made.pod_id]


def test_created_pod_is_listed_and_found(cloud: Cloud, account: Account) -> None:
    made = account.rent(cloud)

    (listed,) = cloud.list_pods()
    found = get(cloud, made.pod_id)

    assert listed.pod_id == found.pod_id == made.pod_id
    assert listed.created_at == found.created_at is not None


def test_several_gpus_cost_several_times(cloud: Cloud) -> None:
    made = cloud.create_pod(SPEC, replace(PLACE, gpu_count=3))

    assert (made.gpu_count, made.price_usd_per_hour) == (3, Decimal("1.47"))


def test_community_cloud_is_obeyed_and_priced(cloud: Cloud) -> None:
    made = cloud.create_pod(SPEC, replace(PLACE, cloud_type=CloudType.COMMUNITY))

    assert made.cloud_type is CloudType.COMMUNITY
    assert made.price_usd_per_hour == Decimal("0.44")


def test_pod_of_unknown_id_is_none(cloud: Cloud) -> None:
    assert cloud.find_pod(UNKNOWN_ID) is None


def test_marks_survive_the_wire(cloud: Cloud) -> None:
    env = marks.render_marks(owner="me", intent_id=INTENT, lease_ends_at=END)
    name = marks.render_name("trainer", intent_id=INTENT, lease_ends_at=END)

    made = cloud.create_pod(replace(SPEC, name=name, env=env), PLACE)
    (listed,) = cloud.list_pods()

    for pod in (made, listed, get(cloud, made.pod_id)):
        assert (pod.name, pod.owner, pod.intent_id) == ("trainer", "me", INTENT)
        assert pod.lease_ends_at == END


def test_awkward_environment_survives_the_wire(cloud: Cloud, account: Account) -> None:
    env = {
        "QUOTES": "\"a\" 'b' `c` $d {e}",
        "LINES": "one\ntwo\\three",
        "EQUALS": "a=b=c",
        "EMPTY": "",
        "UNICODE": "größer 漢字",
    }

    made = account.rent(cloud, env=env)

    found = get(cloud, made.pod_id).env
    assert {key: found[key] for key in env} == env


def test_asked_ports_are_told(cloud: Cloud, account: Account) -> None:
    made = account.rent(cloud, ports=("22/tcp", "8188/http"))

    asked = get(cloud, made.pod_id).asked_ports

    assert asked is not None
    assert set(asked) == {"22/tcp", "8188/http"}


def test_start_command_reaches_the_pod(cloud: Cloud, account: Account) -> None:
    account.rent(cloud, start_command="sleep 60")

    (row,) = account.rows()

    assert row["args"] == "sleep 60"


def test_fresh_pod_is_starting_and_then_runs(cloud: Cloud, account: Account) -> None:
    account.fail("slow_pull", seconds=600)
    made = account.rent(cloud)

    fresh = get(cloud, made.pod_id)
    account.sim.advance(700)
    booted = get(cloud, made.pod_id)

    assert (fresh.status, fresh.desired) == (PodStatus.STARTING, DesiredStatus.RUNNING)
    assert (booted.status, booted.desired) == (PodStatus.RUNNING, DesiredStatus.RUNNING)
    assert fresh.uptime_seconds is None
    assert booted.uptime_seconds is not None
    assert booted.started_at is not None


def test_running_pod_has_an_ssh_address(cloud: Cloud, account: Account) -> None:
    made = account.rent_running(cloud, ports=("22/tcp", "8188/http"))

    pod = wait_for_ssh(cloud, made.pod_id)

    known = account.known(pod.pod_id)
    assert pod.ssh_address is not None
    assert pod.ssh_address.port == known["public_ports"]["22"]
    assert {port.protocol for port in pod.ports} == {Protocol.TCP, Protocol.HTTP}


def test_pod_without_port_22_has_no_ssh_address(cloud: Cloud, account: Account) -> None:
    assert account.rent_running(cloud).ssh_address is None


def test_proxy_user_is_told(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)

    assert pod.proxy_user.startswith(f"{pod.pod_id}-")


def test_stopped_pod_is_stopped_and_wished_so(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud, volume_gb=10)

    cloud.stop_pod(pod.pod_id)

    stopped = get(cloud, pod.pod_id)
    assert (stopped.status, stopped.desired) == (
        PodStatus.STOPPED,
        DesiredStatus.STOPPED,
    )
    assert not stopped.status.is_billed
    assert (stopped.ports, stopped.uptime_seconds) == ((), None)
    assert stopped.volume_gb == 10


def test_stop_of_a_stopped_pod_is_done_already(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)

    cloud.stop_pod(pod.pod_id)

    assert get(cloud, pod.pod_id).status is PodStatus.STOPPED


def test_pod_can_be_stopped_while_it_boots(cloud: Cloud, account: Account) -> None:
    account.fail("slow_pull", seconds=600)
    made = account.rent(cloud)

    cloud.stop_pod(made.pod_id)

    assert get(cloud, made.pod_id).status is PodStatus.STOPPED


def test_started_pod_runs_again_with_a_start_of_its_own(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)
    account.sim.advance(60)
    stopped = get(cloud, pod.pod_id)

    cloud.start_pod(stopped)
    account.boot()

    again = get(cloud, pod.pod_id)
    assert again.status is PodStatus.RUNNING
    assert pod.started_at is not None
    assert again.started_at is not None
    assert again.started_at > pod.started_at
    assert account.known(pod.pod_id)["start_number"] == 2


def test_restart_starts_the_container_anew_or_is_refused_at_once(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)

    if account.dialect == "graphql":
        with pytest.raises(CapabilityMissingError):
            cloud.restart_pod(pod.pod_id)
    else:
        cloud.restart_pod(pod.pod_id)

    account.boot()
    expected = 1 if account.dialect == "graphql" else 2
    assert get(cloud, pod.pod_id).status is PodStatus.RUNNING
    assert account.known(pod.pod_id)["start_number"] == expected


def test_start_without_gpus_reaches_the_volume_or_is_refused_at_once(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)

    if account.dialect == "rest_v2":
        with pytest.raises(CapabilityMissingError):
            cloud.start_pod_without_gpus(pod.pod_id)
        assert get(cloud, pod.pod_id).status is PodStatus.STOPPED
    else:
        cloud.start_pod_without_gpus(pod.pod_id)
        account.boot()
        assert get(cloud, pod.pod_id).status is PodStatus.RUNNING


def test_terminated_pod_is_gone(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)

    cloud.terminate_pod(pod.pod_id)

    assert cloud.list_pods() == []
    found = cloud.find_pod(pod.pod_id)
    assert found is None or found.status is PodStatus.TERMINATED


@pytest.mark.parametrize("call", ["stop", "terminate", "rename"])
def test_change_of_an_unknown_pod_is_not_found(cloud: Cloud, call: str) -> None:
    changes = {
        "stop": lambda: cloud.stop_pod(UNKNOWN_ID),
        "terminate": lambda: cloud.terminate_pod(UNKNOWN_ID),
        "rename": lambda: cloud.rename_pod(UNKNOWN_ID, "new"),
    }

    with pytest.raises(NotFoundError):
        changes[call]()


def test_second_termination_is_not_found(cloud: Cloud, account: Account) -> None:
    pod = account.rent(cloud)
    cloud.terminate_pod(pod.pod_id)

    with pytest.raises(NotFoundError):
        cloud.terminate_pod(pod.pod_id)


def test_start_of_a_terminated_pod_is_refused(cloud: Cloud, account: Account) -> None:
    pod = account.rent(cloud)
    cloud.terminate_pod(pod.pod_id)

    with pytest.raises((NotFoundError, RejectedError)):
        cloud.start_pod(pod)

    assert account.rows() == []


def test_new_name_applies_at_once_and_restarts_nothing(
    cloud: Cloud, account: Account
) -> None:
    env = marks.render_marks(owner="me", intent_id=INTENT)
    pod = account.rent_running(cloud, env=env)
    name = marks.render_name("renamed", intent_id=INTENT, lease_ends_at=END)

    cloud.rename_pod(pod.pod_id, name)

    renamed = get(cloud, pod.pod_id)
    assert (renamed.name, renamed.lease_ends_at) == ("renamed", END)
    assert renamed.status is PodStatus.RUNNING
    assert renamed.started_at == pod.started_at
    assert account.known(pod.pod_id)["start_number"] == 1


def test_edit_starts_the_container_anew_and_keeps_the_rest(
    cloud: Cloud, account: Account
) -> None:
    env = marks.render_marks(owner="me", intent_id=INTENT) | {"A": "1"}
    pod = account.rent_running(cloud, env=env, volume_gb=10)

    cloud.edit_pod(pod, PodEdit(image="runpod/newer"))
    account.boot()

    edited = get(cloud, pod.pod_id)
    assert edited.image == "runpod/newer"
    assert edited.status is PodStatus.RUNNING
    assert (edited.owner, edited.intent_id, edited.env["A"]) == ("me", INTENT, "1")
    assert (edited.volume_gb, edited.container_disk_gb) == (10, 20)
    assert edited.name == pod.name
    assert account.known(pod.pod_id)["start_number"] == 2


def test_environment_ports_and_disk_can_be_edited(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud, env={"A": "1"})
    edit = PodEdit(env={"B": "2"}, ports=("22/tcp",), container_disk_gb=40)

    cloud.edit_pod(pod, edit)
    account.boot()

    edited = wait_for_ssh(cloud, pod.pod_id)
    assert edited.env.get("B") == "2"
    assert "A" not in edited.env
    assert edited.asked_ports == ("22/tcp",)
    assert edited.container_disk_gb == 40


def test_volume_disk_can_grow(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud, volume_gb=10, volume_mount_path="/data")

    cloud.edit_pod(pod, PodEdit(volume_gb=30))

    (row,) = account.rows()
    assert row["mounts"] == {"persistent": {"size": 30, "path": "/data"}}


def test_locked_pod_is_told_and_not_stopped(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)
    account.sim.rest("PATCH", f"pods/{pod.pod_id}", {"locked": True})

    with pytest.raises(RejectedError, match="locked"):
        cloud.stop_pod(pod.pod_id)

    locked = get(cloud, pod.pod_id)
    assert (locked.is_locked, locked.status) == (True, PodStatus.RUNNING)
    account.sim.rest("PATCH", f"pods/{pod.pod_id}", {"locked": False})


def test_pods_of_another_account_are_not_seen_and_not_touched(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    stranger = Account(account.sim.with_key("rpa_stranger0000"), account.dialect)
    other = open_cloud(stranger)

    assert other.list_pods() == []
    assert other.find_pod(pod.pod_id) is None
    with pytest.raises(NotFoundError):
        other.terminate_pod(pod.pod_id)
    other.close()

    assert get(cloud, pod.pod_id).status is PodStatus.RUNNING


def test_data_center_is_obeyed(cloud: Cloud, account: Account) -> None:
    centers = secure_centers(account)

    made = [
        cloud.create_pod(SPEC, replace(PLACE, data_center_ids=(center,)))
        for center in centers
    ]

    assert [pod.data_center_id for pod in made] == centers


def test_any_of_several_data_centers_will_do(cloud: Cloud, account: Account) -> None:
    (center, *_) = secure_centers(account)
    empty = next(c for c in ("US-TX-3", "EU-SE-1", "AP-JP-1") if c != center)
    places = replace(PLACE, data_center_ids=(empty, center))

    made = cloud.create_pod(SPEC, places)

    assert made.data_center_id in {empty, center}
    assert len(account.rows()) == 1


def test_data_center_without_such_gpus_is_no_capacity(
    cloud: Cloud, account: Account
) -> None:
    taken = secure_centers(account)
    empty = next(c for c in ("US-TX-3", "EU-SE-1", "AP-JP-1") if c not in taken)

    with pytest.raises(NoCapacityError):
        cloud.create_pod(SPEC, replace(PLACE, data_center_ids=(empty,)))

    assert account.rows() == []


def test_cuda_floor_is_obeyed(cloud: Cloud, account: Account) -> None:
    with pytest.raises(NoCapacityError):
        cloud.create_pod(SPEC, replace(PLACE, min_cuda="99.0"))
    cloud.create_pod(SPEC, replace(PLACE, min_cuda="12.1"))

    (row,) = account.rows()
    assert row["cudaVersion"] in {"12.8", "13.0"}


def test_logs_are_read_or_refused_at_once(cloud: Cloud, account: Account) -> None:
    pod = account.rent_running(cloud)

    if account.dialect == "graphql":
        with pytest.raises(CapabilityMissingError):
            cloud.read_logs(pod.pod_id, is_system=True)
        return

    lines = cloud.read_logs(pod.pod_id, is_system=True, tail=2)
    assert 1 <= len(lines) <= 2
    assert all(line.is_system and line.text for line in lines)
    assert all(line.written_at is not None for line in lines)


def wait_for_ssh(cloud: Cloud, pod_id: str) -> Pod:
    """Return a pod once its port 22 is mapped: its sshd starts in real time."""

    def reachable() -> Pod | None:
        pod = get(cloud, pod_id)
        return pod if pod.ssh_address is not None else None

    return wait_for(reachable, what="a pod with an SSH address")


def secure_centers(account: Account) -> list[str]:
    """Return where the simulator has such GPUs, in the secure cloud."""
    machines = account.sim.world()["machines"]
    return sorted(
        {
            machine["data_center_id"]
            for machine in machines
            if machine["gpu_type_id"] == GPU and machine["cloud_type"] == "SECURE"
        }
    )
