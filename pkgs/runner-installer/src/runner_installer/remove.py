"""Taking runners off a pod: at GitHub first, then the process, then the files.

Every part may be repeated and says what it did. A runner on a job is left alone unless
told otherwise, and whether it is on one is asked afresh, never remembered.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner_installer import pod_shell
from runner_installer.errors import InstallError, RunnerBusyError, RunnerError
from runner_installer.github import GitHub
from runner_installer.model import (
    ConsoleState,
    InstalledRunner,
    Scope,
    is_name_of_pod,
)
from runner_installer.remote import Remote

STOP_GRACE_SECONDS = 60
# after a forced stop GitHub needs a moment to see that the job is over
_SETTLE_SECONDS = 15.0
_SETTLE_PAUSE_SECONDS = 1.0
_STOP_WORDS = {
    "asked": "stopped",
    "killed": "stopped, some of its processes by force",
    "already-ended": "had ended already",
    "never-started": "had never been started",
}


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was done about one runner, in sentences for people."""

    name: str
    actions: tuple[str, ...]


async def remove_runner(
    remote: Remote,
    github: GitHub,
    runner: InstalledRunner,
    *,
    scope: Scope | None,
    force: bool,
    keep_logs: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Removal:
    """Remove one runner everywhere.

    Args:
        scope: Where it is registered; None where nobody knows, then only the pod is
            cleaned.
        force: Also when it is on a job, which is then lost.
        keep_logs: A folder here that gets NAME.tar.gz with its console and `_diag`.

    Raises:
        InstallError: Its logs cannot be had or kept; its files are still on the pod.
        RunnerBusyError: It is on a job; nothing was done, or (forced) GitHub keeps
            its record until it has given the job up.
    """
    name = runner.name
    actions = []
    if not force and runner.is_alive and runner.console.state is ConsoleState.BUSY:
        raise _busy(name)
    if scope is None:
        actions.append(f"{name}: the repository is not known, GitHub was not asked")
    elif not force:
        actions.append(await asyncio.to_thread(_delete_record, github, scope, name))
    how = await pod_shell.stop_processes(
        remote, runner.folder, grace_seconds=STOP_GRACE_SECONDS
    )
    actions.append(f"{name}: its process {_STOP_WORDS.get(how, how)}")
    if scope is not None and force:
        actions.append(await _delete_settled(github, scope, name, clock, sleep))
    if keep_logs is not None and await pod_shell.find_installed(
        remote, name, folder=runner.folder.removesuffix(f"/actions-runner/{name}")
    ):
        path = await fetch_logs(remote, runner, keep_logs)
        actions.append(f"{name}: its logs kept in {path}")
    deleted = await pod_shell.delete_folder(remote, runner.folder)
    was = "deleted" if deleted else "had been deleted already"
    actions.append(f"{name}: its folder {was}")
    return Removal(name=name, actions=tuple(actions))


async def fetch_logs(remote: Remote, runner: InstalledRunner, folder: Path) -> Path:
    """Bring a runner's console, install log and `_diag` here; return the archive.

    It is not unpacked: jobs wrote what is in it.

    Raises:
        InstallError: The pod gives none, or it cannot be written here.
    """
    archive = await pod_shell.fetch_diagnostics(remote, runner.folder)
    path = folder / f"{runner.name}.tar.gz"
    try:
        await asyncio.to_thread(_write_whole, path, archive)
    except OSError as error:
        raise InstallError(
            f"cannot write {path}: {error.strerror}",
            step="logs",
            runner_name=runner.name,
            hint="Name a writable folder with --keep-logs.",
        ) from error
    return path


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)


async def sweep(
    github: GitHub, scope: Scope, pod_id: str, *, except_for: Sequence[str] = ()
) -> tuple[Removal, ...]:
    """Delete what GitHub still lists for a pod by name, without asking the pod.

    A runner on a job is left: GitHub gives it up by itself when its pod is gone.
    """
    removals = []
    for record in await asyncio.to_thread(github.list_runners, scope):
        if not is_name_of_pod(record.name, pod_id) or record.name in except_for:
            continue
        try:
            action = await asyncio.to_thread(_delete_record, github, scope, record.name)
        except RunnerBusyError:
            action = f"{record.name}: on a job, so GitHub keeps it until that has ended"
        removals.append(Removal(name=record.name, actions=(action,)))
    return tuple(removals)


def trusted_scope(
    runner: InstalledRunner, pod_id: str, named: Scope | None
) -> Scope | None:
    """Return where to delete a runner's record.

    The record on the pod is in reach of every job that ran there. It may therefore
    choose among runners of this pod only; for any other name a person says where.

    Raises:
        RunnerError: The name is not one of this pod's and nobody said where.
    """
    if named is not None:
        return named
    if runner.scope is None or is_name_of_pod(runner.name, pod_id):
        return runner.scope
    raise RunnerError(
        f"the pod says that it runs {runner.name} of {runner.scope}, a name that is "
        "not bound to this pod",
        runner_name=runner.name,
        hint=f"If that is right, repeat with --repo {runner.scope}.",
    )


def _delete_record(github: GitHub, scope: Scope, name: str) -> str:
    """Delete a runner at GitHub unless it is on a job."""
    found = github.find_runner(scope, name)
    if found is None:
        return f"{name}: {scope} lists it no longer"
    if found.is_busy:
        raise _busy(name)
    github.delete_runner(scope, found.runner_id)
    return f"{name}: deleted at {scope}"


async def _delete_settled(
    github: GitHub,
    scope: Scope,
    name: str,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> str:
    """Delete a runner whose job was just cut off, giving GitHub time to notice."""
    deadline = clock() + _SETTLE_SECONDS
    while True:
        try:
            return await asyncio.to_thread(_delete_record, github, scope, name)
        except RunnerBusyError:
            if clock() >= deadline:
                return (
                    f"{name}: stopped, but {scope} holds it for busy until it gives "
                    "the job up (some 10 minutes)"
                )
        await sleep(_SETTLE_PAUSE_SECONDS)


def _busy(name: str) -> RunnerBusyError:
    return RunnerBusyError(
        f"runner {name} is on a job",
        runner_name=name,
        hint="Wait for the job to end; --force gives the job up.",
    )
