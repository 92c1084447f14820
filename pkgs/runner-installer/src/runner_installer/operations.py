"""What each command does, from settings to result: the composition of this package.

The one bridge between synchronous callers and the asynchronous installation.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runner_installer.applying import Phase
from runner_installer.errors import RunnerBusyError, RunnerError
from runner_installer.github import GitHub, GitHubSettings, open_github
from runner_installer.install import Batch, Installation
from runner_installer.layout import check_facts
from runner_installer.model import (
    RunnerSpec,
    RunnerStatus,
    Scope,
    parse_labels,
    parse_scope,
    render_name,
)
from runner_installer.plan import Step, plan_steps
from runner_installer.pod_model import InstallOptions, PodRunner
from runner_installer.pod_shell import fetch_logs, list_installed, probe
from runner_installer.remote import Remote, open_remote
from runner_installer.remove import Removal, remove_runner, sweep, trusted_scope
from runner_installer.status import list_statuses
from runner_installer.tarball import TarballCache, choose_download, default_folder
from runpod_client import (
    ClientSettings,
    Error,
    NotFoundError,
    Pod,
    RunPodClient,
    open_client,
)
from runpod_client.console import Session
from runpod_ssh import NotDirectError, SSHError

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a command line says about the runner to make.

    Attributes:
        token: What makes its name a new one.
    """

    repo: str
    labels: str
    name: str | None
    prefix: str
    group_id: int
    token: str

    def spec_for(self, pod: Pod) -> RunnerSpec:
        """Return the runner this means on a pod."""
        return RunnerSpec(
            name=self.name or self.name_with(pod, self.token),
            scope=parse_scope(self.repo),
            labels=parse_labels(self.labels),
            group_id=self.group_id,
        )

    def name_with(self, pod: Pod, token: str) -> str:
        """Return a name that was never used before."""
        return render_name(prefix=self.prefix, pod_id=pod.pod_id, token=token)


@dataclass(frozen=True, kw_only=True)
class Room:
    """The settings commands work with."""

    client_settings: ClientSettings
    github_settings: GitHubSettings
    cache_folder: Path

    @classmethod
    def of(cls, session: Session) -> "Room":
        """Load the settings of a run."""
        return cls(
            client_settings=session.load(ClientSettings, "client"),
            github_settings=session.load(GitHubSettings, "github"),
            cache_folder=default_folder(),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a removal came to; `busy` is the runner that was left alone."""

    pod: str
    removals: tuple[Removal, ...]
    busy: RunnerBusyError | None = None


def install(
    room: Room,
    selector: str,
    wish: Wish,
    *,
    options: InstallOptions,
    count: int,
    verify_timeout_seconds: float,
    new_token: Callable[[], str],
    on_phase: Callable[[Phase], None],
) -> tuple[Batch, Pod]:
    """Make a pod a runner, or several; those that are there already count."""
    parse_scope(wish.repo)  # a slip is told before anything is connected to
    parse_labels(wish.labels)

    async def work(remote: Remote, github: GitHub, pod: Pod) -> tuple[Batch, Pod]:
        installation = Installation(
            remote,
            github,
            TarballCache(room.cache_folder, github.download),
            options=options,
            verify_timeout_seconds=verify_timeout_seconds,
            on_phase=on_phase,
        )

        def another_name() -> str:
            return wish.name_with(pod, new_token())

        spec = wish.spec_for(pod)
        if count == 1:
            new_name = None if wish.name else another_name
            done = await installation.run(spec, new_name=new_name)
            return Batch(installed=(done,)), pod
        live = await installation.list_live(spec.scope)
        names = [*live, *(another_name() for _ in range(count))][:count]
        specs = [spec.renamed(name) for name in names]
        return await installation.run_many(specs, new_name=another_name), pod

    return _with_pod(room, selector, work)


def status(
    room: Room, selector: str, *, folder: str = ""
) -> tuple[tuple[RunnerStatus, ...], Pod]:
    """Return the state of every runner on a pod."""

    async def work(
        remote: Remote, github: GitHub, pod: Pod
    ) -> tuple[tuple[RunnerStatus, ...], Pod]:
        return await list_statuses(remote, github, folder=folder), pod

    return _with_pod(room, selector, work)


def logs(room: Room, selector: str, name: str | None, *, folder: str = "") -> str:
    """Return what a runner and its installation wrote.

    Args:
        name: Which runner, also one that could not be installed; None for the only
            one on the pod.

    Raises:
        RunnerError: There is no such runner, or there are several to choose from.
    """

    async def work(remote: Remote, _github: GitHub, _pod: Pod) -> str:
        runners = await list_installed(remote, folder=folder)
        if name is None:
            return await fetch_logs(remote, _only(runners).folder)
        for runner in runners:
            if runner.name == name:
                return await fetch_logs(remote, runner.folder)
        facts = await probe(remote, folder=folder)
        text = await fetch_logs(remote, f"{facts.base}/actions-runner/{name}")
        if not text:
            raise RunnerError(
                f"the pod has no logs of a runner {name}",
                runner_name=name,
                hint="`runner-installer status POD` lists the ones there are.",
            )
        return text

    return _with_pod(room, selector, work)


def _only(runners: tuple[PodRunner, ...]) -> PodRunner:
    if len(runners) == 1:
        return runners[0]
    names = ", ".join(runner.name for runner in runners) or "none"
    raise RunnerError(
        f"the pod has {len(runners)} runners: {names}",
        hint="Name one with --runner.",
    )


def plan(
    room: Room, selector: str, wish: Wish, options: InstallOptions
) -> tuple[Step, ...]:
    """Return the steps an installation would take."""

    async def work(remote: Remote, github: GitHub, pod: Pod) -> tuple[Step, ...]:
        spec = wish.spec_for(pod)
        facts = await probe(remote, folder=options.folder)
        check_facts(facts, options)
        downloads = await asyncio.to_thread(github.list_downloads, spec.scope)
        return plan_steps(spec, facts, choose_download(downloads, facts), options)

    return _with_pod(room, selector, work)


def remove(
    room: Room,
    selector: str,
    repo: str | None,
    *,
    force: bool,
    folder: str = "",
    keep_logs: Path | None = None,
) -> Outcome:
    """Take every runner off a pod; without the pod's help where it cannot be reached.

    Args:
        keep_logs: A folder here for the runners' logs.

    Raises:
        Error: The pod cannot be reached and nobody said which repository to ask.
    """
    scope = parse_scope(repo) if repo else None

    async def work(remote: Remote, github: GitHub, pod: Pod) -> Outcome:
        removing = _Removing(force=force, folder=folder, keep_logs=keep_logs)
        return await _remove_all(remote, github, pod.pod_id, scope, removing)

    try:
        return _with_pod(room, selector, work)
    except (NotFoundError, NotDirectError, SSHError) as error:
        if scope is None or _is_github(error):
            raise
        return _remove_without_pod(room, selector, scope)


@dataclass(frozen=True, kw_only=True)
class _Removing:
    """How runners are to be removed."""

    force: bool
    folder: str
    keep_logs: Path | None


async def _remove_all(
    remote: Remote,
    github: GitHub,
    pod_id: str,
    scope: Scope | None,
    removing: _Removing,
) -> Outcome:
    removals: list[Removal] = []
    busy: RunnerBusyError | None = None
    scopes = {scope} if scope else set()
    settled = []
    for runner in await list_installed(remote, folder=removing.folder):
        place = trusted_scope(runner, pod_id, scope)
        scopes |= {place} if place else set()
        try:
            removals.append(
                await remove_runner(
                    remote,
                    github,
                    runner,
                    scope=place,
                    force=removing.force,
                    keep_logs=removing.keep_logs,
                )
            )
        except RunnerBusyError as error:
            busy = error
        # one that GitHub was not asked about may be swept like a stranger's
        settled += [runner.name] if place else []
    for place in sorted(scopes, key=str):
        removals += await sweep(github, place, pod_id, except_for=settled)
    return Outcome(pod=pod_id, removals=tuple(removals), busy=busy)


def _remove_without_pod(room: Room, selector: str, scope: Scope) -> Outcome:
    """Delete what GitHub lists for a pod that cannot be asked any more."""
    pod_id = selector
    # where the pod is gone the selector can only be its id
    with (
        open_client(room.client_settings) as client,
        contextlib.suppress(NotFoundError),
    ):
        pod_id = client.resolve_pod(selector).pod_id
    with open_github(room.github_settings) as github:
        removals = _run(sweep(github, scope, pod_id))
    return Outcome(pod=pod_id, removals=removals)


def _is_github(error: Error) -> bool:
    return getattr(error, "service", "") == "GitHub"


def _with_pod(
    room: Room,
    selector: str,
    work: Callable[[Remote, GitHub, Pod], Awaitable[Result]],
) -> Result:
    """Open GitHub and the pod, do the work, close both."""

    async def connected(client: RunPodClient, github: GitHub) -> Result:
        state_dir = room.client_settings.state_dir
        async with open_remote(client, selector, state_dir=state_dir) as (remote, pod):
            return await work(remote, github, pod)

    with (
        open_github(room.github_settings) as github,
        open_client(room.client_settings) as client,
    ):
        return _run(connected(client, github))


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; SIGTERM cancels like Ctrl-C, so that cleaning up happens."""

    async def cancellable() -> Result:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
