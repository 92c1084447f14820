import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_client import (
    AmbiguousPodError,
    ClientSettings,
    ConfigError,
    Constraints,
    DeadlineError,
    NoCapacityError,
    NotFoundError,
    PodSpec,
    PodStatus,
    RejectedError,
    RunPodClient,
    Secret,
    TransportError,
    open_client,
)
from runpod_client.owners import ensure_owner
from support.clock import FakeTime
from support.http_server import Answer, json_answer
from support.runpod_script import (
    API_KEY,
    CUT,
    RunPodScript,
    pod_row,
    refusal,
    settings_for,
)

SPEC = PodSpec(name="trainer", image="img", place=Constraints(gpu_types=("RTX 4090",)))


def hold(runpod: RunPodScript, *names: str, desired: str = "RUNNING") -> None:
    for number, name in enumerate(names):
        pod_id = f"id{number}"
        runpod.pods[pod_id] = pod_row(pod_id, name, desired=desired)


def test_pod_is_resolved_by_id_and_by_name(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", "b")

    assert client.resolve_pod("id1").name == "b"
    assert client.resolve_pod("a").pod_id == "id0"


def test_id_goes_before_a_name_that_looks_like_it(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "id1", "b")

    assert client.resolve_pod("id1").name == "b"


def test_ambiguous_name_names_the_pods(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", "a")

    with pytest.raises(AmbiguousPodError) as caught:
        client.resolve_pod("a")

    assert caught.value.pod_ids == ("id0", "id1")


def test_unknown_pod_is_answered_with_near_names(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "trainer", "web")

    with pytest.raises(NotFoundError) as caught:
        client.resolve_pod("trianer")

    assert "Did you mean 'trainer'?" in caught.value.hint


def test_stop_of_a_stopped_pod_changes_nothing(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", desired="EXITED")

    assert client.stop_pod("id0").status is PodStatus.STOPPED

    assert runpod.counts["stopPod"] == 0


def test_stop_returns_when_the_pod_is_seen_stopped(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")

    assert client.stop_pod("id0").status is PodStatus.STOPPED


def test_stop_without_waiting_returns_at_once(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")

    client.stop_pod("id0", wait=False)

    assert runpod.counts["findPod"] == 1


def test_stop_whose_answers_are_all_lost_is_observed(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    runpod.after["stopPod"] = [CUT] * 8

    assert client.stop_pod("id0").status is PodStatus.STOPPED


def test_start_whose_answer_was_lost_is_observed_and_never_sent_again(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", desired="EXITED")
    runpod.after["startPod"] = [CUT]

    assert client.start_pod("id0").status is PodStatus.RUNNING

    assert runpod.counts["startPod"] == 1


def test_stop_that_did_not_happen_is_an_error(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    runpod.instead["stopPod"] = [CUT] * 8

    with pytest.raises(TransportError):
        client.stop_pod("id0")


def test_start_of_a_running_pod_changes_nothing(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")

    assert client.start_pod("id0").status is PodStatus.RUNNING

    assert runpod.counts["startPod"] == 0


def test_start_of_a_terminated_pod_is_rejected(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", desired="TERMINATED")

    with pytest.raises(RejectedError, match="terminated"):
        client.start_pod("id0")


def test_start_without_free_gpus_is_no_capacity(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a", desired="EXITED")
    runpod.instead["startPod"] = [
        refusal("There are not enough free GPUs on the host machine to start this pod.")
    ]

    with pytest.raises(NoCapacityError):
        client.start_pod("id0")


def test_terminate_destroys_pod_and_identity_and_can_be_repeated(
    client: RunPodClient, tmp_path: Path
) -> None:
    pod = client.create_pod(SPEC)

    assert client.terminate_pod(pod.pod_id) is True
    assert client.terminate_pod(pod.pod_id) is False

    assert list((tmp_path / "identities").iterdir()) == []
    assert client.was_rented_here(pod.pod_id)


def test_identity_of_a_pod_that_is_gone_already_is_removed_too(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    pod = client.create_pod(SPEC)
    runpod.pods.clear()

    assert client.terminate_pod(pod.pod_id) is False

    assert list((tmp_path / "identities").iterdir()) == []


def test_terminate_that_races_with_another_is_fine(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    gone = refusal("pod not found to terminate", "POD_NOT_FOUND", "podTerminate")
    runpod.after["terminatePod"] = [gone]

    assert client.terminate_pod("id0") is False


def test_terminate_reaches_a_pod_that_is_not_shown_yet(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    runpod.instead["findPod"] = [json_answer({"data": {"pod": None}})]

    assert client.terminate_pod("id0") is True

    assert runpod.pods == {}


def test_terminate_returns_only_when_the_pod_is_seen_gone(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    runpod.instead["terminatePod"] = [json_answer({"data": {"podTerminate": None}})]

    with pytest.raises(DeadlineError):
        client.terminate_pod("id0", timeout=10)


def test_foreign_mark_never_reaches_the_file_system(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    runpod.pods["id0"]["env"] = ["RUNPOD_CLIENT_INTENT=../../etc"]

    assert client.identity_for(client.get_pod("id0")) is None
    assert client.terminate_pod("id0") is True


def test_waiting_ends_when_the_pod_runs(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    hold(runpod, "a")
    starting = pod_row("id0", "a", has_runtime=False)
    running = json_answer({"data": {"pod": runpod.pods["id0"]}})
    not_yet = json_answer({"data": {"pod": starting}})
    runpod.instead["findPod"] = [not_yet, not_yet, not_yet, running]
    seen: list[str] = []

    pod = client.wait_until_running("id0", timeout=60, on_status=seen.append)

    assert pod.status is PodStatus.RUNNING
    assert fake_time.elapsed_seconds == pytest.approx(6)
    assert "its container is starting" in seen[0]


@pytest.mark.parametrize(
    ("desired", "reason"),
    [("EXITED", "Exited by Runpod: now"), ("TERMINATED", "Outbid: now")],
)
def test_waiting_for_a_pod_that_stops_ends_at_once_with_the_reason(
    client: RunPodClient,
    runpod: RunPodScript,
    fake_time: FakeTime,
    desired: str,
    reason: str,
) -> None:
    hold(runpod, "a", desired=desired)
    runpod.pods["id0"]["lastStatusChange"] = reason

    with pytest.raises(RejectedError, match=reason):
        client.wait_until_ssh_address("id0", timeout=600)

    assert fake_time.elapsed_seconds == 0


def test_waiting_for_a_pod_that_vanishes_ends_at_the_second_absence(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    hold(runpod, "a")
    present = json_answer({"data": {"pod": pod_row("id0", "a", has_runtime=False)}})
    absent = json_answer({"data": {"pod": None}})
    runpod.instead["findPod"] = [present, absent, present, absent, absent]

    with pytest.raises(RejectedError, match="vanished"):
        client.wait_until_running("id0", timeout=600)

    assert fake_time.elapsed_seconds == pytest.approx(8)


def test_waiting_for_a_pod_that_was_just_made_bears_a_lagging_listing(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    absent = json_answer({"data": {"pod": None}})
    runpod.instead["findPod"] = [absent, absent]

    assert client.wait_until_running("id0", timeout=60).name == "a"


def test_waiting_for_a_pod_that_never_was_is_not_found(client: RunPodClient) -> None:
    with pytest.raises(NotFoundError):
        client.wait_until_running("nobody", timeout=60)


def test_waiting_survives_a_time_of_bad_answers(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    hold(runpod, "a")
    present = json_answer({"data": {"pod": runpod.pods["id0"]}})
    bad = Answer(status=503)
    runpod.instead["findPod"] = [present, *[bad] * 5]

    assert client.wait_until_running("id0", timeout=60).pod_id == "id0"


def test_waiting_for_an_address_ends_at_the_deadline_with_what_was_seen(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    hold(runpod, "a")
    runpod.pods["id0"]["runtime"]["ports"] = None

    with pytest.raises(DeadlineError) as caught:
        client.wait_until_ssh_address("id0", timeout=30)

    assert "port 22 has no public address yet" in caught.value.last_status
    assert 30 <= fake_time.elapsed_seconds <= 32


def test_settle_reports_a_pod_whose_create_was_cut_short(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    pod = client.create_pod(SPEC)
    # as a process killed before it could note the answer leaves it
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as connection:
        connection.execute("UPDATE intents SET state = 'sent', pod_id = NULL")
        connection.commit()

    assert [p.pod_id for p in client.settle()] == [pod.pod_id]
    assert client.settle() == []
    assert runpod.counts["createPod"] == 1


def test_client_without_a_key_says_how_to_set_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_client(ClientSettings(state_dir=tmp_path))

    for word in ("RUNPOD_API_KEY_FILE", "RUNPOD_API_KEY", "runpod-sim serve"):
        assert word in caught.value.hint


def test_opened_client_talks_to_the_url_of_its_settings(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    with open_client(settings_for(runpod.server.base_url, tmp_path)) as client:
        assert client.get_account().account_id == "user_1"

    assert list(tmp_path.iterdir()) == []


def test_owner_is_made_up_once_and_kept(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"

    first = ensure_owner(state_dir)

    assert ensure_owner(state_dir) == first
    assert (state_dir / "owner").stat().st_mode & 0o777 == 0o600
    assert state_dir.stat().st_mode & 0o777 == 0o700


def test_owner_of_the_settings_goes_first(tmp_path: Path) -> None:
    settings = ClientSettings(api_key=Secret(API_KEY), state_dir=tmp_path, owner="me")

    with open_client(replace(settings, api_url="http://127.0.0.1:1")) as client:
        assert client.owner == "me"
