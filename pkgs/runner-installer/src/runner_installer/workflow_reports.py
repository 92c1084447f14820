"""`up`, `down` and `sweep` as JSON documents, step outputs, summaries and text. Pure.

The documents and outputs are a stable interface: workflows read them.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from runner_installer.returning import Giveback, Returned
from runner_installer.run_wishes import Readied, Rented
from runner_installer.runs import Run
from runner_installer.workflow_operations import Swept
from runpod_client.sheets import Cell, Sheet

_STAGES = ("rent", "boot", "install")
_SECONDS_PER_HOUR = 3600


def rented_document(rented: Rented) -> dict[str, Any]:
    """Return the outcome of `up`."""
    wanted = rented.wanted
    return {
        "run": str(wanted.run),
        "name": wanted.name,
        "repository": str(wanted.scope) if wanted.scope else None,
        "label": wanted.label,
        "labels": list(_labels(rented)),
        "price_usd_per_hour": rented.price_usd_per_hour,
        "elapsed_seconds": round(rented.elapsed_seconds, 3),
        "pods": [_readied_document(each) for each in rented.pods],
        "failures": [
            {"slot": f.slot, "error": type(f.error).__name__, "message": str(f.error)}
            for f in rented.failed
        ],
        "given_back": [_returned_document(each) for each in rented.given_back.pods],
        "matrix": matrix_document(rented),
    }


def _readied_document(each: Readied) -> dict[str, Any]:
    pod = each.pod
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "slot": each.slot,
        "gpu_type": pod.gpu_type,
        "gpu_count": pod.gpu_count,
        "is_spot": pod.is_spot,
        "price_usd_per_hour": pod.price_usd_per_hour,
        "lease_ends_at": pod.lease_ends_at,
        "is_new": each.is_new,
        "attempt": each.attempt,
        "runners": list(each.runners),
        "stages": {s.name: round(s.elapsed_seconds, 3) for s in each.stages},
    }


def matrix_document(rented: Rented) -> dict[str, Any]:
    """Return what `strategy.matrix` takes: one row per runner."""
    rows = [
        {"runner": runner, "pod": each.pod.pod_id, "slot": each.slot}
        for each in rented.pods
        for runner in each.runners
    ]
    return {"include": [{"index": n, **row} for n, row in enumerate(rows)]}


def rented_outputs(rented: Rented) -> dict[str, str]:
    """Return the step's outputs."""
    ids = [each.pod.pod_id for each in rented.pods]
    runners = [name for each in rented.pods for name in each.runners]
    return {
        "label": rented.wanted.label,
        "labels": _compact(_labels(rented)),
        "runners": _compact(runners),
        "pod-ids": _compact(ids),
        "price-usd-per-hour": f"{rented.price_usd_per_hour:f}",
        "matrix": _compact(matrix_document(rented)),
        "run": str(rented.wanted.run),
    }


def rented_sheet(rented: Rented) -> Sheet:
    """Return the outcome of `up` for people."""
    return Sheet(
        headings=("POD", "ID", "GPU", ">$/H", ">RENT", ">BOOT", ">INSTALL", "RUNNERS"),
        rows=[
            (
                each.pod.name,
                each.pod.pod_id,
                _gpu(each),
                _usd(each.pod.price_usd_per_hour),
                *(_stage(each, name) for name in _STAGES),
                ", ".join(each.runners) or "none",
            )
            for each in rented.pods
        ],
        empty="Nothing was rented.",
    )


def render_rented_summary(rented: Rented) -> str:
    """Return the section of the job's summary that `up` writes."""
    wanted = rented.wanted
    count = len(rented.pods)
    title = (
        f"### GPU runners: {count} of {wanted.pod_count} pods ready "
        f"in {render_length(rented.elapsed_seconds)}, "
        f"${_usd(rented.price_usd_per_hour)}/hour"
    )
    rows = [
        (
            each.pod.name,
            _gpu(each),
            "spot" if each.pod.is_spot else "on demand",
            _usd(each.pod.price_usd_per_hour),
            *(_stage(each, name) for name in _STAGES),
            f"${_so_far(each)}",
        )
        for each in rented.pods
    ]
    headings = ("pod", "GPU", "rented", "$/hour", "rent", "boot", "install", "so far")
    notes = [_end_note(rented)]
    if wanted.runners_per_pod:
        notes.append(f"Jobs reach them with `runs-on: {wanted.label}`.")
    notes += [
        f"Pod {f.slot} could not be had: {_plain(str(f.error))}" for f in rented.failed
    ]
    parts = [title, _markdown(headings, rows, right=3), " ".join(n for n in notes if n)]
    if rented.given_back.pods:
        parts += ["Given back:", _returned_table(rented.given_back.pods)]
    return "\n\n".join(parts)


def render_failed_summary(
    run: Run, problem: str, given_back: Sequence[Returned], elapsed_seconds: float
) -> str:
    """Return the section of the job's summary where `up` failed or was cancelled."""
    parts = [
        f"### GPU runners: none, after {render_length(elapsed_seconds)}",
        f"{_plain(problem)}",
    ]
    if given_back:
        parts += ["What was rented was given back:", _returned_table(given_back)]
    else:
        parts.append("Nothing was rented, so nothing was spent.")
    parts.append(f"Run `{run}`.")
    return "\n\n".join(parts)


def returned_document(run: Run, done: Giveback) -> dict[str, Any]:
    """Return the outcome of `down`."""
    return {
        "run": str(run),
        "pods": [_returned_document(each) for each in done.pods],
        "runners": list(done.runners),
        "busy": list(done.busy),
        "cost_usd": done.cost_usd,
        "failures": [
            {"error": type(e).__name__, "message": str(e)} for e in done.failures
        ],
    }


def _returned_document(each: Returned) -> dict[str, Any]:
    lived = each.lived_seconds
    return {
        "pod_id": each.pod.pod_id,
        "name": each.pod.name,
        "gpu_type": each.pod.gpu_type,
        "price_usd_per_hour": each.pod.price_usd_per_hour,
        "outcome": each.outcome,
        "detail": each.detail,
        "lived_seconds": None if lived is None else round(lived, 1),
        "cost_usd": each.cost_usd,
    }


def returned_outputs(done: Giveback) -> dict[str, str]:
    """Return the step's outputs."""
    return {
        "cost-usd": f"{done.cost_usd:f}",
        "pods": str(sum(p.outcome == "terminated" for p in done.pods)),
        "runners": str(len(done.runners)),
    }


def returned_sheet(done: Giveback) -> Sheet:
    """Return the outcome of `down` for people."""
    rows = [
        (
            each.pod.name,
            each.pod.pod_id,
            Cell(
                ": ".join(filter(None, (each.outcome, each.detail))),
                "red" if each.outcome in {"kept", "failed"} else "",
            ),
            _lived(each),
            _cost(each),
        )
        for each in done.pods
    ]
    rows.append(("total", "", Cell(_runners(done)), "", _usd(done.cost_usd)))
    return Sheet(
        headings=("POD", "ID", "OUTCOME", ">LIVED", ">$"),
        rows=rows if done.pods or done.runners else [],
        empty="Nothing of this run was left.",
    )


def render_returned_summary(run: Run, done: Giveback) -> str:
    """Return the section of the job's summary that `down` writes."""
    if not done.pods and not done.runners:
        return f"### GPU runners: nothing of run `{run}` was left to end"
    notes = [_runners(done), "cost is price x time since renting, without disks"]
    parts = [
        f"### GPU runners ended: ${_usd(done.cost_usd)}",
        _returned_table(done.pods),
        "; ".join(note for note in notes if note) + ".",
    ]
    return "\n\n".join(part for part in parts if part)


def swept_document(swept: Swept, *, dry_run: bool) -> dict[str, Any]:
    """Return the outcome of `sweep`."""
    return {
        "dry_run": dry_run,
        "pods_of_ended_runs": [
            {"pod_id": p.pod.pod_id, "name": p.pod.name, "run": str(p.run)}
            for p in swept.over
        ],
        "ghosts": [{"runner": g.record.name, "pod_id": g.pod_id} for g in swept.ghosts],
        "deleted_runners": list(swept.given_back.runners),
        "pods": [_returned_document(each) for each in swept.given_back.pods],
    }


def swept_sheet(swept: Swept) -> Sheet:
    """Return the outcome of `sweep` for people."""
    ended = {p.pod.pod_id: p.outcome for p in swept.given_back.pods}
    deleted = set(swept.given_back.runners)
    rows = [
        ("pod", p.pod.name, f"run {p.run} is over", ended.get(p.pod.pod_id, "found"))
        for p in swept.over
    ]
    rows += [
        (
            "runner",
            g.record.name,
            f"its pod {g.pod_id} is gone",
            "deleted" if g.record.name in deleted else "found",
        )
        for g in swept.ghosts
    ]
    return Sheet(
        headings=("WHAT", "NAME", "WHY", "RESULT"), rows=rows, empty="Nothing is lost."
    )


def render_length(seconds: float) -> str:
    """Return a length of time as people say it."""
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 120:
        return f"{whole} s"
    if whole < 2 * _SECONDS_PER_HOUR:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // _SECONDS_PER_HOUR} h {whole % _SECONDS_PER_HOUR // 60:02} min"


def _labels(rented: Rented) -> tuple[str, ...]:
    return (*rented.wanted.labels, rented.wanted.label)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _gpu(each: Readied) -> str:
    return f"{each.pod.gpu_count} x {each.pod.gpu_type}"


def _stage(each: Readied, name: str) -> str:
    seconds = sum(s.elapsed_seconds for s in each.stages if s.name == name)
    is_known = any(s.name == name for s in each.stages)
    return render_length(seconds) if is_known else "-"


def _so_far(each: Readied) -> str:
    seconds = Decimal(sum(s.elapsed_seconds for s in each.stages if s.name != "rent"))
    return _usd(each.pod.price_usd_per_hour * seconds / _SECONDS_PER_HOUR)


def _end_note(rented: Rented) -> str:
    ends = [e.pod.lease_ends_at for e in rented.pods if e.pod.lease_ends_at]
    if not ends:
        return ""
    return (
        f"Their leases end at {max(ends):%Y-%m-%d %H:%M} UTC; the reaper goes by them."
    )


def _returned_table(pods: Sequence[Returned]) -> str:
    rows = [
        (
            each.pod.name,
            f"{each.pod.gpu_count} x {each.pod.gpu_type}",
            ": ".join(filter(None, (each.outcome, each.detail))),
            _usd(each.pod.price_usd_per_hour),
            _lived(each),
            _cost(each),
        )
        for each in pods
    ]
    headings = ("pod", "GPU", "outcome", "$/hour", "lived", "$")
    return _markdown(headings, rows, right=3) if rows else ""


def _lived(each: Returned) -> str:
    return "?" if each.lived_seconds is None else render_length(each.lived_seconds)


def _cost(each: Returned) -> str:
    return "?" if each.cost_usd is None else _usd(each.cost_usd)


def _runners(done: Giveback) -> str:
    count = len(done.runners)
    return f"{count} runner{'s' * (count != 1)} deleted at GitHub" * bool(count)


def _usd(amount: Decimal) -> str:
    """Return an amount with cents, or with as many digits as a small one needs."""
    exact = amount.quantize(Decimal("0.0001"))
    cents = amount.quantize(Decimal("0.01"))
    return f"{cents:,f}" if exact == cents or amount >= 10 else f"{exact:,f}"


def _markdown(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: int
) -> str:
    """Return a table; columns from `right` on are figures."""
    marks = ["---" if n < right else "--:" for n in range(len(headings))]
    lines = [headings, marks, *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Return text that means nothing to Markdown: RunPod and GitHub wrote parts."""
    one_line = " ".join(text.split())
    table: Mapping[int, str] = str.maketrans(
        {"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "[": "\\[", "*": "\\*"}
    )
    return one_line.translate(table)
