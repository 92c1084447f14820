import json
from decimal import Decimal

import pytest

from support.hub import Fleet
from support.waiting import wait_for

EVIL = {"Origin": "http://evil.example"}


def test_every_route_but_liveness_needs_credentials(fleet: Fleet) -> None:
    document = fleet.hub.get("/openapi.json").json
    routes = [
        (method.upper(), path.replace("{pod_id}", "p").replace("{agent}", "A"))
        for path, methods in document["paths"].items()
        for method in methods
    ]
    hidden = [
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/favicon.ico"),
        ("GET", "/api/no-such-thing"),
        ("GET", "/no-such-page"),
        ("POST", "/logout"),
        ("GET", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"),
        ("GET", "/health/live/"),
        ("GET", "//"),
    ]

    answers = {
        (method, path): fleet.hub.call(method, path).status
        for method, path in routes + hidden
    }

    assert len(routes) >= 8
    assert answers.pop(("GET", "/health/live")) == 200
    assert {key: status for key, status in answers.items() if status != 401} == {}


@pytest.mark.parametrize(
    "authorization", ["Bearer wrong", "Bearer ", "Basic dTpw", "Bearer ä", ""]
)
def test_a_wrong_token_is_refused_with_a_problem(
    fleet: Fleet, authorization: str
) -> None:
    headers = {"Authorization": authorization.encode().decode("latin-1")}

    reply = fleet.hub.call("GET", "/api/pods", headers=headers)

    assert reply.status == 401
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.json["status"] == 401


def test_the_status_has_the_documented_shape_and_exact_money(fleet: Fleet) -> None:
    reply = fleet.hub.get("/api/runpod/status")
    status = json.loads(reply.text, parse_float=Decimal)

    assert status["success"] is True
    assert set(status["summary"]) == {
        "total_pods",
        "running_pods",
        "cost_per_hour",
        "cost_per_day",
        "cost_per_month",
        "active_agents",
    }
    price = status["pods"][0]["price_per_hour"]
    summary = status["summary"]
    assert summary["cost_per_hour"] == price * 2 > 0
    assert summary["cost_per_day"] == price * 48
    assert summary["cost_per_month"] == price * 1460
    assert [pod["name"] for pod in status["pods"]] == ["alpha", "beta"]
    assert {pod["pod_id"] for pod in status["pods"]} == set(fleet.pod_ids)
    pod = status["pods"][0]
    assert (pod["status"], pod["gpu_type"], pod["gpu_count"]) == (
        "RUNNING",
        "NVIDIA L4",
        1,
    )
    assert pod["ports"][0]["type"] == "ssh"
    assert pod["ssh_command"] == f"ssh root@127.0.0.1 -p {pod['ports'][0]['public']}"
    assert status["sources"]["pods"]["source"] == "runpod api"
    assert status["sources"]["pods"]["stale"] is False
    assert 0 <= status["sources"]["pods"]["age_seconds"] < 30
    assert status["as_of"].endswith("Z")
    assert status["account"]["balance_usd"] > 0


def test_openapi_says_that_money_is_a_number(fleet: Fleet) -> None:
    document = fleet.hub.get("/openapi.json").json

    summary = document["components"]["schemas"]["SummaryDocument"]
    assert summary["properties"]["cost_per_hour"]["type"] == "number"


def test_health_is_well_while_everything_answers(fleet: Fleet) -> None:
    deep, ready = fleet.hub.get("/health"), fleet.hub.get("/health/ready")

    assert (deep.status, deep.json["failing"]) == (200, [])
    assert set(deep.json["parts"]) == {"store", "monitor", "cloud"}
    assert ready.status == 200


def test_heartbeats_make_and_keep_an_agents_session(fleet: Fleet) -> None:
    path = f"/api/agents/{fleet.pod_ids[0]}/A/heartbeat"

    first = fleet.hub.post(path, {"status": "working", "current_task": "train"})
    second = fleet.hub.post(path, {"status": "idle"})

    assert (first.status, first.json["agent_letter"]) == (200, "A")
    assert second.json["started_at"] == first.json["started_at"]
    (session,) = fleet.hub.get("/api/agents").json["agent_sessions"]
    assert (session["status"], session["current_task"]) == ("idle", "")
    kinds = [event["kind"] for event in fleet.hub.get("/api/events").json["events"]]
    assert {"agent_connected", "agent_status_changed"} <= set(kinds)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/agents/unknown/A/heartbeat", {"status": "idle"}, 404),
        ("/api/agents/unknown/A/heartbeat", {"status": "sleepy"}, 422),
        ("/api/agents/unknown/A/heartbeat", "not json", 422),
        (
            "/api/agents/p/A/heartbeat",
            {"status": "idle", "current_task": "x" * 501},
            422,
        ),
        ("/api/agents/p/.hidden/heartbeat", {"status": "idle"}, 422),
        ("/api/no-such-thing", {}, 404),
        ("/api/pods", {}, 405),
    ],
)
def test_a_bad_request_gets_a_problem_and_changes_nothing(
    fleet: Fleet, path: str, body: object, status: int
) -> None:
    reply = fleet.hub.post(path, body)

    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in reply.text


def test_a_foreign_host_name_is_refused(fleet: Fleet) -> None:
    headers = fleet.hub.bearer | {"Host": "evil.example"}

    reply = fleet.hub.call("GET", "/api/pods", headers=headers)

    assert (reply.status, reply.json["status"]) == (400, 400)


def test_a_session_may_read_but_not_be_used_from_another_site(fleet: Fleet) -> None:
    session = fleet.hub.log_in()
    path = f"/api/agents/{fleet.pod_ids[1]}/B/heartbeat"
    own = {"Origin": fleet.hub.url}

    read = fleet.hub.call("GET", "/api/pods", headers=session)
    foreign = fleet.hub.call("POST", path, {"status": "idle"}, session | EVIL)
    without = fleet.hub.call("POST", path, {"status": "idle"}, session)
    same = fleet.hub.call("POST", path, {"status": "idle"}, session | own)

    statuses = (read.status, foreign.status, without.status, same.status)
    assert statuses == (200, 403, 403, 200)


def test_the_dashboards_socket_needs_a_session_and_its_own_origin(
    fleet: Fleet,
) -> None:
    session = fleet.hub.log_in()
    own = {"Origin": fleet.hub.url}

    nobody = fleet.hub.open_socket(own)
    foreign = fleet.hub.open_socket(session | EVIL)
    ours = fleet.hub.open_socket(session | own)

    assert (nobody.status, foreign.status, ours.status) == (403, 403, 101)


def test_a_new_pod_shows_after_a_look(fleet: Fleet) -> None:
    def events() -> list[str]:
        return [event["kind"] for event in fleet.hub.get("/api/events").json["events"]]

    appeared = wait_for(
        lambda: events().count("pod_appeared") == 2, what="both pods appeared"
    )

    assert appeared
