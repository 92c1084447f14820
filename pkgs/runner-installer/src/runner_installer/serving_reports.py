"""How pools, decisions and costs look: documents for programs, sheets for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner_installer.pools import Caps, Pool, PoolFile
from runner_installer.reconciler import Report
from runner_installer.spending import JobCost, RunCost
from runpod_client.sheets import Cell, Sheet


def pool_file_document(file: PoolFile) -> dict[str, Any]:
    """Return a file of pools as it was understood."""
    return {
        "file": str(file.path),
        "max_usd_per_hour": _amount(file.caps.usd_per_hour),
        "max_usd_per_day": _amount(file.caps.usd_per_day),
        "pools": [_pool_document(pool) for pool in file.pools],
    }


def _pool_document(pool: Pool) -> dict[str, Any]:
    wish = pool.wish
    return {
        "pool": pool.name,
        "repo": str(pool.scope),
        "repositories": list(pool.repositories),
        "labels": list(pool.labels),
        "group": pool.group,
        "scale_set": pool.scale_set,
        "template": wish.template,
        "gpu": list(wish.gpu_types),
        "gpu_count": wish.gpu_count,
        "max_price": _amount(wish.max_price_usd_per_hour),
        "bid": wish.bid,
        "min": pool.least,
        "max": pool.most,
        "warm": pool.warm,
        "runners_per_pod": pool.runners_per_pod,
        "balance": str(pool.balance),
        "idle_minutes": pool.idle.total_seconds() / 60,
        "boot_deadline_minutes": pool.boot_deadline.total_seconds() / 60,
        "lease_minutes": pool.lease.total_seconds() / 60,
        "settle_minutes": pool.settle.total_seconds() / 60,
        "rerun_on_spot_loss": pool.rerun_on_spot_loss,
        "max_usd_per_hour": _amount(pool.caps.usd_per_hour),
        "max_usd_per_day": _amount(pool.caps.usd_per_day),
        "steps": [step.name for step in pool.steps],
    }


def pool_file_sheet(file: PoolFile) -> Sheet:
    """Return the same for people."""
    return Sheet(
        headings=("POOL", "FOR", "LABELS", "PODS", ">RUNNERS", ">WARM", "SPENDS"),
        rows=[
            (
                pool.name,
                str(pool.scope),
                ",".join(pool.labels),
                _render_wish(pool),
                f"{pool.least}-{pool.most}",
                str(pool.warm),
                render_caps(pool.caps),
            )
            for pool in file.pools
        ]
        + [("together", "", "", "", "", "", render_caps(file.caps))],
    )


def _render_wish(pool: Pool) -> str:
    wish = pool.wish
    what = f"template {wish.template}" if wish.template else " or ".join(wish.gpu_types)
    what = what or f"{wish.min_memory_gb} GB per GPU"
    count = f" x {wish.gpu_count}" if wish.gpu_count > 1 else ""
    price = f", at most ${wish.max_price_usd_per_hour}/h"
    spot = f", spot {wish.bid}" if wish.bid else ""
    return f"{what}{count}{price * (wish.max_price_usd_per_hour is not None)}{spot}"


def render_caps(caps: Caps) -> str:
    """Return what may be spent, in words."""
    parts = []
    if caps.usd_per_hour is not None:
        parts.append(f"at most ${caps.usd_per_hour}/h")
    if caps.usd_per_day is not None:
        parts.append(f"at most ${caps.usd_per_day}/day")
    return " and ".join(parts) or "without a cap"


def render_decision(report: Report) -> list[str]:
    """Return a decision's reasons, a line each."""
    at = f"{report.at:%H:%M:%S}"
    return [f"{at} {report.pool.name}: {why}" for why in report.decision.reasons]


def status_sheet(document: Mapping[str, Any], *, is_running: bool) -> Sheet:
    """Return the pools of a status file for people."""
    rows: list[Sequence[str | Cell]] = []
    for pool in document["pools"]:
        trouble = pool["trouble"]
        last = trouble or pool["last_decision"] or "-"
        at = (pool["decided_at"] or "")[11:19]
        rows.append(
            (
                pool["pool"],
                str(pool["waiting_jobs"]),
                f"{pool['wanted']}/{pool['max']}",
                str(pool["online"]),
                str(pool["busy"]),
                str(pool["booting"]),
                str(pool["warm"]),
                f"{float(pool['usd_per_hour']):.2f}",
                f"{float(pool['usd_today']):.2f}",
                Cell(
                    f"{at} {last}".strip() if is_running else f"(not running) {last}",
                    "yellow" if trouble else "",
                ),
            )
        )
    return Sheet(
        headings=(
            "POOL",
            ">WAIT",
            ">WANTED",
            ">ONLINE",
            ">BUSY",
            ">BOOTING",
            ">WARM",
            ">$/H",
            ">TODAY",
            "LAST DECISION",
        ),
        rows=rows,
    )


def costs_document(runs: Sequence[RunCost]) -> dict[str, Any]:
    """Return what runs cost."""
    return {"runs": [_run_document(run) for run in runs]}


def _run_document(run: RunCost) -> dict[str, Any]:
    return {
        "repository": run.repository,
        "run_id": run.run_id,
        "workflow": run.workflow,
        "usd": run.usd,
        "seconds": run.seconds,
        "jobs": [_job_document(job) for job in run.jobs],
    }


def _job_document(job: JobCost) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "job": job.job,
        "run_attempt": job.run_attempt,
        "conclusion": job.conclusion,
        "pool": job.pool,
        "pod_id": job.pod_id,
        "gpu_type": job.gpu_type,
        "price_usd_per_hour": job.price_usd_per_hour,
        "runners_on_pod": job.share,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "seconds": job.seconds,
        "usd": job.usd,
    }


def runs_sheet(runs: Sequence[RunCost]) -> Sheet:
    """Return what runs cost for people, a line each."""
    return Sheet(
        headings=("RUN", "WORKFLOW", ">JOBS", ">MINUTES", ">USD"),
        rows=[
            (
                f"{run.repository}/{run.run_id}",
                run.workflow or "-",
                str(len(run.jobs)),
                f"{run.seconds / 60:.1f}",
                f"{run.usd:.4f}",
            )
            for run in runs
        ],
        empty="No job has run on a pool's runner yet.",
    )


def jobs_sheet(run: RunCost) -> Sheet:
    """Return what one run's jobs cost for people."""
    rows = [
        (
            job.job,
            job.conclusion or "-",
            job.gpu_type,
            job.pod_id,
            f"{job.price_usd_per_hour:.2f}/{job.share}",
            f"{job.seconds / 60:.1f}",
            f"{job.usd:.4f}",
        )
        for job in run.jobs
    ]
    total = ("total", "", "", "", "", f"{run.seconds / 60:.1f}", f"{run.usd:.4f}")
    return Sheet(
        headings=("JOB", "RESULT", "GPU", "POD", ">$/H", ">MINUTES", ">USD"),
        rows=[*rows, total],
    )


def _amount(amount: object) -> str | None:
    return None if amount is None else str(amount)
