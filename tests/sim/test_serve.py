import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.leftovers import processes_mentioning
from support.pods import DEPLOY, Pods
from support.sim import SimServer, run_command, serving, wait_until_nothing_is_left
from support.waiting import wait_for


def test_sigterm_ends_the_simulator_its_pods_and_its_files(
    sim: SimServer, pods: Pods
) -> None:
    pod = pods.start()
    pod.run("setsid nohup sleep 600 >/dev/null 2>&1 &")

    sim.process.terminate()
    status = sim.process.wait(20)

    assert status == 0
    wait_until_nothing_is_left(sim.state_dir)
    assert not Path(sim.state_dir).exists()


def test_interrupt_ends_with_status_130(sim: SimServer) -> None:
    sim.process.send_signal(signal.SIGINT)

    assert sim.process.wait(20) == 130


def test_killed_simulator_leaves_no_process(sim: SimServer, pods: Pods) -> None:
    pod = pods.start()
    pod.run("setsid nohup sleep 600 >/dev/null 2>&1 &")
    assert processes_mentioning(sim.state_dir)

    os.kill(sim.pid, signal.SIGKILL)
    sim.process.wait(20)

    wait_until_nothing_is_left(sim.state_dir)


def test_next_simulator_removes_what_a_killed_one_left(
    sim: SimServer, tmp_path: Path
) -> None:
    os.kill(sim.pid, signal.SIGKILL)
    sim.process.wait(20)
    assert Path(sim.state_dir).exists()

    with serving(tmp_path) as server:
        assert Path(server.state_dir).exists()
        assert not Path(sim.state_dir).exists()


def test_taken_port_is_said_in_one_sentence(sim: SimServer) -> None:
    port = sim.base_url.rpartition(":")[2]

    ended = subprocess.run(
        run_command(["serve", "--port", port]),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"runpod-sim: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    )


def test_address_beyond_the_loopback_is_refused() -> None:
    ended = subprocess.run(
        run_command(["serve", "--host", "0.0.0.0"]),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1
    assert "--allow-remote" in ended.stderr


def test_required_key_is_the_only_one_accepted(tmp_path: Path) -> None:
    with serving(tmp_path, "--require-key", "rpa_mine") as server:
        mine = server.graphql("{myself{id}}")
        status, _ = server.call(
            "POST",
            "/graphql",
            {"query": "{myself{id}}"},
            {"Authorization": "Bearer rpa_other"},
        )

    assert mine["data"]["myself"]["id"]
    assert status == 401


@pytest.mark.unwrapped
def test_hidden_sshd_leads_to_the_server_inside(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("bash", "sleep"):
        (folder / program).symlink_to(f"/bin/{program}")

    with serving(tmp_path, environ={"PATH": str(folder)}) as server:
        deployed = server.graphql(DEPLOY, input={"imageName": "i", "gpuTypeId": "none"})
        wait_for(
            lambda: "sshd_missing" in server.log_path.read_text(),
            what="the reason in the log",
        )

    assert "sshd is not on PATH" in server.log_path.read_text()
    assert deployed["errors"][0]["extensions"]["code"] == "SUPPLY_CONSTRAINT"


def test_exports_are_lines_a_shell_can_read(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            run_command(["serve"]), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().split("=")[0] for _ in range(8)]
    finally:
        process.terminate()
        process.communicate(timeout=20)

    assert lines == [
        "export RUNPOD_API_BASE_URL",
        "export RUNPOD_API_KEY",
        "export RUNPOD_GRAPHQL_URL",
        "export RUNPOD_REST_V2_API_URL",
        "export GITHUB_API_URL",
        "export GITHUB_SERVER_URL",
        "export GITHUB_TOKEN",
        "export RUNPOD_SSH_PROXY",
    ]
