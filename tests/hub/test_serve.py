import json
import signal
import socket
import sqlite3
import time

import pytest

from support.hub import HubFactory, rent_pod
from support.sim import SimServer, end
from support.waiting import wait_for


def test_figures_survive_runpods_death_and_say_how_old_they_are(
    hubs: HubFactory, sim: SimServer
) -> None:
    rent_pod(sim, "alpha")
    hub = hubs.start()
    before = hub.wait_for_pods(1)

    end(sim.process)
    stale = wait_for(
        lambda: None if (status := hub.status())["success"] else status,
        timeout_seconds=30,
        what="the hub to notice",
    )
    older = wait_for(
        lambda: (
            status
            if (status := hub.status())["sources"]["pods"]["age_seconds"]
            > stale["sources"]["pods"]["age_seconds"]
            else None
        ),
        what="the age to grow",
    )
    health = hub.get("/health")

    assert stale["summary"]["cost_per_hour"] == before["summary"]["cost_per_hour"] > 0
    assert stale["sources"]["pods"]["stale"] is True
    assert stale["sources"]["account"]["stale"] is True
    assert "RunPod" in stale["error"]
    assert older["pods"] == stale["pods"]
    assert (health.status, health.json["failing"]) == (503, ["cloud"])
    assert hub.call("GET", "/health/live").status == 200


def test_a_killed_hub_comes_back_with_its_last_known_state(
    hubs: HubFactory, sim: SimServer
) -> None:
    rent_pod(sim, "alpha")
    hub = hubs.start()
    hub.wait_for_pods(1)
    session = hub.log_in()
    hub.signal(signal.SIGKILL)
    # a RunPod that never answers: whatever shows must come from the store
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        again = hubs.start(RUNPOD_API_BASE_URL=url)
        status = again.status()
        page = again.call("GET", "/", headers=session)
        ended = again.signal(signal.SIGTERM)

    assert [pod["name"] for pod in status["pods"]] == ["alpha"]
    assert status["sources"]["pods"]["age_seconds"] > 0
    assert (page.status, "alpha" in page.text) == (200, True)
    assert ended == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_hub_leaves_within_two_seconds_even_with_an_open_dashboard(
    hubs: HubFactory, number: signal.Signals
) -> None:
    hub = hubs.start()
    headers = hub.log_in() | {"Origin": hub.url}
    upgrade = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {hub.host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    host, _, port = hub.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as dashboard:
        dashboard.sendall("\r\n".join([*upgrade, "", ""]).encode())
        answer = dashboard.recv(1000)
        started = time.monotonic()

        ended = hub.signal(number)

        elapsed = time.monotonic() - started
    assert b"101" in answer.splitlines()[0]
    assert ended == 0
    assert elapsed < 2.0
    log = hub.log_path.read_text()
    assert "Traceback" not in log
    assert "hub_stopped" in log


def test_a_second_hub_on_the_same_state_is_refused(hubs: HubFactory) -> None:
    hubs.start()

    second = hubs.run("serve", "--port", "0")

    assert second.returncode == 1
    assert "another runpod-hub uses" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_taken_port_is_one_sentence(hubs: HubFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = hubs.run("serve", "--port", str(port), "--log-level", "error")

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"Error: cannot listen on http://127.0.0.1:{port}: Address already in use",
        "  Choose another --port (0 takes a free one) or --host.",
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["--host", "0.0.0.0"], {}, "--allow-remote"),
        (["--interval", "0"], {}, "interval_seconds is 0"),
        (["--port", "70000"], {}, "port is 70000"),
        ([], {"RUNPOD_HUB_INTERVAL": "soon"}, "RUNPOD_HUB_INTERVAL"),
        ([], {"RUNPOD_HUB_TOKEN": "short"}, "shorter than 16 characters"),
        ([], {}, "no RunPod API key"),
    ],
)
def test_a_bad_setting_is_a_usage_error(
    lone_hubs: HubFactory, arguments: list[str], environ: dict[str, str], said: str
) -> None:
    result = lone_hubs.run("serve", *arguments, **environ)

    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_check_config_shows_sources_and_stars_for_secrets(
    lone_hubs: HubFactory,
) -> None:
    result = lone_hubs.run(
        "check-config",
        "--json",
        RUNPOD_HUB_TOKEN="planted-token-of-32-characters-xx",
        RUNPOD_API_KEY="rpa_planted0secret0value",
    )

    rows = {row["setting"]: row for row in json.loads(result.stdout)["settings"]}
    assert rows["hub.token"]["value"] == "***"
    assert rows["hub.token"]["source"] == "environment variable RUNPOD_HUB_TOKEN"
    assert rows["client.api_key"]["value"] == "***"
    assert rows["hub.state_dir"]["value"] == str(lone_hubs.folder / "state" / "hub")
    assert "planted" not in result.stdout + result.stderr


def test_the_token_stays_the_same_and_is_only_its_owners(
    lone_hubs: HubFactory,
) -> None:
    first, second = lone_hubs.run("token"), lone_hubs.run("token")

    file = lone_hubs.folder / "state" / "hub" / "token"
    assert first.stdout == second.stdout == file.read_text()
    assert len(first.stdout.strip()) >= 40
    assert file.stat().st_mode & 0o777 == 0o600


def test_migrate_makes_the_database_and_may_be_repeated(
    lone_hubs: HubFactory,
) -> None:
    results = [lone_hubs.run("migrate", "--json") for _ in range(2)]

    documents = [json.loads(result.stdout) for result in results]
    assert [document["revision"] for document in documents] == ["0001", "0001"]
    with sqlite3.connect(documents[0]["database"]) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert ("pods",) in tables
