"""A run costs what its jobs' pods cost while they ran, to the millionth, once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner_installer.errors import AlreadyServingError
from runner_installer.model import WorkflowJob
from runner_installer.serve_memory import Memory, MemoryFile, PoolMemory, sole_server
from runner_installer.spending import JobCost, Ledger, price_job, sum_runs

BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JOB = WorkflowJob(
    job_id=7,
    run_id=70,
    run_attempt=1,
    name="train",
    workflow_name="CI",
    repository="Acme/widgets",
    status="completed",
    conclusion="success",
    labels=("gpu",),
    runner_name="serve-gpu-p1-abc",
    runner_id=3,
    created_at=BEGAN,
    started_at=BEGAN,
    completed_at=BEGAN + timedelta(minutes=10),
)


def cost_of(job: WorkflowJob, *, price: str = "1.20", share: int = 1) -> JobCost | None:
    return price_job(
        job,
        pool="gpu",
        pod_id="p1",
        gpu_type="NVIDIA L4",
        price_usd_per_hour=Decimal(price),
        share=share,
    )


@pytest.mark.parametrize(
    ("price", "share", "usd"),
    [("1.20", 1, "0.200000"), ("1.20", 4, "0.050000"), ("0.34", 3, "0.018889")],
)
def test_job_costs_its_pod_s_price_for_its_time_shared_by_the_pod_s_runners(
    price: str, share: int, usd: str
) -> None:
    cost = cost_of(JOB, price=price, share=share)

    assert cost is not None
    assert cost.usd == Decimal(usd)


@pytest.mark.parametrize("given", [{"started_at": None}, {"runner_name": ""}])
def test_job_that_never_ran_costs_nothing(given: dict[str, object]) -> None:
    job = replace(JOB, **given)  # type: ignore[arg-type]  # fields by name

    assert cost_of(job) is None


def test_costs_are_kept_once_and_summed_by_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runners" / "costs.sqlite")
    first, other = cost_of(JOB), cost_of(replace(JOB, job_id=8, run_id=71))
    second = cost_of(replace(JOB, job_id=9, run_attempt=2))
    assert first is not None
    assert second is not None
    assert other is not None

    added = [ledger.add(cost) for cost in (first, second, other, first)]
    runs = sum_runs(ledger.list_costs(repository="acme/Widgets"))
    one = ledger.list_costs(repository="acme/widgets", run_id=71)

    assert added == [True, True, True, False]
    assert {run.run_id: run.usd for run in runs} == {
        70: Decimal("0.4"),
        71: Decimal("0.2"),
    }
    assert one == [other]


def test_no_costs_where_nobody_served(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none.sqlite").list_costs() == []


def test_memory_survives_and_a_broken_file_costs_no_more_than_patience(
    tmp_path: Path,
) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    memory = Memory(pools={"gpu": PoolMemory(failures=2, retry_at=BEGAN)})
    memory.spend("2026-11-22", "gpu", Decimal("0.25"))
    file.write(memory)

    kept = MemoryFile(tmp_path / "memory.json").read()
    (tmp_path / "memory.json").write_text("{")
    broken = MemoryFile(tmp_path / "memory.json").read()

    assert kept == memory
    assert kept.spent_on("2026-11-22") == Decimal("0.25")
    assert broken == Memory()
    assert (tmp_path / "memory.json").stat().st_mode & 0o077 == 0


def test_second_server_on_a_state_folder_is_refused_while_the_first_lives(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "serve.lock"

    refused = pytest.raises(AlreadyServingError, match="process")
    with sole_server(lock), refused, sole_server(lock):
        pass
    with sole_server(lock):
        held = lock.read_text()

    assert held.isdigit()
