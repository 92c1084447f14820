"""Results as JSON documents (a stable schema) and as text for people. Pure."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from runner_installer.applying import Phase
from runner_installer.install import Batch, Installed
from runner_installer.model import InstalledRunner, RunnerStatus
from runner_installer.operations import Outcome
from runner_installer.plan import Step
from runner_installer.pod_model import JobStamp, PodRunner
from runpod_client import Pod

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_phase(phase: Phase) -> str:
    """Return one line of progress."""
    took = "done already" if phase.is_skipped else f"{phase.elapsed_seconds:.1f} s"
    return f"  {phase.name:<10} {took}"


def batch_document(batch: Batch, pod: Pod) -> dict[str, Any]:
    """Return the outcome of `install --count`."""
    return {
        "pod_id": pod.pod_id,
        "runners": [installed_document(done, pod) for done in batch.installed],
        "failures": [
            {"name": name, "error": type(error).__name__, "detail": str(error)}
            for name, error in batch.failures
        ],
    }


def render_batch(batch: Batch) -> "RenderableType":
    """Return the outcome of `install --count` for people."""
    lines = [str(render_installed(done)) for done in batch.installed]
    lines += [f"{name} failed: {error}" for name, error in batch.failures]
    return Text("\n".join(lines))


def render_log(text: str) -> Text:
    """Return a pod's log, without what would move a terminal's cursor."""
    shown = "".join(c for c in text if c.isprintable() or c in "\n\t")
    return Text(shown.rstrip("\n"))


def installed_document(done: Installed, pod: Pod) -> dict[str, Any]:
    """Return the outcome of `install`."""
    runner = done.runner
    return {
        "name": runner.name,
        "status": str(runner.console.state),
        "is_new": done.is_new,
        "pod_id": pod.pod_id,
        "repository": str(runner.scope),
        "runner_id": runner.runner_id,
        "labels": list(runner.labels),
        "folder": runner.folder,
        "user": runner.user or None,
        "phases": [
            {
                "name": phase.name,
                "elapsed_seconds": round(phase.elapsed_seconds, 3),
                "is_skipped": phase.is_skipped,
            }
            for phase in done.phases
        ],
    }


def render_installed(done: Installed) -> Text:
    """Return the outcome of `install` for people."""
    runner = done.runner
    what = "is ready" if done.is_new else "was already installed"
    return Text(
        f"{runner.name} {what}: {runner.console.state} for {runner.scope}\n"
        f"runs-on: [{', '.join(runner.labels)}]\n"
        f"user: {runner.user or 'the one SSH logs in as'}"
    )


def status_document(statuses: tuple[RunnerStatus, ...], pod: Pod) -> dict[str, Any]:
    """Return the outcome of `status`."""
    return {"pod_id": pod.pod_id, "runners": [_status(s) for s in statuses]}


def _status(status: RunnerStatus) -> dict[str, Any]:
    runner, record = status.runner, status.record
    return {
        "name": runner.name,
        "repository": str(runner.scope) if runner.scope else None,
        "runner_id": runner.runner_id,
        "labels": list(runner.labels),
        "status": str(runner.console.state),
        "job": runner.console.job or None,
        "result": runner.console.result or None,
        "reason": runner.console.reason or None,
        "process": {"pid": runner.pid, "is_alive": runner.is_alive},
        **_noted(runner),
        "github": None
        if record is None
        else {
            "runner_id": record.runner_id,
            "is_online": record.is_online,
            "is_busy": record.is_busy,
        },
        "disagreements": list(status.disagreements),
        "folder": runner.folder,
        "log_tail": runner.log_tail[-4000:],
    }


def _noted(runner: InstalledRunner) -> dict[str, Any]:
    """Return what supervisor and hooks noted, null where they did not."""
    if not isinstance(runner, PodRunner):
        return {"user": None, "supervisor": None, "hook": None}
    supervision = runner.supervision
    return {
        "user": runner.user or None,
        "supervisor": supervision
        and {
            "state": str(supervision.state),
            "restarts": supervision.restarts,
            "reason": supervision.reason or None,
        },
        "hook": runner.job and _stamp(runner.job),
    }


def _stamp(job: JobStamp) -> dict[str, Any]:
    return {
        "is_busy": job.is_busy,
        "repository": job.repository or None,
        "run_id": job.run_id or None,
        "run_attempt": job.run_attempt or None,
        "job": job.job or None,
        "workflow": job.workflow or None,
        "started_at": job.started_at or None,
        "completed_at": job.completed_at or None,
        "keep": job.keep or None,
    }


def render_statuses(statuses: tuple[RunnerStatus, ...], pod: Pod) -> "RenderableType":
    """Return the outcome of `status` for people."""
    if not statuses:
        return Text(
            f"No runner on {pod.pod_id}. "
            f"Make one: runner-installer install {pod.pod_id} --repo owner/name"
        )
    table = Table(box=None, pad_edge=False)
    columns = ("RUNNER", "REPOSITORY", "CONSOLE", "PROCESS", "GITHUB", "RUN", "NOTES")
    for column in columns:
        table.add_column(column)
    for status in statuses:
        runner = status.runner
        doing = str(runner.console.state)
        if runner.console.result:
            doing += f" ({runner.console.result})"
        notes = "; ".join(status.disagreements) or runner.console.reason
        if isinstance(runner, PodRunner) and runner.supervision and not notes:
            restarts = runner.supervision.restarts
            notes = f"restarted {restarts} times" if restarts else ""
        table.add_row(
            Text(runner.name),
            Text(str(runner.scope or "?")),
            Text(doing),
            Text(f"pid {runner.pid}" if runner.is_alive else "ended"),
            Text(_render_record(status)),
            Text(_render_run(runner)),
            Text(notes),
        )
    return table


def _render_run(runner: InstalledRunner) -> str:
    """Return which workflow run it worked for, from its job hook."""
    if not isinstance(runner, PodRunner) or runner.job is None:
        return ""
    job = runner.job
    return f"{job.run_id}/{job.run_attempt} {job.job}" if job.run_id else job.job


def _render_record(status: RunnerStatus) -> str:
    if status.record is None:
        return "not listed"
    if status.record.is_busy:
        return "busy"
    return "online" if status.record.is_online else "offline"


def removed_document(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of `remove`."""
    return {
        "pod_id": outcome.pod,
        "runners": [removal.name for removal in outcome.removals],
        "actions": [a for removal in outcome.removals for a in removal.actions],
    }


def render_removed(outcome: Outcome) -> "RenderableType":
    """Return the outcome of `remove` for people."""
    lines = removed_document(outcome)["actions"]
    return Text("\n".join(lines) or f"No runner of {outcome.pod} to remove.")


def plan_document(steps: tuple[Step, ...]) -> dict[str, Any]:
    """Return the outcome of `plan`."""
    return {
        "steps": [
            {
                "name": step.name,
                "where": str(step.actor),
                "summary": step.summary,
                "command": step.command or None,
                "check": step.check or None,
                "stdin": step.stdin.value,
                "timeout_seconds": step.timeout_seconds,
            }
            for step in steps
        ]
    }


def render_plan(steps: tuple[Step, ...]) -> "RenderableType":
    """Return the outcome of `plan` for people; `--json` shows the commands in full."""
    lines = []
    for number, step in enumerate(steps, start=1):
        lines.append(f"{number}. {step.name:<9} [{step.actor}] {step.summary}")
        if step.command and "\n" not in step.command:
            lines.append(f"     $ {step.command}")
        if step.check and "\n" not in step.check:
            lines.append(f"     skipped if: {step.check}")
    return Text("\n".join(lines))
