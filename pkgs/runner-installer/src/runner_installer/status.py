"""What a pod's runners are doing, seen from three sides, and where these disagree.

GitHub's word counts for health (a process may look well and be cut off), the console's
for what the runner is doing. `disagreements` is pure.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from runner_installer import pod_shell
from runner_installer.errors import RunnerError
from runner_installer.github import GitHub
from runner_installer.model import (
    ConsoleState,
    InstalledRunner,
    RunnerRecord,
    RunnerStatus,
    Scope,
)
from runner_installer.pod_model import PodRunner, SupervisorState
from runner_installer.remote import Remote
from runpod_client import DeadlineError

_ENDED = {ConsoleState.FINISHED, ConsoleState.DEAD}


async def list_statuses(
    remote: Remote, github: GitHub, *, folder: str = ""
) -> tuple[RunnerStatus, ...]:
    """Return every runner on the pod with GitHub's view of it; one list per scope.

    Args:
        folder: Where a person had them installed, if not in a usual place.
    """
    runners = await pod_shell.list_installed(remote, folder=folder)
    records: dict[Scope, dict[str, RunnerRecord]] = {}
    for scope in sorted({r.scope for r in runners if r.scope}, key=str):
        listed = await asyncio.to_thread(github.list_runners, scope)
        records[scope] = {record.name: record for record in listed}
    return tuple(
        join_status(r, records[r.scope].get(r.name) if r.scope else None)
        for r in runners
    )


def join_status(runner: InstalledRunner, record: RunnerRecord | None) -> RunnerStatus:
    """Put the sides together."""
    return RunnerStatus(
        runner=runner,
        record=record,
        disagreements=tuple(_disagreements(runner, record)),
    )


def _disagreements(runner: InstalledRunner, record: RunnerRecord | None) -> list[str]:
    state = runner.console.state
    found = []
    if runner.scope is None:
        found.append("the pod has no record of the repository it is registered for")
    if runner.is_alive and state is ConsoleState.DEAD:
        found.append(f"its process lives, but it cannot work: {runner.console.reason}")
    if not runner.is_alive and state not in _ENDED:
        found.append(f"its console says {state}, but its process is gone")
    if isinstance(runner, PodRunner):
        found += _noted_otherwise(runner)
    if record is None:
        if runner.is_alive and runner.scope and state not in _ENDED:
            found.append("its process lives, but GitHub knows no such runner")
        return found
    if runner.is_alive and state in {ConsoleState.LISTENING, ConsoleState.BUSY}:
        if not record.is_online:
            found.append(f"it is {state} here, but offline at GitHub")
        elif (state is ConsoleState.BUSY) != record.is_busy:
            theirs = "busy" if record.is_busy else "idle"
            found.append(f"it is {state} here, but {theirs} at GitHub")
    if not runner.is_alive and record.is_online:
        found.append("its process is gone, but GitHub still shows it online")
    if not runner.is_alive and record.is_busy:
        found.append("its process is gone in the middle of a job")
    return found


def _noted_otherwise(runner: PodRunner) -> list[str]:
    """Return what supervisor and job hooks noted that the console contradicts."""
    found = []
    state = runner.console.state
    noted = runner.supervision
    if noted is not None:
        if noted.state is SupervisorState.RESTARTING and runner.is_alive:
            found.append(f"its supervisor is about to restart it: {noted.reason}")
        if not runner.is_alive and noted.state is SupervisorState.RUNNING:
            found.append("its supervisor was killed")
    if runner.job is not None and runner.is_alive:
        if runner.job.is_busy and state is ConsoleState.LISTENING:
            found.append("its job hook says busy, its console says listening")
        if runner.job.keep:
            found.append(f"its step {runner.job.keep} asks for the pod to be kept")
    return found


async def wait_until_finished(
    remote: Remote,
    name: str,
    *,
    timeout: float,  # noqa: ASYNC109  # the error says what was seen last
    poll_seconds: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> InstalledRunner:
    """Return the runner once it has had its job and its process has ended.

    Args:
        timeout: In seconds.

    Raises:
        RunnerError: It is gone, or ended without a job's result.
        DeadlineError: It is still at it.
    """
    started = clock()
    while True:
        runner = await pod_shell.find_installed(remote, name)
        if runner is None:
            raise RunnerError(
                f"there is no runner {name} on the pod",
                runner_name=name,
                hint="`runner-installer status POD` lists the ones there are.",
            )
        if not runner.is_alive:
            if runner.console.state is ConsoleState.FINISHED:
                return runner
            raise RunnerError(
                f"runner {name} ended without finishing a job: "
                f"{runner.console.reason or 'its console does not say why'}",
                runner_name=name,
                hint="`runner-installer status POD` shows the end of its console.",
            )
        waited = clock() - started
        if waited >= timeout:
            raise DeadlineError(
                f"waited {waited:.0f} s for runner {name} to finish a job",
                waited_seconds=waited,
                last_status=str(runner.console.state),
                hint="Is a job queued that asks for exactly its labels?",
            )
        await sleep(min(poll_seconds, timeout - waited))
