"""`up`, `down` and `sweep` as installed, against a served RunPod and GitHub."""

import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from support.ci_desk import (
    GPU,
    IMAGE,
    REPOSITORY,
    Machine,
    live_pods,
    make_machine,
    queue,
    runner_names,
    wait_for_job,
    with_account,
)
from support.sim import SimServer, serving

RUN_IDS = count(5001)


@pytest.fixture(scope="module")
def shared_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    with serving(tmp_path_factory.mktemp("sim")) as server:
        yield server


@pytest.fixture
def machine(shared_sim: SimServer, tmp_path: Path) -> Iterator[Machine]:
    """A job's machine of a workflow run of its own; nothing is left of it after."""
    run_id = next(RUN_IDS)
    sim = with_account(shared_sim, f"renting{run_id}")
    made = make_machine(sim, tmp_path / "machine", run_id=run_id)
    yield made
    made.run("down", "--grace", "0", "--force")


def run_of(machine: Machine) -> str:
    return machine.env["GITHUB_RUN_ID"]


def pods_of(machine: Machine) -> list[str]:
    return [name for name in live_pods(machine.sim) if f"-{run_of(machine)}-" in name]


def runners_of(machine: Machine, pod_ids: list[str]) -> list[str]:
    return [n for n in runner_names(machine.sim) if n.split("-")[1] in pod_ids]


def test_up_makes_pods_runners_of_this_run_alone_and_down_ends_them(
    machine: Machine,
) -> None:
    label = f"gpu-{run_of(machine)}-1"

    up = machine.up("--count", "2", "--labels", "a4000")

    assert [pod["name"] for pod in up["pods"]] == [f"{label}-1", f"{label}-2"]
    assert (up["label"], up["labels"]) == (label, ["a4000", label])
    runners = [name for pod in up["pods"] for name in pod["runners"]]
    rows = up["matrix"]["include"]
    assert [row["runner"] for row in rows] == runners
    assert [row["index"] for row in rows] == [0, 1]
    assert all(pod["lease_ends_at"] for pod in up["pods"])
    prices = [Decimal(pod["price_usd_per_hour"]) for pod in up["pods"]]
    assert Decimal(up["price_usd_per_hour"]) == sum(prices)
    job = wait_for_job(machine.sim, queue(machine.sim, label, "echo hi"), "completed")
    assert job["conclusion"] == "success"
    assert job["runner_name"] in runners

    down = machine.json("down")

    assert [pod["outcome"] for pod in down["pods"]] == ["terminated"] * 2
    assert Decimal(down["cost_usd"]) > 0
    assert pods_of(machine) == []
    assert runners_of(machine, [pod["pod_id"] for pod in up["pods"]]) == []


def test_repeated_up_takes_what_is_there_and_rents_only_what_is_missing(
    machine: Machine,
) -> None:
    first = machine.up()

    again = machine.up("--count", "2")

    assert [pod["is_new"] for pod in again["pods"]] == [False, True]
    assert again["pods"][0]["pod_id"] == first["pods"][0]["pod_id"]
    assert again["pods"][0]["runners"] == first["pods"][0]["runners"]
    assert len(pods_of(machine)) == 2


@pytest.mark.heavy
def test_down_works_on_another_machine_without_any_output_of_up(
    machine: Machine, tmp_path: Path
) -> None:
    up = machine.up("--runners-per-pod", "2")
    assert len(up["pods"][0]["runners"]) == 2
    other = make_machine(
        machine.sim, tmp_path / "other", run_id=int(run_of(machine)), attempt=2
    )

    down = other.json("down")

    assert sorted(down["runners"]) == sorted(up["pods"][0]["runners"])
    assert pods_of(machine) == []
    assert other.json("down")["pods"] == []


@pytest.mark.heavy
def test_down_deletes_runners_whose_pod_is_gone(machine: Machine) -> None:
    up = machine.up()
    pod = up["pods"][0]
    subprocess.run(
        ["runpod-client", "pods", "terminate", pod["pod_id"], "--yes"],
        env=dict(machine.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )

    down = machine.json("down")

    assert down["runners"] == pod["runners"]
    assert runners_of(machine, [pod["pod_id"]]) == []


def test_runner_on_a_job_and_its_pod_are_left_unless_forced(machine: Machine) -> None:
    up = machine.up()
    (runner,) = up["pods"][0]["runners"]
    wait_for_job(machine.sim, queue(machine.sim, runner, "sleep 600"), "in_progress")

    left = machine.run("down", "--grace", "0")

    assert left.returncode == 1
    assert f"on a job: {runner}" in left.stderr
    assert "--force" in left.stderr
    assert "kept" in left.stdout
    assert len(pods_of(machine)) == 1
    forced = machine.run("down", "--grace", "0", "--force")
    assert pods_of(machine) == [], forced.stderr


@pytest.mark.heavy
def test_down_waits_for_a_job_that_is_about_to_end(machine: Machine) -> None:
    up = machine.up()
    (runner,) = up["pods"][0]["runners"]
    job = queue(machine.sim, runner, "sleep 2; echo done")
    wait_for_job(machine.sim, job, "in_progress")

    down = machine.json("down", "--grace", "40")

    assert down["busy"] == []
    assert pods_of(machine) == []
    assert wait_for_job(machine.sim, job, "completed")["conclusion"] == "success"


@pytest.mark.heavy
def test_while_github_does_not_answer_pods_are_kept_unless_forced(
    machine: Machine,
) -> None:
    machine.up()
    dead = {"GITHUB_API_URL": "http://127.0.0.1:9/api/v3"}

    left = machine.run("down", "--grace", "0", env=dead)
    assert left.returncode == 7, left.stderr
    assert "could not be asked" in left.stdout
    assert len(pods_of(machine)) == 1
    machine.run("down", "--grace", "0", "--force", env=dead)

    assert pods_of(machine) == []


@pytest.mark.heavy
def test_pods_of_another_name_are_another_set(machine: Machine) -> None:
    machine.up("--runners-per-pod", "0")
    machine.up("--runners-per-pod", "0", "--name", "big")

    machine.json("down", "--name", "big")

    assert pods_of(machine) == [f"gpu-{run_of(machine)}-1-1"]


def test_nothing_is_rented_without_agreement_or_a_credential(machine: Machine) -> None:
    wanted = ("up", "--gpu", GPU, "--image", IMAGE)

    unasked = machine.run(*wanted)
    tokenless = machine.run(*wanted, "--yes", env={"GITHUB_TOKEN": ""})
    runless = machine.run(*wanted, "--yes", env={"GITHUB_RUN_ID": ""})
    vague = machine.run("up", "--yes")

    assert (unasked.returncode, tokenless.returncode) == (2, 2)
    assert "repeat with --yes" in unasked.stderr
    assert "/hour at most" in unasked.stderr
    assert "GITHUB_TOKEN" in tokenless.stderr
    assert runless.returncode == 2
    assert "--run owner/name" in runless.stderr
    assert vague.returncode == 2
    assert "--gpu" in vague.stderr
    assert pods_of(machine) == []


def test_where_one_pod_cannot_be_had_all_are_given_back(machine: Machine) -> None:
    machine.sim.add_fault("no_capacity", operation="deploy", times=40)

    done = machine.run("up", "--yes", "--gpu", GPU, "--image", IMAGE, "--count", "2")
    machine.sim.admin("DELETE", "faults")

    assert done.returncode == 5, done.stderr
    assert pods_of(machine) == []


def test_price_above_the_limit_rents_nothing(machine: Machine) -> None:
    done = machine.run("up", "--yes", "--gpu", GPU, "--max-price", "0.01")

    assert done.returncode == 2
    assert "max price 0.01" in done.stderr
    assert pods_of(machine) == []


def test_installation_that_fails_gives_its_pod_back_and_says_why(
    machine: Machine,
) -> None:
    fault = {"operation": "generate_jitconfig", "kind": "forbidden", "times": 20}
    machine.sim.admin("POST", "github/faults", fault)

    done = machine.run("up", "--yes", "--gpu", GPU, "--image", IMAGE)
    machine.sim.admin("DELETE", "github/faults")

    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert pods_of(machine) == []


@pytest.mark.parametrize(
    ("seen", "number"),
    [("rented,", signal.SIGINT), ("rented,", signal.SIGTERM)],
)
def test_interrupted_up_gives_back_what_it_rented(
    machine: Machine, seen: str, number: signal.Signals
) -> None:
    process = machine.start("up", "--yes", "--gpu", GPU, "--image", IMAGE)
    assert process.stdout is not None
    output = b""
    while seen.encode() not in output:
        line = process.stdout.readline()
        assert line, output.decode()
        output += line

    process.send_signal(number)
    time_of_signal = time.monotonic()
    rest, _ = process.communicate(timeout=30)

    assert process.returncode == 130, (output + rest).decode()
    assert time.monotonic() - time_of_signal < 7.5  # then Actions loses its patience
    assert b"Traceback" not in rest
    assert pods_of(machine) == [], (output + rest).decode()


def test_killed_up_leaves_pods_that_down_finds(machine: Machine) -> None:
    process = machine.start(
        "up", "--yes", "--gpu", GPU, "--image", IMAGE, "--count", "2"
    )
    assert process.stdout is not None
    output = b""
    while b"rented," not in output:
        line = process.stdout.readline()
        assert line, output.decode()
        output += line
    process.kill()
    process.communicate(timeout=10)

    down = machine.json("down")

    assert down["pods"]
    assert pods_of(machine) == []


def test_sweep_ends_what_a_run_that_is_over_left_and_no_more(
    machine: Machine, tmp_path: Path
) -> None:
    live_run = queue_run(machine, "gpu-never")
    keeper = make_machine(machine.sim, tmp_path / "keeper", run_id=live_run)
    kept = keeper.up("--runners-per-pod", "1")["pods"][0]
    lost = machine.up()["pods"][0]  # of a run that GitHub does not know (any more)

    looked = machine.json("sweep", "--repo", REPOSITORY, "--dry-run", "--settle", "0")
    swept = machine.json("sweep", "--repo", REPOSITORY, "--settle", "0")

    found = [pod["pod_id"] for pod in looked["pods_of_ended_runs"]]
    assert lost["pod_id"] in found
    assert kept["pod_id"] not in found
    assert set(lost["runners"]) <= set(swept["deleted_runners"])
    assert pods_of(machine) == []
    assert pods_of(keeper) == [kept["name"]]
    keeper.json("down")


def queue_run(machine: Machine, label: str) -> int:
    """Queue a run whose only job nobody takes, and return the run's id."""
    body = {"repository": REPOSITORY, "name": "x", "labels": [label], "script": "true"}
    return int(machine.sim.admin("POST", "github/jobs", body)["run_id"])


def test_results_for_people_show_pods_prices_and_times(machine: Machine) -> None:
    up = machine.run(
        *("up", "--yes", "--gpu", GPU, "--image", IMAGE, "--runners-per-pod", "0")
    )
    down = machine.run("down")

    assert up.returncode == 0, up.stderr
    assert up.stdout.split()[:4] == ["POD", "ID", "GPU", "$/H"]
    assert "/hour at most" in up.stderr
    assert "\x1b" not in up.stdout + up.stderr + down.stdout
    assert "terminated" in down.stdout
    assert down.stdout.splitlines()[-1].startswith("total")


@pytest.mark.parametrize("command", ["up", "down", "sweep"])
def test_help_of_every_command_shows_an_example(machine: Machine, command: str) -> None:
    done = machine.run(command, "--help")

    assert f"  runner-installer {command}" in done.stdout.partition("Examples:")[2]
