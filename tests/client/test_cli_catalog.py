import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.sim import SimServer

COMMAND = [sys.executable, "-c", "from runpod_client.cli import main; main()"]

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def run_with(sim: SimServer, state_dir: Path, *arguments: str) -> Done:
    given = {"PATH": os.environ["PATH"], "HOME": str(state_dir)}
    return subprocess.run(
        [*COMMAND, *arguments],
        env=given | dict(sim.env) | {"RUNPOD_STATE_DIR": str(state_dir)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def run(module_sim: SimServer, tmp_path: Path) -> Run:
    """Return a way to run the command against the simulator."""
    return lambda *arguments: run_with(module_sim, tmp_path, *arguments)


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cpus_are_listed_with_price_and_stock(run: Run, module_sim: SimServer) -> None:
    status, catalog = module_sim.rest("GET", "catalog/cpus")
    assert status == 200, catalog

    listed = document(run("cpus", "list", "--json"))
    table = run("cpus", "list")
    names = run("cpus", "list", "-o", "name")

    ids = [row["id"] for row in catalog["cpus"]]
    assert [cpu["cpu_type"] for cpu in listed["cpu_types"]] == ids
    assert names.stdout.split() == ids
    assert set(listed["cpu_types"][0]) == {
        "cpu_type",
        "display_name",
        "min_vcpu_count",
        "max_vcpu_count",
        "memory_gb_per_vcpu",
        "price_usd_per_vcpu_hour",
        "stock",
    }
    assert all(cpu_id in table.stdout for cpu_id in ids)


def test_data_centers_are_listed_with_their_stock(run: Run) -> None:
    listed = document(run("data-centers", "list", "--json"))["data_centers"]
    table = run("data-centers", "list")

    by_id = {center["data_center_id"]: center for center in listed}
    assert set(by_id["EU-RO-1"]) == {
        "data_center_id",
        "name",
        "region",
        "has_network_volumes",
        "gpu_stock",
    }
    assert by_id["EU-RO-1"]["has_network_volumes"] is True
    assert by_id["EU-RO-1"]["gpu_stock"]
    assert all(center_id in table.stdout for center_id in by_id)


def test_data_centers_can_be_narrowed_to_those_that_have_a_gpu_type(run: Run) -> None:
    everywhere = document(run("data-centers", "list", "--json"))["data_centers"]

    narrowed = document(run("data-centers", "list", "--gpu", "rtx 4090", "--json"))

    having = [
        center["data_center_id"]
        for center in everywhere
        if center["gpu_stock"].get("NVIDIA GeForce RTX 4090", "none") != "none"
    ]
    assert [c["data_center_id"] for c in narrowed["data_centers"]] == having
    assert 0 < len(having) < len(everywhere)


def test_gpu_type_that_does_not_exist_is_named_with_the_nearest(run: Run) -> None:
    done = run("data-centers", "list", "--gpu", "rtx 4091")

    assert done.returncode == 4
    assert "RTX 4090" in done.stderr


def test_data_centers_with_volumes_can_be_piped_on(run: Run) -> None:
    done = run("data-centers", "list", "--volumes", "-o", "name")

    assert done.returncode == 0, done.stderr
    assert "EU-RO-1" in done.stdout.split()


def test_account_shows_its_money(run: Run) -> None:
    shown = document(run("account", "show", "--json"))
    page = run("account", "show")

    assert shown["balance_usd"] == "100"
    assert "$100.00" in page.stdout


def test_account_says_why_it_cannot_tell_the_balance_when_graphql_is_withdrawn(
    sim: SimServer, tmp_path: Path
) -> None:
    sim.admin("POST", "pods", {"count": 2, "key": sim.env["RUNPOD_API_KEY"]})
    sim.admin("POST", "graphql", {"retired": True})
    price = sum(pod["cost"] for pod in sim.rest("GET", "pods")[1]["pods"])

    done = run_with(sim, tmp_path, "account", "show")
    listed = run_with(sim, tmp_path, "keys", "list")

    assert done.returncode == 1
    assert "RunPod has withdrawn GraphQL" in done.stderr
    assert "balance" in done.stderr
    assert "console.runpod.io" in done.stderr
    assert f"2 pods are billed: ${price:.2f}/hour" in done.stderr
    assert listed.returncode == 0, listed.stderr
