"""GitLab's custom executor, driven by its documented contract.

https://docs.gitlab.com/runner/executors/custom: config prints JSON, prepare and run are
each a process, run gets a script and a stage, cleanup comes after any failure; the two
failure statuses and the job's variables, with CUSTOM_ENV_ before them, come as variables.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from support.ci_desk import GPU, IMAGE, live_pods, make_machine, with_account
from support.sim import SimServer, serving
from support.waiting import wait_for

# what is run here begins with /usr/bin/env or is looked for in /bin
pytestmark = pytest.mark.unwrapped

ROOT = Path(__file__).parents[2]
STAGES = ROOT / "integrations" / "gitlab"
BUILD_FAILURE, SYSTEM_FAILURE = 71, 72  # GitLab says: never count on 1 and 2
JOB_IDS = count(900_001)
STAGE_SECONDS = 90


class Executor:
    """GitLab Runner, as far as a driver meets it."""

    def __init__(self, sim: SimServer, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.job_id = next(JOB_IDS)
        self.sim = with_account(sim, f"gitlab{self.job_id}")
        machine = make_machine(self.sim, folder)
        inherited = {k: v for k, v in machine.env.items() if "GITHUB" not in k}
        job = {
            "CI_JOB_ID": str(self.job_id),
            "CI_PROJECT_ID": "42",
            "CI_JOB_IMAGE": IMAGE,
            "GPU_TYPE": GPU,
            **variables,
        }
        self.env: Mapping[str, str] = {
            **inherited,
            "GPU_MAX_PRICE": "1.00",
            "TMPDIR": str(folder),
            "BUILD_FAILURE_EXIT_CODE": str(BUILD_FAILURE),
            "SYSTEM_FAILURE_EXIT_CODE": str(SYSTEM_FAILURE),
            "BUILD_EXIT_CODE_FILE": str(folder / "exit_code"),
            **{f"CUSTOM_ENV_{name}": value for name, value in job.items()},
        }

    @property
    def pod(self) -> str:
        return f"gitlab-{self.job_id}-1-1"

    def start(self, stage: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a stage as GitLab does: a process group of its own."""
        return subprocess.Popen(
            [STAGES / f"{stage}.sh", *arguments],
            env=dict(self.env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def execute(self, stage: str, *arguments: str) -> tuple[int, str, str]:
        """Return the status, stdout and stderr of a stage."""
        process = self.start(stage, *arguments)
        out, err = process.communicate(timeout=STAGE_SECONDS)
        return process.returncode, out, err

    def script(self, text: str, stage: str = "build_script") -> tuple[int, str, str]:
        """Run a script of GitLab's on the pod."""
        path = self.folder / "script"
        path.write_text(f"#!/usr/bin/env bash\n\nset -eo pipefail\n{text}\n")
        return self.execute("run", str(path), stage)

    def has_pod(self) -> bool:
        return self.pod in live_pods(self.sim)


@pytest.fixture(scope="module")
def shared_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    with serving(tmp_path_factory.mktemp("sim")) as server:
        yield server


@pytest.fixture
def executor(shared_sim: SimServer, tmp_path: Path) -> Iterator[Executor]:
    made = Executor(shared_sim, tmp_path)
    yield made
    made.execute("cleanup")


def test_job_runs_its_stages_on_a_pod_of_its_own_that_is_gone_after(
    executor: Executor,
) -> None:
    status, config, err = executor.execute("config")
    assert status == 0, err
    document = json.loads(config)
    assert document["builds_dir_is_shared"] is False
    assert document["builds_dir"].startswith("/")

    status, _, err = executor.execute("prepare")
    assert status == 0, err
    assert executor.has_pod()
    prepared = executor.script("mkdir -p work; echo kept >work/file", "get_sources")
    assert prepared[0] == 0, prepared[2]
    status, out, err = executor.script('cat work/file; echo to stderr >&2; echo "$0"')
    assert (status, out.splitlines()[0]) == (0, "kept"), err
    assert "to stderr" in err

    status, out, err = executor.execute("cleanup")

    assert (status, err) == (0, "")
    assert "total" in out
    assert not executor.has_pod()
    assert executor.execute("cleanup")[0] == 0


def test_failures_of_the_job_and_of_the_system_have_their_own_statuses(
    executor: Executor,
) -> None:
    executor.execute("prepare")

    failed = executor.script("echo before; exit 7")
    same_as_ours = executor.script(f"exit {SYSTEM_FAILURE}")
    as_ssh = executor.script("exit 255")
    assert (failed[0], failed[1]) == (BUILD_FAILURE, "before\n")
    assert (same_as_ours[0], as_ssh[0]) == (BUILD_FAILURE, BUILD_FAILURE)
    assert (executor.folder / "exit_code").read_text().strip() == "255"
    executor.execute("cleanup")
    gone = executor.script("echo never")

    assert gone[0] == SYSTEM_FAILURE
    assert gone[1] == ""


def test_script_that_reads_its_input_does_not_eat_itself(executor: Executor) -> None:
    executor.execute("prepare")

    status, out, _ = executor.script("cat\necho after")

    assert (status, out) == (0, "after\n")


def test_prepare_that_is_repeated_takes_the_pod_that_is_there(
    executor: Executor,
) -> None:
    first = executor.execute("prepare")
    again = executor.execute("prepare")

    assert (first[0], again[0]) == (0, 0), again[2]
    assert live_pods(executor.sim).count(executor.pod) == 1


def test_pod_that_cannot_be_had_is_the_systems_failure(
    shared_sim: SimServer, tmp_path: Path
) -> None:
    dear = Executor(shared_sim, tmp_path, GPU_TYPE="NVIDIA B200")

    status, _, err = dear.execute("prepare")

    assert status == SYSTEM_FAILURE
    assert "no pod could be had" in err
    assert dear.execute("cleanup")[0] == 0


def test_job_cannot_raise_the_price_nor_run_anything_on_the_host(
    shared_sim: SimServer, tmp_path: Path
) -> None:
    evil = f"x; touch {tmp_path}/evil; $(touch {tmp_path}/evil)"
    greedy = Executor(
        shared_sim, tmp_path / "a", GPU_TYPE=evil, GPU_MAX_PRICE="99", CI_JOB_IMAGE=evil
    )
    odd = Executor(shared_sim, tmp_path / "b", CI_JOB_ID=evil)

    assert greedy.execute("prepare")[0] == SYSTEM_FAILURE
    assert odd.execute("prepare")[0] == SYSTEM_FAILURE
    assert odd.execute("cleanup")[0] == SYSTEM_FAILURE
    assert not (tmp_path / "evil").exists()


def test_cancelled_prepare_gives_its_pod_back(executor: Executor) -> None:
    process = executor.start("prepare")
    wait_for(executor.has_pod, timeout_seconds=30, what="the pod is rented")

    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode != 0
    assert not executor.has_pod()


def test_cancelled_run_stage_ends_and_cleanup_ends_the_pod(executor: Executor) -> None:
    executor.execute("prepare")
    path = executor.folder / "long"
    path.write_text("echo begun\nsleep 600\n")
    process = executor.start("run", str(path), "step_script")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"

    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode != 0
    assert executor.execute("cleanup")[0] == 0
    assert not executor.has_pod()
