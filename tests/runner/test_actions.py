"""The composite actions, run for real: trigger, pod, SSH, runner, job, cleanup."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.ci_desk import (
    GPU,
    IMAGE,
    SECRETS,
    live_pods,
    make_machine,
    queue,
    runner_names,
    wait_for_job,
    with_account,
)
from support.composite_actions import Job
from support.sim import SimServer, serving

# what is run here begins with /usr/bin/env or is looked for in /bin
pytestmark = pytest.mark.unwrapped

ROOT = Path(__file__).parents[2]
UP = ROOT / ".github" / "actions" / "gpu-runner-up"
DOWN = ROOT / ".github" / "actions" / "gpu-runner-down"
RUN_IDS = count(7001)
FILES = sorted(
    [
        *ROOT.glob(".github/actions/*/action.yml"),
        *ROOT.glob(".github/workflows/gpu-*.yml"),
    ]
)
# what of ours stands in a run: the rest of its text may come from a stranger
OVERHEAD_SECONDS = 15.0
# until a cancelled run has nothing left; `down` alone may wait for a job to stop
LEFTOVER_SECONDS = 120.0


@pytest.fixture(scope="module")
def shared_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    with serving(tmp_path_factory.mktemp("sim")) as server:
        yield server


class Workflow:
    """One workflow run: a machine for each of its jobs, as GitHub has it."""

    def __init__(self, sim: SimServer, folder: Path) -> None:
        self.run_id = next(RUN_IDS)
        self.sim = with_account(sim, f"actions{self.run_id}")
        self._folder = folder

    def job(self, name: str) -> Job:
        """Return a job on a fresh machine; the action alone gets the secrets."""
        folder = self._folder / name
        machine = make_machine(self.sim, folder, run_id=self.run_id)
        hidden = {*SECRETS, "RUNPOD_OWNER"}
        environ = {k: v for k, v in machine.env.items() if k not in hidden}
        return Job(folder=folder, environ=environ)

    def up(
        self,
        job: Job,
        *,
        cancel_when: Callable[[str], bool] = lambda _output: False,
        **inputs: str,
    ) -> dict[str, str]:
        wanted = {"gpu": GPU, "image": IMAGE, **inputs}
        given = {**self._secrets(), **wanted}
        return job.uses(UP, given, cancel_when=cancel_when)

    def down(self, job: Job, **inputs: str) -> dict[str, str]:
        return job.uses(DOWN, {**self._secrets(), **inputs})

    def pods(self) -> list[str]:
        return [name for name in live_pods(self.sim) if f"-{self.run_id}-" in name]

    def _secrets(self) -> dict[str, str]:
        return {
            "runpod_api_key": self.sim.env["RUNPOD_API_KEY"],
            "github_token": self.sim.env["GITHUB_TOKEN"],
        }


@pytest.fixture
def workflow(shared_sim: SimServer, tmp_path: Path) -> Workflow:
    return Workflow(shared_sim, tmp_path)


def test_job_runs_on_a_rented_pod_and_nothing_is_left(workflow: Workflow) -> None:
    up_job, down_job = workflow.job("up"), workflow.job("down")

    outputs = workflow.up(up_job, count="2", spot="true", labels="a, b")
    matrix = json.loads(outputs["matrix"])["include"]
    jobs = [queue(workflow.sim, row["runner"], "echo it ran") for row in matrix]
    ran = [wait_for_job(workflow.sim, job, "completed") for job in jobs]
    ended = workflow.down(down_job)

    assert [step.exit_status for step in (*up_job.steps, *down_job.steps)] == [0] * 4
    assert [job["runner_name"] for job in ran] == json.loads(outputs["runners"])
    assert all("it ran" in job["log"] for job in ran)
    assert outputs["label"] == f"gpu-{workflow.run_id}-1"
    assert json.loads(outputs["labels"]) == ["a", "b", outputs["label"]]
    assert (ended["pods"], workflow.pods()) == ("2", [])
    assert Decimal(ended["cost_usd"]) > 0
    assert not any(outputs["label"] in name for name in runner_names(workflow.sim))


@pytest.mark.heavy
def test_whole_flow_costs_little_time_of_its_own(workflow: Workflow) -> None:
    started = time.monotonic()

    outputs = workflow.up(workflow.job("up"))
    job = queue(workflow.sim, outputs["label"], "true")
    wait_for_job(workflow.sim, job, "completed")
    workflow.down(workflow.job("down"))

    assert time.monotonic() - started < OVERHEAD_SECONDS


def test_summary_shows_phases_with_times_and_dollars(workflow: Workflow) -> None:
    up_job, down_job = workflow.job("up"), workflow.job("down")

    outputs = workflow.up(up_job)
    workflow.down(down_job)

    title, table, note = up_job.summary.strip().split("\n\n")
    assert re.fullmatch(
        r"### GPU runners: 1 of 1 pods ready in [\d.]+ s, \$[\d.]+/hour", title
    )
    heading, _, row = table.splitlines()
    assert [cell.strip() for cell in heading.strip("|").split("|")] == [
        *("pod", "GPU", "rented", "$/hour", "rent", "boot", "install", "so far"),
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == f"{outputs['label']}-1"
    assert all(re.fullmatch(r"[\d.]+ s", cell) for cell in cells[4:7])
    assert f"runs-on: {outputs['label']}" in note
    assert re.match(r"### GPU runners ended: \$0\.\d+", down_job.summary)
    assert f"| {outputs['label']}-1 |" in down_job.summary


def test_secrets_are_masked_before_they_could_be_shown(workflow: Workflow) -> None:
    up_job, down_job = workflow.job("up"), workflow.job("down")

    workflow.up(up_job, runners_per_pod="0")
    workflow.down(down_job)

    for job in (up_job, down_job):
        shown = job.log + job.summary
        for name in SECRETS:
            secret = workflow.sim.env[name]
            assert secret not in shown
            assert secret in job.masks
        output = job.steps[-1].output.splitlines()
        assert output[0].startswith("::add-mask::")


def test_input_is_data_whatever_it_holds(workflow: Workflow, tmp_path: Path) -> None:
    job = workflow.job("up")
    evil = (
        f'x"; touch {tmp_path}/evil; `touch {tmp_path}/evil`; $(touch {tmp_path}/evil)'
    )

    workflow.up(job, labels=evil, gpu=evil, image=evil, name="gpu")

    assert job.steps[-1].exit_status in {2, 4}, job.log
    assert not (tmp_path / "evil").exists()
    assert workflow.pods() == []


def test_failed_up_says_why_in_the_summary_and_what_it_cost(workflow: Workflow) -> None:
    job = workflow.job("up")

    outputs = workflow.up(job, max_price="0.01")

    assert job.steps[-1].exit_status == 2
    assert "### GPU runners: none, after" in job.summary
    assert "max price 0.01" in job.summary
    assert "Nothing was rented" in job.summary
    assert outputs["matrix"] == ""


POINTS = {
    "agreed": "at most",
    "rented": ": rented",
    "booted": "SSH answers",
    "listening": "listens for jobs",
}
ENDS = {0, 130, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}
SECONDS = tuple(0.2 + 0.35 * n for n in range(16))


def check_cancel(
    workflow: Workflow, cancel_when: Callable[[str], bool], *, with_down: bool
) -> None:
    """Cancel `up` and hold that the run leaves nothing, by `down` or without it."""
    up_job = workflow.job("up")
    workflow.up(up_job, count="2", cancel_when=cancel_when)
    # it may have been done a moment before
    assert up_job.steps[-1].exit_status in ENDS, up_job.log
    assert "Traceback" not in up_job.log
    started = time.monotonic()

    if with_down:
        workflow.down(workflow.job("down"))

    assert workflow.pods() == []
    assert time.monotonic() - started < LEFTOVER_SECONDS
    left = [name for name in runner_names(workflow.sim) if name.startswith("runpod-")]
    pods = {pod["id"] for pod in workflow.sim.world()["pods"] if not pod["terminated"]}
    assert [name for name in left if name.split("-")[1] not in pods] == []


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_cancelled_at_any_point_a_run_leaves_nothing(
    workflow: Workflow, point: str
) -> None:
    check_cancel(workflow, lambda output: point in output, with_down=True)


@pytest.mark.heavy
@pytest.mark.parametrize("seconds", SECONDS)
def test_cancelled_at_any_time_a_run_leaves_nothing(
    workflow: Workflow, seconds: float
) -> None:
    deadline = time.monotonic() + seconds

    check_cancel(workflow, lambda _: time.monotonic() >= deadline, with_down=True)


@pytest.mark.parametrize("point", [POINTS["rented"], POINTS["booted"]])
def test_cancelled_up_gives_back_by_itself_what_it_rented(
    workflow: Workflow, point: str
) -> None:
    check_cancel(workflow, lambda output: point in output, with_down=False)


def test_tools_are_bootstrapped_where_they_are_missing(tmp_path: Path) -> None:
    copy = tmp_path / ".github" / "actions" / "gpu-runner-up" / "install.sh"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((UP / "install.sh").read_bytes())
    bootstrap = tmp_path / "scripts" / "bootstrap"
    bootstrap.parent.mkdir()
    bootstrap.write_text("#!/bin/sh\nmkdir -p .venv/bin\n")
    bootstrap.chmod(0o755)
    paths = tmp_path / "paths"

    subprocess.run(
        ["/bin/bash", copy],
        env={"PATH": "/usr/bin:/bin", "GITHUB_PATH": str(paths)},
        cwd=tmp_path,
        timeout=20,
        check=True,
    )

    assert paths.read_text() == f"{tmp_path}/.venv/bin\n"


def test_tools_that_are_there_are_taken(tmp_path: Path) -> None:
    paths = tmp_path / "paths"
    scripts = Path(sys.executable).parent

    subprocess.run(
        ["bash", UP / "install.sh"],
        env={"PATH": f"{scripts}:/usr/bin:/bin", "GITHUB_PATH": str(paths)},
        timeout=20,
        check=True,
    )

    assert not paths.exists()


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_no_expression_stands_in_a_script(path: Path) -> None:
    found = [step["run"] for step in _steps(path) if "run" in step]

    assert found
    assert [text for text in found if "${{" in text] == []


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_steps_that_use_our_actions_give_them_what_they_know(path: Path) -> None:
    actions = {"gpu-runner-up": UP, "gpu-runner-down": DOWN}

    for step in _steps(path):
        action = actions.get(str(step.get("uses", "")).rpartition("/")[2])
        if action is None:
            continue
        declared = yaml.safe_load((action / "action.yml").read_text())["inputs"]
        required = {name for name, row in declared.items() if row.get("required")}
        assert required <= set(step["with"]) <= set(declared)


@pytest.mark.parametrize("action", [UP, DOWN], ids=lambda path: path.name)
def test_every_input_is_documented_and_reaches_the_script(action: Path) -> None:
    document = yaml.safe_load((action / "action.yml").read_text())
    script = next(action.glob("*.sh" if action is DOWN else "up.sh")).read_text()
    env = document["runs"]["steps"][-1]["env"]

    for name, row in document["inputs"].items():
        assert row["description"], name
        variable = next(k for k, v in env.items() if v == f"${{{{ inputs.{name} }}}}")
        assert variable in SECRETS or f"{variable}" in script


def test_reusable_workflow_ends_its_pods_whatever_happens() -> None:
    path = ROOT / ".github" / "workflows" / "gpu-job.yml"
    jobs = yaml.safe_load(path.read_text())["jobs"]

    assert list(jobs) == ["up", "job", "down"]
    assert jobs["down"]["needs"] == ["up", "job"]
    assert jobs["down"]["if"] == "always()"
    assert jobs["job"]["strategy"]["matrix"] == (
        "${{ fromJSON(needs.up.outputs.matrix) }}"
    )


def _steps(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text())
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job["steps"]]
