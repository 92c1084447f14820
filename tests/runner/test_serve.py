"""`serve`, `pools` and `costs` as a person runs them, against the served simulator."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support.sim import SimServer
from support.waiting import wait_for

REPOSITORY = "acme/widgets"
SECRET = "planted-webhook-secret"
START_SECONDS = 30
END_SECONDS = 60
POOLS = """
[pools.gpu]
repo = "acme/widgets"
labels = ["gpu"]
gpu = ["NVIDIA L4", "RTX 4090"]
image = "runpod/base:0.0.0"
max = 2
idle_minutes = 5
"""


@dataclass(frozen=True)
class Shell:
    """The shell of somebody with a file of pools."""

    env: Mapping[str, str]
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        program = Path(sys.executable).with_name("runner-installer")
        return [str(program), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=dict(self.env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@dataclass(frozen=True)
class Desk(Shell):
    """The same, with a RunPod and a GitHub to serve."""

    sim: SimServer

    @contextmanager
    def serving(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run `serve` until the block ends; it is killed if it does not end itself."""
        log = self.folder / "serve.log"
        with log.open("a") as output:
            process = subprocess.Popen(
                self.command("serve", "--yes", "--explain", *arguments),
                env=dict(self.env),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
            )
            began = log.read_text().count("Serving gpu")
            try:
                wait_for(
                    lambda: (
                        log.read_text().count("Serving gpu") > began
                        or process.poll() is not None
                    ),
                    timeout_seconds=START_SECONDS,
                    what="serve is ready",
                )
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(END_SECONDS)
                print(log.read_text())  # noqa: T201  # pytest shows it with a failure

    def queue(self, script: str = "sleep 1", *, label: str = "gpu") -> int:
        body = {
            "repository": REPOSITORY,
            "name": "train",
            "labels": [label],
            "script": script,
        }
        return int(self.sim.admin("POST", "github/jobs", body)["id"])

    def wait_for_job(self, job_id: int) -> None:
        def is_done() -> bool:
            job = self.sim.admin("GET", f"github/jobs/{job_id}")
            return bool(job["conclusion"] == "success")

        wait_for(is_done, timeout_seconds=END_SECONDS, what=f"job {job_id} succeeded")

    def pods(self) -> list[dict[str, Any]]:
        return [
            pod
            for pod in self.sim.world()["pods"]
            if str(pod.get("name", "")).startswith("serve-gpu-")
        ]

    def running(self) -> list[str]:
        return [pod["id"] for pod in self.pods() if pod["status"] != "TERMINATED"]


def environment(folder: Path, services: Mapping[str, str]) -> dict[str, str]:
    (folder / "runners.toml").write_text(POOLS)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **services,
        "RUNPOD_STATE_DIR": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "RUNNER_POLL_SECONDS": "1",
        "RUNNER_TICK_SECONDS": "1",
    }


@pytest.fixture
def desk(sim: SimServer, tmp_path: Path) -> Desk:
    return Desk(sim=sim, env=environment(tmp_path, sim.env), folder=tmp_path)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    nowhere = {
        "RUNPOD_API_BASE_URL": "http://127.0.0.1:9",
        "RUNPOD_API_KEY": "rpa_nobody",
        "GITHUB_API_URL": "http://127.0.0.1:9/api/v3",
        "GITHUB_TOKEN": "ghp_nobody",
    }
    return Shell(env=environment(tmp_path, nowhere), folder=tmp_path)


def test_killed_server_is_followed_by_one_that_finishes_with_the_same_pod(
    desk: Desk,
) -> None:
    with desk.serving() as killed:
        job = desk.queue()
        wait_for(desk.running, timeout_seconds=START_SECONDS, what="a pod is rented")
        killed.send_signal(signal.SIGKILL)
        killed.wait(END_SECONDS)

    with desk.serving("--drain") as server:
        second = desk.run("serve", "--yes")
        desk.wait_for_job(job)
        rented = desk.pods()
        wait_for(
            lambda: desk.json("costs")["runs"],
            timeout_seconds=START_SECONDS,
            what="the job's cost is written down",
        )
        shown = desk.json("pools")
        server.send_signal(signal.SIGTERM)
        status = server.wait(END_SECONDS)

    assert (second.returncode, "runs already" in second.stderr) == (2, True)
    assert len(rented) == 1
    assert shown["is_running"]
    assert shown["pools"][0]["pool"] == "gpu"
    assert status == 0
    assert desk.running() == []
    assert desk.sim.admin("GET", "github/state")["runners"] == []


@pytest.mark.heavy
def test_webhook_rents_and_costs_are_told_by_run(desk: Desk) -> None:
    with desk.serving("--listen", "0") as server:
        log = (desk.folder / "serve.log").read_text()
        url = log.partition("webhooks at ")[2].partition(". Ctrl-C")[0]
        hook = {"scope": REPOSITORY, "url": url, "secret": SECRET}
        desk.sim.admin("POST", "github/hooks", hook)
        job = desk.queue()
        desk.wait_for_job(job)
        run = wait_for(
            lambda: desk.json("costs", "--run", REPOSITORY)["runs"],
            timeout_seconds=START_SECONDS,
            what="the job's cost is written down",
        )[0]
        server.send_signal(signal.SIGINT)
        status = server.wait(END_SECONDS)

    assert status == 0
    assert run["jobs"][0]["job_id"] == job
    assert float(run["usd"]) > 0
    assert len(desk.running()) == 1
    assert SECRET not in (desk.folder / "serve.log").read_text()


def test_scale_set_s_queue_alone_brings_a_runner_that_takes_the_job(
    desk: Desk,
) -> None:
    pools = POOLS.replace('labels = ["gpu"]', 'scale_set = "gpu-pods"')
    (desk.folder / "runners.toml").write_text(pools)
    deaf = replace(desk, env={**desk.env, "RUNNER_POLL_SECONDS": "3600"})

    with deaf.serving("--drain") as server:
        job = deaf.queue(label="gpu-pods")
        deaf.wait_for_job(job)
        server.send_signal(signal.SIGTERM)
        status = server.wait(END_SECONDS)

    assert status == 0
    assert deaf.running() == []
    assert deaf.sim.admin("GET", "github/state")["runners"] == []


def test_check_tells_what_the_file_means_and_rents_nothing(shell: Shell) -> None:
    document = shell.json("serve", "--check")
    (shell.folder / "runners.toml").write_text(POOLS.replace("max =", "maxx ="))
    broken = shell.run("serve", "--check")

    assert document["pools"][0]["max"] == 2
    assert broken.returncode == 2
    assert "maxx" in broken.stderr
    assert "'max'" in broken.stderr


def test_once_looks_and_acts_and_ends(desk: Desk) -> None:
    desk.queue()

    done = desk.run("serve", "--once", "--yes", "--json")
    again = desk.run("serve", "--once", "--yes", "--json")

    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert [action["kind"] for action in first["actions"]] == ["RentPod"]
    assert len(desk.pods()) == 1


def test_serving_asks_before_it_rents_and_says_what_may_be_spent(shell: Shell) -> None:
    done = shell.run("serve")

    assert done.returncode == 2
    assert "without a cap" in done.stderr
    assert "--yes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "x"), "no [HOST:]PORT"),
        (("--listen", "0.0.0.0:0"), "others reach it"),
        (("--pools", "none.toml"), "there is no file"),
    ],
)
def test_slip_in_the_command_line_is_told_by_name(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    done = shell.run("serve", "--yes", *arguments)

    assert done.returncode == 2
    assert said in done.stderr


def test_pools_before_anybody_served_says_how_to_begin(shell: Shell) -> None:
    done = shell.run("pools")

    assert done.returncode == 2
    assert "serve --pools" in done.stderr
