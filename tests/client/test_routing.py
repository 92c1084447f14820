import json
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runpod_client import (
    APIError,
    AuthenticationError,
    CapabilityMissingError,
    CapabilityRetiredError,
    CloudType,
    Constraints,
    Placement,
    PodSpec,
    PodStatus,
    RateLimitedError,
    Secret,
    UnavailableError,
)
from runpod_client.dialects.capabilities import ORDER, Dialect
from runpod_client.dialects.decisions import Decisions, State
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.dialects.routing import RoutedCloud
from runpod_client.model import Capability
from runpod_client.transport import Repetition, Transport
from support.http_server import Answer, Asked, ScriptedServer, json_answer
from support.runpod_script import API_KEY, CUT, account_row, gpu_type_rows, pod_row

SPEC = PodSpec(name="x", place=Constraints(), image="img")
PLACE = Placement(
    gpu_type="NVIDIA L4",
    gpu_count=1,
    cloud_type=CloudType.SECURE,
    price_usd_per_hour=Decimal("0.49"),
)
SPOT = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.2"))
GONE = Answer(status=410, body=b"retired")
FORBIDDEN = Answer(status=403)
HOUR = 3600.0


class TwoWires:
    """A RunPod that speaks both wires, of which a test takes away what it wants.

    Attributes:
        down: Answers every call of a wire: `graphql` or `v2`.
        instead: Answers one operation of a wire, like `createPod` or `POST /v2/pods`.
        made: Pods made, by the wire they were asked for on.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.down: dict[str, Answer] = {}
        self.instead: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.made: Counter[str] = Counter()
        self.status = "RUNNING"
        server.script = self.answer

    def answer(self, asked: Asked) -> Answer:
        wire = asked.path.split("/")[1].partition("?")[0]
        path = asked.path.partition("?")[0]
        name = (
            asked.json["operationName"]
            if wire == "graphql"
            else f"{asked.method} {path}"
        )
        self.asked.append(name)
        if wire in self.down:
            return self.down[wire]
        if self.instead.get(name):
            return self.instead[name].pop(0)
        data = self.graphql(name) if wire == "graphql" else self.rest(name)
        if name in {"createPod", "createSpotPod", "POST /v2/pods"}:
            self.made[wire] += 1
        return json_answer(data)

    def graphql(self, operation: str) -> dict[str, Any]:
        desired = "RUNNING" if self.status == "RUNNING" else "EXITED"
        row = pod_row("p", "x", desired=desired)
        row["lastStatusChange"] = "Outbid: Sun Nov 01 2026"
        found: dict[str, Any] = {
            "createPod": {"created": row},
            "createSpotPod": {"created": row},
            "listPods": {"myself": {"pods": [row]}},
            "findPod": {"pod": row},
            "getAccount": {"myself": account_row()},
            "listGpuTypes": {"gpuTypes": gpu_type_rows(), "dataCenters": []},
            "listAccountKeys": {"myself": {"pubKey": "ssh-ed25519 AAAA over-graphql"}},
        }
        return {"data": found.get(operation, {})}

    def rest(self, call: str) -> dict[str, Any]:
        row = {"id": "p", "name": "x", "status": self.status}
        found: dict[str, dict[str, Any]] = {
            "GET /v2/pods": {"pods": [row]},
            "GET /v2/account/ssh-keys": {"keys": ["ssh-ed25519 AAAA over-rest"]},
            "GET /v2/catalog/gpus": {"gpus": [REST_GPU]},
        }
        return found.get(call, row)


REST_GPU = {
    "id": "NVIDIA GeForce RTX 4090",
    "name": "RTX 4090",
    "memory": 24,
    "secure": True,
    "community": False,
    "price": {"secure": 0.69, "community": 0},
    "maxCount": {"secure": 8, "community": 0},
    "availability": "HIGH",
}


@pytest.fixture
def wires(http_server: ScriptedServer) -> TwoWires:
    return TwoWires(http_server)


@pytest.fixture
def cloud(wires: TwoWires, tmp_path: Path) -> Iterator[RoutedCloud]:
    made = open_routed(wires, tmp_path / "dialects.json")
    yield made
    made.close()


def open_routed(
    wires: TwoWires, path: Path | None, *, now: float = 1_800_000_000.0
) -> RoutedCloud:
    return RoutedCloud(
        lambda: GraphQLCloud(transport_to(wires)),
        lambda: RestV2Cloud(transport_to(wires)),
        decisions_at(wires, path, now=now),
    )


def transport_to(wires: TwoWires) -> Transport:
    return Transport(
        base_url=wires.server.base_url,
        api_key=Secret(API_KEY),
        timeout_seconds=5,
        repetition=Repetition(initial_seconds=0.001),
    )


def decisions_at(
    wires: TwoWires, path: Path | None, *, now: float = 1_800_000_000.0
) -> Decisions:
    return Decisions(
        path,
        base_url=wires.server.base_url,
        api_key=Secret(API_KEY),
        now=lambda: now,
    )


def test_every_capability_is_routed_somewhere() -> None:
    assert set(ORDER) == set(Capability)
    assert all(ORDER.values())


def test_pods_go_over_rest_and_spot_and_balance_over_graphql(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    cloud.list_pods()
    cloud.create_pod(SPEC, PLACE)
    cloud.get_account()
    cloud.create_pod(SPEC, SPOT)

    assert wires.asked == [
        "GET /v2/pods",
        "POST /v2/pods",
        "getAccount",
        "createSpotPod",
    ]


def test_change_with_nothing_known_asks_one_cheap_question_first(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    cloud.create_pod(SPEC, PLACE)
    cloud.create_pod(SPEC, PLACE)

    assert wires.asked == [
        "GET /v2/pods/00000000000000",
        "POST /v2/pods",
        "POST /v2/pods",
    ]


def test_new_name_goes_where_it_is_known_to_restart_nothing(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    cloud.rename_pod("p", "new")

    assert wires.asked[-1] == "renamePod"


def test_spot_pod_is_started_over_graphql(cloud: RoutedCloud, wires: TwoWires) -> None:
    wires.status = "EXITED"
    (pod,) = cloud.list_pods()

    cloud.start_pod(replace(pod, is_spot=True))
    cloud.start_pod(pod)

    assert wires.asked[-2:] == ["startSpotPod", "POST /v2/pods/p/action"]


def test_read_goes_to_the_other_wire_at_once_where_one_is_withdrawn(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down["v2"] = GONE

    first, second = cloud.list_pods(), cloud.list_pods()

    assert [pod.pod_id for pod in first + second] == ["p", "p"]
    assert wires.asked == ["GET /v2/pods", "listPods", "listPods"]


@pytest.mark.parametrize(
    "answer", [GONE, FORBIDDEN, Answer(status=404), Answer(status=501)]
)
def test_create_goes_over_graphql_where_rest_is_not_to_be_had(
    cloud: RoutedCloud, wires: TwoWires, answer: Answer
) -> None:
    wires.down["v2"] = answer

    cloud.create_pod(SPEC, PLACE)

    assert wires.made == {"graphql": 1}


OUTAGES = [Answer(status=503), Answer(status=500, body=b"<html>"), CUT]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=429, headers={"Retry-After": "60"}), RateLimitedError),
        (Answer(status=401), AuthenticationError),
    ],
)
def test_refusal_of_the_account_is_raised_and_not_asked_around(
    cloud: RoutedCloud, wires: TwoWires, answer: Answer, expected: type[APIError]
) -> None:
    wires.down["v2"] = answer

    with pytest.raises(expected):
        cloud.list_pods()

    assert "listPods" not in wires.asked


@pytest.mark.parametrize("answer", OUTAGES)
def test_outage_decides_nothing_and_no_create_goes_around_it(
    cloud: RoutedCloud, wires: TwoWires, answer: Answer
) -> None:
    wires.down["v2"] = answer

    with pytest.raises(APIError):
        cloud.create_pod(SPEC, PLACE)
    del wires.down["v2"]
    fresh = open_routed(wires, None)
    pod = fresh.create_pod(SPEC, PLACE)
    fresh.close()

    assert pod.pod_id == "p"
    assert wires.made == {"v2": 1}
    assert "createPod" not in wires.asked


@pytest.mark.parametrize("answer", OUTAGES)
def test_outage_of_one_wire_keeps_nobody_from_looking_and_stopping(
    cloud: RoutedCloud, wires: TwoWires, answer: Answer
) -> None:
    cloud.list_pods()
    wires.down["v2"] = answer

    assert [pod.pod_id for pod in cloud.list_pods()] == ["p"]
    cloud.stop_pod("p")
    cloud.terminate_pod("p")

    assert {"listPods", "stopPod", "terminatePod"} <= set(wires.asked)


def test_outage_of_both_wires_is_raised(cloud: RoutedCloud, wires: TwoWires) -> None:
    wires.down = {"v2": Answer(status=503), "graphql": CUT}

    with pytest.raises(UnavailableError):
        cloud.list_pods()
    with pytest.raises(UnavailableError):
        cloud.stop_pod("p")


def test_create_answered_410_is_raised_and_never_sent_to_the_other_wire(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    cloud.list_pods()
    wires.down["v2"] = GONE

    with pytest.raises(CapabilityRetiredError) as caught:
        cloud.create_pod(SPEC, PLACE)
    made_at_once = wires.made.total()
    cloud.create_pod(SPEC, PLACE)

    assert made_at_once == 0
    assert wires.made == {"graphql": 1}
    assert caught.value.message == (
        "RunPod has withdrawn REST v2, which pods went over; GraphQL still has it"
    )
    assert "Nothing was changed" in caught.value.hint


@pytest.mark.parametrize("failure", [Answer(status=500), CUT, Answer(body=b"<")])
def test_create_that_failed_in_the_middle_is_never_sent_again(
    cloud: RoutedCloud, wires: TwoWires, failure: Answer
) -> None:
    cloud.list_pods()
    wires.instead["POST /v2/pods"] = [failure]

    with pytest.raises(APIError):
        cloud.create_pod(SPEC, PLACE)

    assert wires.asked == ["GET /v2/pods", "POST /v2/pods"]


def test_without_graphql_on_demand_goes_on_and_the_rest_says_why_not(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down["graphql"] = GONE

    cloud.create_pod(SPEC, PLACE)
    with pytest.raises(CapabilityRetiredError) as spot:
        cloud.create_pod(SPEC, SPOT)
    with pytest.raises(CapabilityRetiredError) as balance:
        cloud.get_account()

    assert wires.made == {"v2": 1}
    assert (
        spot.value.message == "RunPod has withdrawn GraphQL, which spot pods went over"
    )
    assert spot.value.hint == "On-demand pods still work: leave out --bid."
    assert spot.value.capability == Capability.SPOT
    assert "pods list" in balance.value.hint


def test_what_is_known_to_be_withdrawn_is_refused_without_a_call(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down["graphql"] = GONE
    with pytest.raises(CapabilityRetiredError):
        cloud.get_account()
    wires.asked.clear()

    with pytest.raises(CapabilityRetiredError):
        cloud.create_pod(SPEC, SPOT)
    with pytest.raises(CapabilityRetiredError):
        cloud.get_account()

    assert wires.asked == []


def test_both_wires_withdrawn_is_one_typed_error(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down = {"graphql": GONE, "v2": GONE}

    with pytest.raises(CapabilityRetiredError):
        cloud.list_pods()
    with pytest.raises(CapabilityRetiredError) as caught:
        cloud.terminate_pod("p")

    assert "update" in caught.value.hint


def test_missing_right_to_one_thing_takes_only_that_thing_elsewhere(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.instead["GET /v2/account/ssh-keys"] = [FORBIDDEN]

    keys = cloud.list_account_keys()
    cloud.list_pods()

    assert keys == ["ssh-ed25519 AAAA over-graphql"]
    assert wires.asked[-1] == "GET /v2/pods"


def test_missing_right_to_what_only_one_wire_has_is_said(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down["v2"] = FORBIDDEN
    cloud.list_pods()
    wires.asked.clear()

    with pytest.raises(AuthenticationError) as caught:
        cloud.restart_pod("p")

    assert wires.asked == []
    assert "restarting in place" in caught.value.message


def test_refusal_by_ourselves_decides_nothing(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.down["graphql"] = GONE
    (pod,) = cloud.list_pods()
    with pytest.raises(CapabilityMissingError):
        cloud.start_pod(pod, bid_usd_per_gpu_hour=Decimal("0.2"))

    cloud.create_pod(SPEC, PLACE)

    assert wires.made == {"v2": 1}


def test_reason_of_a_stopped_pod_is_asked_of_graphql_once(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    wires.status = "EXITED"

    stopped = cloud.find_pod("p")
    calls_for_stopped = wires.asked.copy()
    wires.status = "RUNNING"
    running = cloud.find_pod("p")
    wires.asked.clear()
    cloud.list_pods()

    assert stopped is not None
    assert stopped.status is PodStatus.STOPPED
    assert stopped.status_reason == "Outbid: Sun Nov 01 2026"
    assert calls_for_stopped == ["GET /v2/pods/p", "findPod"]
    assert running is not None
    assert running.status is PodStatus.RUNNING
    assert wires.asked == ["GET /v2/pods"]


@pytest.mark.parametrize("answer", [GONE, Answer(status=503), Answer(body=b"<")])
def test_stopped_pod_is_found_though_graphql_cannot_say_why(
    cloud: RoutedCloud, wires: TwoWires, answer: Answer
) -> None:
    wires.status = "EXITED"
    wires.down["graphql"] = answer

    pod = cloud.find_pod("p")

    assert pod is not None
    assert (pod.status, pod.status_reason) == (PodStatus.STOPPED, "EXITED")


def test_offers_of_rest_get_the_bids_of_graphql(
    cloud: RoutedCloud, wires: TwoWires
) -> None:
    with_bids = cloud.list_gpu_offers()
    wires.down["graphql"] = GONE
    without = cloud.list_gpu_offers()

    assert [o.minimum_bid_usd_per_gpu_hour for o in with_bids] == [Decimal("0.2")]
    assert [o.minimum_bid_usd_per_gpu_hour for o in without] == [None]
    assert [o.usd_per_gpu_hour for o in with_bids + without] == [Decimal("0.69")] * 2


def test_decision_is_kept_for_the_next_command(wires: TwoWires, tmp_path: Path) -> None:
    path = tmp_path / "state" / "dialects.json"
    wires.down["v2"] = GONE

    for _ in range(3):
        cloud = open_routed(wires, path)
        cloud.create_pod(SPEC, PLACE)
        cloud.close()

    assert wires.asked.count("GET /v2/pods/00000000000000") == 1
    assert wires.asked.count("findPod") == 1
    assert wires.made == {"graphql": 3}


def test_kept_decisions_show_no_key_and_are_the_owners_alone(
    wires: TwoWires, tmp_path: Path
) -> None:
    path = tmp_path / "dialects.json"

    decisions_at(wires, path).note(Dialect.GRAPHQL, State.RETIRED)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert API_KEY not in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["dialects.json"]


@pytest.mark.parametrize(
    ("later", "expected"),
    [(HOUR - 1, State.RETIRED), (HOUR, None), (-1.0, None)],
)
def test_decision_holds_for_an_hour_and_not_in_the_past(
    wires: TwoWires, tmp_path: Path, later: float, expected: State | None
) -> None:
    path = tmp_path / "dialects.json"
    decisions_at(wires, path, now=1000.0).note(Dialect.GRAPHQL, State.RETIRED)

    found = decisions_at(wires, path, now=1000.0 + later).find(Dialect.GRAPHQL)

    assert found is expected


def test_decisions_of_another_key_or_address_do_not_count(
    wires: TwoWires, tmp_path: Path
) -> None:
    path = tmp_path / "dialects.json"
    decisions_at(wires, path).note(Dialect.GRAPHQL, State.RETIRED)
    other_key = Decisions(
        path, base_url=wires.server.base_url, api_key=Secret("rpa_other")
    )
    other_url = Decisions(path, base_url="http://127.0.0.1:1", api_key=Secret(API_KEY))

    other_key.note(Dialect.REST_V2, State.ALIVE)

    assert other_key.find(Dialect.GRAPHQL) is None
    assert other_url.find(Dialect.GRAPHQL) is None
    assert decisions_at(wires, path).find(Dialect.GRAPHQL) is State.RETIRED


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b'{"a": {"graphql": {}}}']
)
def test_unreadable_file_is_no_decision_and_is_replaced(
    wires: TwoWires, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "dialects.json"
    path.write_bytes(content)
    decisions = decisions_at(wires, path)

    before = decisions.find(Dialect.GRAPHQL)
    decisions.note(Dialect.GRAPHQL, State.ALIVE)

    assert before is None
    assert decisions_at(wires, path).find(Dialect.GRAPHQL) is State.ALIVE


def test_folder_that_cannot_be_written_costs_only_the_memory(
    wires: TwoWires, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    cloud = open_routed(wires, tmp_path / "file" / "dialects.json")

    cloud.create_pod(SPEC, PLACE)
    cloud.create_pod(SPEC, PLACE)
    cloud.close()

    assert wires.made == {"v2": 2}
    assert wires.asked.count("GET /v2/pods/00000000000000") == 1


def test_file_does_not_grow_with_every_account(tmp_path: Path) -> None:
    path = tmp_path / "dialects.json"

    for number in range(60):
        key = Secret(f"rpa_{number}")
        Decisions(path, base_url="http://x", api_key=key).note(
            Dialect.GRAPHQL, State.ALIVE
        )

    assert len(json.loads(path.read_text())) == 20


def test_threads_may_decide_at_once(wires: TwoWires, tmp_path: Path) -> None:
    cloud = open_routed(wires, tmp_path / "dialects.json")
    wires.down["v2"] = GONE
    failed: list[Exception] = []

    def work() -> None:
        try:
            cloud.list_pods()
        except Exception as error:  # noqa: BLE001  # shown below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    cloud.close()

    assert failed == []
    assert wires.asked.count("listPods") == 8
