"""The installed command against a served simulator and its sshd pods."""

import json
import os
import select
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.sim import SimServer, serving
from support.waiting import wait_for

REPOSITORY = "acme/widgets"
COMMAND_SECONDS = 60


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A user's shell: the simulator's variables, folders of its own, a rented pod."""

    sim: SimServer
    env: Mapping[str, str]
    pod_id: str

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program("runner-installer"), *arguments],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def install(self, *arguments: str) -> dict[str, Any]:
        return self.json("install", "demo", "--repo", REPOSITORY, *arguments)

    def runners(self) -> list[str]:
        """Return the names of the runners at GitHub."""
        listed = self.sim.admin("GET", "github/state")["runners"]
        return [runner["name"] for runner in listed]

    def queue(self, script: str) -> int:
        body = {
            "repository": REPOSITORY,
            "name": "gpu-test",
            "labels": ["gpu"],
            "script": script,
        }
        return int(self.sim.admin("POST", "github/jobs", body)["id"])

    def wait_for_job(self, job_id: int, status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.sim.admin("GET", f"github/jobs/{job_id}")
            return job if job["status"] == status else None

        return wait_for(look, timeout_seconds=30, what=f"job {job_id} is {status}")


def environment(sim: SimServer, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **sim.env,
        "RUNPOD_STATE_DIR": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def rent(sim: SimServer, folder: Path) -> Desk:
    """Return the shell of a user who has just rented the pod `demo`."""
    env = environment(sim, folder)
    created = subprocess.run(
        [
            *(program("runpod-client"), "pods", "create", "--name", "demo"),
            *("--gpu", "NVIDIA RTX A4000", "--gpu", "NVIDIA GeForce RTX 4090"),
            *("--image", "runpod/base:0.0.0", "--wait", "--yes", "--json"),
        ],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert created.returncode == 0, created.stderr
    return Desk(sim=sim, env=env, pod_id=json.loads(created.stdout)["pod_id"])


@pytest.fixture
def desk(sim: SimServer, tmp_path: Path) -> Desk:
    return rent(sim, tmp_path)


@pytest.fixture(scope="module")
def quiet_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One desk for all tests after which it is as it was."""
    folder = tmp_path_factory.mktemp("desk")
    with serving(folder) as sim:
        yield rent(sim, folder)


def test_life_of_a_runner_from_install_over_a_job_to_removal(desk: Desk) -> None:
    installed = desk.install("--labels", "gpu,a4000")

    assert installed["status"] == "listening"
    assert installed["is_new"] is True
    assert installed["name"].startswith(f"runpod-{desk.pod_id}-")
    assert installed["labels"] == ["gpu", "a4000", installed["name"]]
    assert [phase["name"] for phase in installed["phases"]] == [
        "probe",
        "tarball",
        "folders",
        "upload",
        "register",
        "record",
        "unpack",
        "hooks",
        "launch",
        "verify",
    ]

    job = desk.wait_for_job(desk.queue("echo it is $((6 * 7))"), "completed")

    assert job["conclusion"] == "success"
    assert "it is 42" in job["log"]
    assert job["runner_name"] == installed["name"]

    def ended() -> dict[str, Any] | None:
        (runner,) = desk.json("status", "demo")["runners"]
        return None if runner["process"]["is_alive"] else runner

    runner = wait_for(ended, timeout_seconds=20, what="the runner ended")
    assert (runner["status"], runner["result"]) == ("finished", "Succeeded")
    assert "Job gpu-test completed" in runner["log_tail"]

    removed = desk.json("remove", "demo")

    assert removed["runners"] == [installed["name"]]
    assert removed["actions"][-1] == f"{installed['name']}: its folder deleted"
    assert desk.runners() == []
    assert desk.json("status", "demo") == {"pod_id": desk.pod_id, "runners": []}
    assert desk.json("remove", "demo")["actions"] == []


def test_installing_twice_makes_one_runner(desk: Desk) -> None:
    first = desk.install()

    again = desk.install()

    assert (again["name"], again["is_new"]) == (first["name"], False)
    assert desk.runners() == [first["name"]]


@pytest.mark.heavy
def test_results_for_people_name_runner_and_labels(desk: Desk) -> None:
    installed = desk.run("install", "demo", "--repo", REPOSITORY, "--name", "my-runner")
    status = desk.run("status", "demo")

    *lines, user = installed.stdout.splitlines()
    assert lines == [
        "my-runner is ready: listening for acme/widgets",
        "runs-on: [self-hosted, linux, x64, gpu, my-runner]",
    ]
    assert user.startswith("user: ")
    assert "  upload " in installed.stderr
    assert status.stdout.splitlines()[1].split()[:3] == [
        "my-runner",
        REPOSITORY,
        "listening",
    ]


def test_runner_of_a_given_name_is_removed_only_where_a_person_says(
    desk: Desk,
) -> None:
    desk.install("--name", "my-runner")

    refused = desk.run("remove", "demo")

    assert refused.returncode == 1
    assert "--repo acme/widgets" in refused.stderr
    assert desk.runners() == ["my-runner"]
    assert desk.run("remove", "demo", "--repo", REPOSITORY).returncode == 0
    assert desk.runners() == []


def test_plan_shows_every_step_and_does_none(quiet_desk: Desk) -> None:
    planned = quiet_desk.json("plan", "demo", "--repo", REPOSITORY)

    assert [step["name"] for step in planned["steps"]][-2:] == ["launch", "verify"]
    assert quiet_desk.runners() == []
    assert quiet_desk.json("status", "demo")["runners"] == []


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        pytest.param("upload", signal.SIGINT, marks=pytest.mark.heavy),
        ("register", signal.SIGINT),
        pytest.param("launch", signal.SIGTERM, marks=pytest.mark.heavy),
    ],
)
def test_killed_installation_leaves_no_runner_behind(
    desk: Desk, phase: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [program("runner-installer"), "install", "demo", "--repo", REPOSITORY],
        env=dict(desk.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    seen = b""

    def reached() -> bool:
        nonlocal seen
        assert process.stderr is not None
        if select.select([process.stderr], [], [], 0)[0]:
            seen += os.read(process.stderr.fileno(), 4096)
        return f"  {phase} ".encode() in seen

    wait_for(reached, timeout_seconds=30, what=f"phase {phase} is over")
    process.send_signal(number)
    _, rest = process.communicate(timeout=COMMAND_SECONDS)

    assert process.returncode == 130, (seen + rest).decode()
    assert b"Traceback" not in rest
    assert desk.runners() == []
    assert desk.json("status", "demo")["runners"] == []


@pytest.mark.parametrize(
    "phase",
    [
        "register",
        *(
            pytest.param(phase, marks=pytest.mark.heavy)
            for phase in ("folders", "upload", "record", "unpack", "hooks", "launch")
        ),
    ],
)
def test_installation_whose_client_was_killed_is_made_good_by_the_next(
    desk: Desk, phase: str
) -> None:
    process = subprocess.Popen(
        [program("runner-installer"), "install", "demo", "--repo", REPOSITORY],
        env=dict(desk.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process.stderr as said:
        for line in said:
            if f"  {phase} ".encode() in line:
                break
        process.kill()
        process.wait(timeout=COMMAND_SECONDS)

    installed = desk.install()

    assert installed["status"] == "listening"
    assert desk.json("remove", "demo")["pod_id"] == desk.pod_id
    assert desk.runners() == []
    assert desk.json("status", "demo")["runners"] == []


def test_log_of_a_failed_installation_is_shown_and_kept(
    desk: Desk, tmp_path: Path
) -> None:
    steps = tmp_path / "steps.toml"
    steps.write_text(
        '[[steps]]\nname = "data"\nphase = "before_install"\n'
        'command = "echo no such bucket; exit 3"\n'
    )

    failed = desk.run(
        *("install", "demo", "--repo", REPOSITORY, "--name", "my-runner"),
        *("--steps", str(steps)),
    )

    assert failed.returncode == 1
    assert "the step data (before_install) ended with status 3" in failed.stderr
    assert "no such bucket" in failed.stderr
    assert desk.runners() == []
    kept = desk.json("logs", "demo", "--runner", "my-runner")["log"]
    assert "data ended with 3" in kept


@pytest.mark.heavy
def test_logs_of_a_removed_runner_can_be_kept(desk: Desk, tmp_path: Path) -> None:
    installed = desk.install()
    assert "Listening for Jobs" in desk.json("logs", "demo")["log"]

    removed = desk.json("remove", "demo", "--keep-logs", str(tmp_path / "logs"))

    archive = tmp_path / "logs" / f"{installed['name']}.tar.gz"
    assert f"{installed['name']}: its logs kept in {archive}" in removed["actions"]
    with tarfile.open(archive) as opened:
        names = {Path(name).name for name in opened.getnames()}
        assert {"run.log", "install.log", "diag.tar"} <= names
        inner = opened.extractfile("./diag.tar")
        assert inner is not None
        assert b"_diag/Runner_" in inner.read()
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.heavy
def test_several_runners_are_counted_with_those_that_are_there(desk: Desk) -> None:
    first = desk.install("--count", "2")

    again = desk.install("--count", "3")

    assert [runner["is_new"] for runner in first["runners"]] == [True, True]
    assert sorted(r["is_new"] for r in again["runners"]) == [False, False, True]
    assert sorted(r["name"] for r in again["runners"]) == sorted(desk.runners())


def test_busy_runner_is_removed_only_by_force(desk: Desk) -> None:
    installed = desk.install()
    desk.wait_for_job(desk.queue("sleep 600"), "in_progress")

    refused = desk.run("remove", "demo")

    assert refused.returncode == 1
    assert "is on a job" in refused.stderr
    assert "--force" in refused.stderr
    forced = desk.json("remove", "demo", "--force")
    assert f"{installed['name']}: its process stopped" in forced["actions"]
    assert desk.json("status", "demo")["runners"] == []


def test_registrations_of_a_pod_that_is_gone_are_removed_by_its_id(
    desk: Desk,
) -> None:
    installed = desk.install()
    subprocess.run(
        [program("runpod-client"), "pods", "terminate", "demo", "--yes"],
        env=dict(desk.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    assert desk.runners() == [installed["name"]]

    removed = desk.json("remove", desk.pod_id, "--repo", REPOSITORY)

    assert removed["actions"] == [f"{installed['name']}: deleted at {REPOSITORY}"]
    assert desk.runners() == []


@pytest.mark.parametrize(
    ("arguments", "env", "status", "words"),
    [
        (["install", "demo", "--repo", "a//b"], {}, 2, "names no repository"),
        (["install", "demo"], {}, 2, "Missing option '--repo'"),
        (["install", "demo", "--repo", "a/b", "--labels", ","], {}, 2, "one label"),
        (["install", "none", "--repo", "a/b"], {}, 4, "no pod"),
        (["install", "demo", "--repo", "a/b"], {"GITHUB_TOKEN": ""}, 2, "GITHUB_TOKEN"),
        (["install", "demo", "--repo", "a/b"], {"GITHUB_TOKEN": "x"}, 3, "refuses"),
        (
            ["status", "demo"],
            {"GITHUB_API_URL": "http://github.example"},
            2,
            "https",
        ),
        (["status", "demo"], {"RUNPOD_API_KEY": ""}, 2, "RUNPOD_API_KEY"),
    ],
)
def test_mistakes_are_one_sentence_and_a_status(
    quiet_desk: Desk, arguments: list[str], env: dict[str, str], status: int, words: str
) -> None:
    done = quiet_desk.run(*arguments, env=env)

    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert quiet_desk.runners() == []


def test_repository_the_token_cannot_see_is_not_found(quiet_desk: Desk) -> None:
    fault = {"operation": "list_downloads", "kind": "not_found", "times": 1}
    quiet_desk.sim.admin("POST", "github/faults", fault)

    done = quiet_desk.run("install", "demo", "--repo", "acme/unknown")

    assert done.returncode == 4
    assert "Check the name" in done.stderr


def test_secrets_are_in_no_output_even_when_everything_is_logged(desk: Desk) -> None:
    done = desk.run(
        *("install", "demo", "--repo", REPOSITORY),
        *("--log-level", "debug", "--log-format", "json"),
    )

    assert done.returncode == 0, done.stderr
    assert '"runner_registered"' in done.stderr
    shown = done.stdout + done.stderr
    assert desk.env["GITHUB_TOKEN"] not in shown
    assert desk.env["RUNPOD_API_KEY"] not in shown
    assert "jit_config" not in shown.replace("generate_jit_config", "")
    root = next(Path(desk.sim.state_dir).rglob("actions-runner"))
    held = [
        path
        for path in root.rglob("*")
        if path.is_file() and desk.env["GITHUB_TOKEN"].encode() in path.read_bytes()
    ]
    assert held == []


@pytest.mark.parametrize("command", ["install", "status", "logs", "remove", "plan"])
def test_help_of_every_command_shows_an_example(command: str) -> None:
    done = subprocess.run(
        [program("runner-installer"), command, "--help"],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )

    assert f"  runner-installer {command} " in done.stdout
