import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runpod_client.prices import network_volume_usd_per_month
from support.sim import SimServer

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]
CENTER = "EU-RO-1"

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
_numbers = itertools.count()


@pytest.fixture
def sim_account(module_sim: SimServer) -> SimServer:
    return module_sim.with_key(f"rpa_clivolumes{next(_numbers):06d}")


@pytest.fixture
def run(sim_account: SimServer, tmp_path: Path) -> Run:
    """Return a way to run `runpod-client volumes` against the simulator."""
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environ = given | dict(sim_account.env) | {"RUNPOD_STATE_DIR": str(tmp_path)}

    def run_command(*arguments: str) -> Done:
        return subprocess.run(
            [*COMMAND, "volumes", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


def make(run: Run, name: str, *more: str, size: int = 100) -> Any:
    where = ("--data-center", CENTER, "--size", str(size))
    return document(run("create", name, *where, "--yes", "--json", *more))["volume"]


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def held(sim: SimServer) -> list[str]:
    answer = sim.graphql("query { myself { networkVolumes { name } } }")
    return [row["name"] for row in answer["data"]["myself"]["networkVolumes"]]


@pytest.mark.parametrize(
    ("size_gb", "usd"),
    [(10, "0.70"), (1000, "70.00"), (1001, "70.05"), (4096, "224.80")],
)
def test_price_is_that_of_the_first_terabyte_and_less_beyond(
    size_gb: int, usd: str
) -> None:
    assert network_volume_usd_per_month(size_gb) == Decimal(usd)


def test_made_volume_is_listed_with_its_price(run: Run) -> None:
    made = make(run, "datasets")

    listed = document(run("list", "--json"))
    table = run("list")

    assert listed == {"volumes": [made]}
    assert made == {
        "volume_id": made["volume_id"],
        "name": "datasets",
        "size_gb": 100,
        "data_center_id": CENTER,
        "price_usd_per_month": "7.00",
    }
    assert "datasets" in table.stdout
    assert "7.00" in table.stdout


def test_volume_is_not_made_unasked_and_its_price_is_shown(
    run: Run, sim_account: SimServer
) -> None:
    done = run("create", "datasets", "--size", "100", "--data-center", CENTER)

    assert done.returncode == 2
    assert "$7.00/month" in done.stderr
    assert held(sim_account) == []


def test_same_create_twice_makes_one_volume(run: Run, sim_account: SimServer) -> None:
    make(run, "datasets")

    again = run("create", "datasets", "--size", "100", "--data-center", CENTER, "--yes")

    assert again.returncode == 1
    assert "already a network volume" in again.stderr
    assert held(sim_account) == ["datasets"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--size", "100", "--data-center", "EU-RO-9"), 4, "Did you mean 'EU-RO-1'?"),
        (("--size", "9", "--data-center", CENTER), 2, "9 is not in the range"),
        (("--size", "5000", "--data-center", CENTER), 2, "5000 is not in the range"),
        (("--size", "100"), 2, "--data-center"),
    ],
)
def test_volume_that_cannot_be_is_refused_before_anything_is_made(
    run: Run,
    sim_account: SimServer,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    done = run("create", "datasets", *options, "--yes")

    assert done.returncode == code
    assert words in done.stderr
    assert held(sim_account) == []


def test_volume_is_destroyed_by_name_once_it_is_agreed_to(
    run: Run, sim_account: SimServer
) -> None:
    made = make(run, "datasets")
    make(run, "other")

    unasked = run("delete", "datasets")
    before = held(sim_account)
    done = document(run("delete", "datasets", "--yes", "--json"))

    assert unasked.returncode == 2
    assert sorted(before) == ["datasets", "other"]
    assert done == {
        "volume_id": made["volume_id"],
        "name": "datasets",
        "deleted": True,
    }
    assert held(sim_account) == ["other"]


def test_volume_that_is_not_there_is_named_with_the_nearest(run: Run) -> None:
    make(run, "datasets")

    done = run("delete", "dataset", "--yes")

    assert done.returncode == 4
    assert "Did you mean 'datasets'?" in done.stderr


def test_name_that_two_volumes_have_destroys_neither(
    run: Run, sim_account: SimServer
) -> None:
    mutation = (
        "mutation($i: CreateNetworkVolumeInput!)"
        " { createNetworkVolume(input: $i) { id } }"
    )
    for _ in range(2):
        wanted = {"name": "twin", "size": 10, "dataCenterId": CENTER}
        sim_account.graphql(mutation, i=wanted)

    done = run("delete", "twin", "--yes")

    assert done.returncode == 2
    assert "2 network volumes are named 'twin'" in done.stderr
    assert held(sim_account) == ["twin", "twin"]


def test_create_whose_answer_is_lost_makes_one_volume_and_says_so(
    sim: SimServer, tmp_path: Path
) -> None:
    # both wires call it so
    sim.add_fault("lost_answer", operation="createNetworkVolume")
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    done = subprocess.run(
        [*COMMAND, "volumes", "create", "v", "--size", "10", "--json", "--yes",
         "--data-center", CENTER],
        env=given | dict(sim.env) | {"RUNPOD_STATE_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip

    assert document(done)["volume"]["name"] == "v"
    assert held(sim) == ["v"]
    assert sim.admin("GET", "faults")["faults"] == []
