import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from runpod_client import (
    AuthenticationError,
    ConfigError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    PodSpec,
    PodStatus,
    RejectedError,
    RunPodClient,
    UnsettledCreateError,
)
from runpod_client.intents import IntentState, Journal
from support.clock import FakeTime
from support.http_server import Answer, json_answer
from support.runpod_script import (
    CUT,
    OUT_OF_STOCK,
    RunPodScript,
    make_client,
    pod_row,
    refusal,
)
from support.waiting import wait_for

SPEC = PodSpec(
    name="trainer",
    gpu_types=("RTX 4090", "H100 SXM"),
    image="img",
    env={"HF_TOKEN": "planted-secret-value"},
)


def states(state_dir: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(state_dir / "journal.sqlite3")) as connection:
        return connection.execute("SELECT state, pod_id FROM intents").fetchall()


def identities(state_dir: Path) -> list[str]:
    return [path.name for path in (state_dir / "identities").glob("*")]


def test_created_pod_carries_marks_identity_and_the_wanted_variables(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    pod = client.create_pod(SPEC)

    identity = client.identity_for(pod)
    assert identity is not None
    assert pod.env == {
        "HF_TOKEN": "planted-secret-value",
        "RUNPOD_CLIENT_OWNER": "tester",
        "RUNPOD_CLIENT_INTENT": identity.private_key_file.parent.name,
        "PUBLIC_KEY": identity.public_key,
    }
    assert states(tmp_path) == [("settled", pod.pod_id)]
    assert runpod.counts["createPod"] == 1


def test_own_public_key_is_kept_beside_the_identity(client: RunPodClient) -> None:
    mine = "ssh-ed25519 AAAA me"
    spec = PodSpec(
        name="x", gpu_types=("L4",), image="img", env={"PUBLIC_KEY": f"{mine}\n"}
    )

    pod = client.create_pod(spec)

    identity = client.identity_for(pod)
    assert identity is not None
    assert pod.env["PUBLIC_KEY"] == f"{mine}\n{identity.public_key}"


def test_journal_holds_no_values_of_variables(
    client: RunPodClient, tmp_path: Path
) -> None:
    client.create_pod(SPEC)

    written = b"".join(p.read_bytes() for p in tmp_path.glob("journal*"))
    assert b"HF_TOKEN" in written
    assert b"planted-secret-value" not in written
    assert (tmp_path / "journal.sqlite3").stat().st_mode & 0o777 == 0o600


def test_next_gpu_type_is_tried_where_one_is_out_of_stock(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    runpod.instead["createPod"] = [OUT_OF_STOCK]

    pod = client.create_pod(SPEC)

    assert pod.gpu_type == "NVIDIA H100 80GB HBM3"
    assert states(tmp_path) == [("settled", pod.pod_id)]


def test_null_answer_of_a_create_means_no_capacity(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    null = json_answer({"data": {"created": None}})
    runpod.instead["createPod"] = [null, null]

    with pytest.raises(NoCapacityError):
        client.create_pod(SPEC)

    assert runpod.counts["createPod"] == 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([OUT_OF_STOCK, OUT_OF_STOCK], NoCapacityError),
        (
            [refusal("Renting this pod would put you over your current spending limit ($80.00/hr).")],
            InsufficientBalanceError,
        ),
        ([refusal("No such image allowed", "RUNPOD")], RejectedError),
        ([Answer(status=401)], AuthenticationError),
        ([Answer(status=400, body=b"{}")], RejectedError),
    ],
)  # fmt: skip
def test_refused_create_leaves_nothing_behind(
    client: RunPodClient,
    runpod: RunPodScript,
    tmp_path: Path,
    answers: list[Answer],
    expected: type[Exception],
) -> None:
    runpod.instead["createPod"] = answers

    with pytest.raises(expected):
        client.create_pod(SPEC)

    assert states(tmp_path) == [("failed", None)]
    assert identities(tmp_path) == []
    assert list((tmp_path / "creates").iterdir()) == []
    assert runpod.pods == {}


@pytest.mark.parametrize(
    "lost",
    [
        CUT,
        Answer(status=502, body=b"<html>bad gateway</html>"),
        Answer(body=b"<html>hello</html>"),
        refusal("Something went wrong. Please try again later or contact support."),
    ],
)
def test_lost_answer_is_settled_by_listing_and_never_sent_twice(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, lost: Answer
) -> None:
    runpod.after["createPod"] = [lost]
    runpod.hidden_listings = 0

    pod = client.create_pod(SPEC)

    assert runpod.counts["createPod"] == 1
    assert list(runpod.pods) == [pod.pod_id]
    assert states(tmp_path) == [("settled", pod.pod_id)]


def test_listing_that_lags_behind_is_asked_again(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 3  # one is asked before the create

    pod = client.create_pod(SPEC)

    assert list(runpod.pods) == [pod.pod_id]


def test_create_that_no_listing_shows_stays_open_and_says_so(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    runpod.instead["createPod"] = [CUT]

    with pytest.raises(UnsettledCreateError) as caught:
        client.create_pod(SPEC)

    assert "pods list" in caught.value.hint
    assert states(tmp_path) == [("sent", None)]
    assert len(identities(tmp_path)) == 1


def test_repeated_create_takes_over_what_an_unsettled_one_made(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)

    pod = client.create_pod(SPEC)

    assert list(runpod.pods) == [pod.pod_id]
    assert client.identity_for(pod) is not None
    assert runpod.counts["createPod"] == 1


def test_repeated_create_sends_again_once_the_first_has_surely_made_nothing(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    runpod.instead["createPod"] = [CUT]
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    sent = fake_time.elapsed_seconds

    pod = client.create_pod(SPEC)

    assert fake_time.elapsed_seconds - sent >= 84
    assert list(runpod.pods) == [pod.pod_id]
    assert states(tmp_path) == [("abandoned", None), ("settled", pod.pod_id)]
    assert len(identities(tmp_path)) == 1


def test_create_of_another_spec_does_not_take_over(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    other = PodSpec(name="trainer", gpu_types=("L4",), image="img")

    with pytest.raises(RejectedError, match="already a pod named 'trainer'"):
        client.create_pod(other)


def test_second_live_pod_of_one_name_is_refused_unless_asked_for(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    client.create_pod(SPEC)

    with pytest.raises(RejectedError, match="already a pod named 'trainer'"):
        client.create_pod(SPEC)
    client.create_pod(SPEC, allow_duplicate_name=True)

    assert len(runpod.pods) == 2


def test_terminated_pod_does_not_hold_its_name(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.pods["old"] = pod_row("old", "trainer", desired="TERMINATED")

    assert client.create_pod(SPEC).status is PodStatus.RUNNING


def test_unknown_gpu_type_is_refused_before_anything_is_sent(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    spec = PodSpec(name="x", gpu_types=("RTX 4091",), image="img")

    with pytest.raises(NotFoundError) as caught:
        client.create_pod(spec)

    assert "'RTX 4090'" in caught.value.hint
    assert runpod.counts["createPod"] == 0


def test_create_of_a_name_that_is_under_way_elsewhere_is_refused(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    with Journal(tmp_path).plan(SPEC, now=fake_time.now()) as intent:
        with pytest.raises(RejectedError, match="another create"):
            client.create_pod(SPEC)

        assert Journal(tmp_path).get(intent.intent_id).state is IntentState.PLANNED
    assert runpod.counts["createPod"] == 0


def test_creates_of_one_name_at_once_make_one_pod(
    runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    made: list[str] = []
    refused: list[RejectedError] = []
    start = threading.Barrier(6)

    def create() -> None:
        with make_client(runpod.server.base_url, tmp_path, fake_time) as client:
            start.wait()
            try:
                made.append(client.create_pod(SPEC).pod_id)
            except RejectedError as error:
                refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert made == list(runpod.pods)
    assert (len(made), len(refused)) == (1, 5)


def test_unwritable_state_directory_fails_before_anything_is_rented(
    runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    with (
        make_client(runpod.server.base_url, blocked, fake_time) as client,
        pytest.raises(ConfigError) as caught,
    ):
        client.create_pod(SPEC)

    assert "RUNPOD_STATE_DIR" in caught.value.hint
    assert runpod.pods == {}


# A create in a process of its own that stops for ever at a chosen point, so that the
# test can kill it there. The points are the calls of the journal and of the cloud.
CHILD = """
import sys, time
from pathlib import Path
from runpod_client import logs
from runpod_client.intents import Journal
from support.clock import FakeTime
from support.runpod_script import make_client
from client_spec import SPEC

point, base_url, state_dir = sys.argv[1], sys.argv[2], Path(sys.argv[3])
logs.configure(level="error")

def freeze():
    print("frozen", flush=True)
    time.sleep(60)

class Journaled(Journal):
    def record(self, intent_id, state, **facts):
        if point == f"before {state}":
            freeze()
        super().record(intent_id, state, **facts)
        if point == f"after {state}":
            freeze()

journal = Journaled(state_dir)
make_client(base_url, state_dir, FakeTime(), journal=journal).create_pod(SPEC)
"""


@pytest.mark.parametrize(
    ("point", "made"),
    [
        ("before sent", 0),
        ("after sent", 0),
        ("before settled", 1),
        ("after settled", 1),
    ],
)
def test_create_killed_at_any_point_ends_with_exactly_one_pod(
    runpod: RunPodScript,
    tmp_path: Path,
    fake_time: FakeTime,
    point: str,
    made: int,
) -> None:
    (tmp_path / "client_spec.py").write_text(
        "from runpod_client import PodSpec\n"
        f"SPEC = PodSpec(name={SPEC.name!r}, gpu_types={SPEC.gpu_types!r},"
        f" image={SPEC.image!r}, env={SPEC.env!r})\n"
    )
    state_dir = tmp_path / "state"
    tests = Path(__file__).parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, point, runpod.server.base_url, str(state_dir)],
        env={"PYTHONPATH": f"{tests}:{tmp_path}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        line = wait_for(child.stdout.readline, what="the child to freeze")
        assert line == "frozen\n"
    finally:
        child.kill()
        child.communicate()
    assert len(runpod.pods) == made

    with make_client(runpod.server.base_url, state_dir, fake_time) as client:
        if point == "after settled":
            with pytest.raises(RejectedError, match="already a pod"):
                client.create_pod(SPEC)
        else:
            client.create_pod(SPEC)

        assert len(runpod.pods) == 1
        (pod,) = client.list_pods()
        assert client.identity_for(pod) is not None
        assert client.settle() == []
    assert len(identities(state_dir)) == 1
