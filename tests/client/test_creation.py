import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runpod_client import Patience
from runpod_client.client import RunPodClient
from runpod_client.creation import Creation
from runpod_client.errors import (
    AuthenticationError,
    CircuitOpenError,
    ConfigError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    RejectedError,
    UnavailableError,
    UnsettledCreateError,
)
from runpod_client.identities import IdentityStore
from runpod_client.intents import IntentState, Journal
from runpod_client.model import (
    CloudType,
    Constraints,
    Placement,
    PodSpec,
    PodStatus,
)
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

SPEC = PodSpec(
    name="trainer",
    place=Constraints(gpu_types=("RTX 4090", "H100 SXM"), cloud_type=CloudType.SECURE),
    image="img",
    env={"HF_TOKEN": "planted-secret-value"},
)
PLACEMENT = Placement(
    gpu_type="NVIDIA GeForce RTX 4090",
    gpu_count=1,
    cloud_type=CloudType.SECURE,
    price_usd_per_hour=Decimal("0.69"),
)


def states(state_dir: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(state_dir / "journal.sqlite3")) as connection:
        return connection.execute("SELECT state, pod_id FROM intents").fetchall()


def open_creation(client: RunPodClient, state_dir: Path, time: FakeTime) -> Creation:
    """Return the creates of the client's account without what stands before them."""
    return Creation(
        client.cloud,
        Journal(state_dir),
        IdentityStore(state_dir / "identities"),
        owner="tester",
        patience=Patience(listings=3, pause_seconds=2, abandon_after_seconds=90),
        now=time.now,
        sleep=time.sleep,
    )


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
        "RUNPOD_CLIENT_LEASE": "none",
        "PUBLIC_KEY": identity.public_key,
    }
    assert states(tmp_path) == [("settled", pod.pod_id)]
    assert runpod.counts["createPod"] == 1


def test_pod_is_called_on_the_wire_by_its_name_and_mark(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    pod = client.create_pod(SPEC)

    (row,) = runpod.pods.values()
    assert row["name"] == f"trainer [{(pod.intent_id or '')[:8]}]"
    assert pod.name == "trainer"
    assert (pod.owner, pod.lease_ends_at) == ("tester", None)


def test_lease_begins_when_the_pod_is_asked_for(
    client: RunPodClient, runpod: RunPodScript, fake_time: FakeTime
) -> None:
    fake_time.sleep(1)

    pod = client.create_pod(replace(SPEC, lease=timedelta(hours=2)))

    (row,) = runpod.pods.values()
    assert row["name"].endswith(" 2026-11-01T02:01Z]")
    assert "RUNPOD_CLIENT_LEASE=2026-11-01T02:01Z" in row["env"]
    assert pod.lease_ends_at == datetime(2026, 11, 1, 2, 1, tzinfo=UTC)


def test_spot_pod_carries_the_bid_of_the_placement_that_won(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    runpod.instead["createSpotPod"] = [OUT_OF_STOCK]
    bids = [
        replace(PLACEMENT, bid_usd_per_gpu_hour=Decimal(bid)) for bid in ("0.21", "0.3")
    ]

    pod = open_creation(client, tmp_path, fake_time).rent(SPEC, bids)

    assert pod.env["RUNPOD_CLIENT_BID"] == "0.3"


def test_own_public_key_is_kept_beside_the_identity(client: RunPodClient) -> None:
    mine = "ssh-ed25519 AAAA me"
    spec = replace(SPEC, env={"PUBLIC_KEY": f"{mine}\n"})

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
    intent = Journal(tmp_path).find_by_pod(pod.pod_id)
    assert intent is not None
    assert intent.gpu_type == "NVIDIA H100 80GB HBM3"


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
    assert "0.69 USD per hour" in caught.value.hint
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
    other = replace(SPEC, image="another")

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
    spec = replace(SPEC, place=Constraints(gpu_types=("RTX 4091",)))

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


def test_pod_listed_without_its_environment_is_known_by_its_name(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    for row in runpod.pods.values():
        row["env"] = []

    pod = client.create_pod(SPEC)

    assert list(runpod.pods) == [pod.pod_id]
    assert runpod.counts["createPod"] == 1


def test_pod_of_another_owner_with_the_same_eight_digits_is_not_taken(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path
) -> None:
    runpod.instead["createPod"] = [CUT]
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    (intent,) = Journal(tmp_path).list_open()
    runpod.pods["theirs"] = pod_row(
        "theirs",
        f"trainer [{intent.intent_id[:8]}]",
        env=["RUNPOD_CLIENT_OWNER=somebody", "RUNPOD_CLIENT_INTENT=" + "0" * 16],
    )

    assert client.settle() == []


def test_create_that_somebody_else_settled_is_still_handed_to_who_asks_again(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    (settled,) = client.settle()

    pod = client.create_pod(SPEC)

    assert pod.pod_id == settled.pod_id
    assert runpod.counts["createPod"] == 1
    with pytest.raises(RejectedError, match="already a pod named"):
        client.create_pod(SPEC)


def test_pod_that_ended_before_it_was_asked_for_again_is_rented_anew(
    client: RunPodClient, runpod: RunPodScript
) -> None:
    runpod.after["createPod"] = [CUT]
    runpod.hidden_listings = 4
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    client.settle()
    runpod.pods.clear()

    pod = client.create_pod(SPEC)

    assert list(runpod.pods) == [pod.pod_id]
    assert runpod.counts["createPod"] == 2


def test_create_refused_by_an_open_circuit_was_never_sent(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    broken = Answer(status=502, body=b"<html>bad gateway</html>")
    runpod.instead["listPods"] = [broken] * 8
    for _ in range(2):
        with pytest.raises(UnavailableError):
            client.list_pods()

    with pytest.raises(CircuitOpenError):
        open_creation(client, tmp_path, fake_time).rent(
            SPEC, [PLACEMENT], allow_duplicate_name=True
        )

    assert states(tmp_path) == [("failed", None)]
    assert identities(tmp_path) == []
    assert runpod.counts["createPod"] == 0


def test_pod_that_appears_after_its_create_was_given_up_is_found(
    client: RunPodClient, runpod: RunPodScript, tmp_path: Path, fake_time: FakeTime
) -> None:
    runpod.instead["createPod"] = [CUT]
    with pytest.raises(UnsettledCreateError):
        client.create_pod(SPEC)
    (given_up,) = Journal(tmp_path).list_open()
    wanted = client.create_pod(SPEC)
    late = {**runpod.pods[wanted.pod_id], "id": "late"}
    late["name"] = f"trainer [{given_up.intent_id[:8]}]"
    late["env"] = [
        "RUNPOD_CLIENT_OWNER=tester",
        f"RUNPOD_CLIENT_INTENT={given_up.intent_id}",
    ]
    runpod.pods["late"] = late

    strays = open_creation(client, tmp_path, fake_time).find_strays(client.list_pods())

    assert [pod.pod_id for pod in strays] == ["late"]
