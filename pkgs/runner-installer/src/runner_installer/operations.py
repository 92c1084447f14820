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

from runner_installer.errors import RunnerBusyError
from runner_installer.github import GitHub, GitHubSettings, open_github
from runner_installer.install import Installation, Installed, Phase
from runner_installer.model import (
    RunnerSpec,
    RunnerStatus,
    Scope,
    parse_labels,
    parse_scope,
    render_name,
)
from runner_installer.plan import Step, plan_steps
from runner_installer.pod_shell import list_installed, probe
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
    verify_timeout_seconds: float,
    new_token: Callable[[], str],
    on_phase: Callable[[Phase], None],
) -> tuple[Installed, Pod]:
    """Make a pod a runner."""
    parse_scope(wish.repo)  # a slip is told before anything is connected to
    parse_labels(wish.labels)

    async def work(remote: Remote, github: GitHub, pod: Pod) -> tuple[Installed, Pod]:
        installation = Installation(
            remote,
            github,
            TarballCache(room.cache_folder, github.download),
            verify_timeout_seconds=verify_timeout_seconds,
            on_phase=on_phase,
        )
        done = await installation.run(
            wish.spec_for(pod),
            new_name=None if wish.name else lambda: wish.name_with(pod, new_token()),
        )
        return done, pod

    return _with_pod(room, selector, work)


def status(room: Room, selector: str) -> tuple[tuple[RunnerStatus, ...], Pod]:
    """Return the state of every runner on a pod."""

    async def work(
        remote: Remote, github: GitHub, pod: Pod
    ) -> tuple[tuple[RunnerStatus, ...], Pod]:
        return await list_statuses(remote, github), pod

    return _with_pod(room, selector, work)


def plan(room: Room, selector: str, wish: Wish) -> tuple[Step, ...]:
    """Return the steps an installation would take."""

    async def work(remote: Remote, github: GitHub, pod: Pod) -> tuple[Step, ...]:
        spec = wish.spec_for(pod)
        facts = await probe(remote)
        downloads = await asyncio.to_thread(github.list_downloads, spec.scope)
        return plan_steps(spec, facts, choose_download(downloads, facts))

    return _with_pod(room, selector, work)


def remove(room: Room, selector: str, repo: str | None, *, force: bool) -> Outcome:
    """Take every runner off a pod; without the pod's help where it cannot be reached.

    Raises:
        Error: The pod cannot be reached and nobody said which repository to ask.
    """
    scope = parse_scope(repo) if repo else None

    async def work(remote: Remote, github: GitHub, pod: Pod) -> Outcome:
        return await _remove_all(remote, github, pod.pod_id, scope, force=force)

    try:
        return _with_pod(room, selector, work)
    except (NotFoundError, NotDirectError, SSHError) as error:
        if scope is None or _is_github(error):
            raise
        return _remove_without_pod(room, selector, scope)


async def _remove_all(
    remote: Remote, github: GitHub, pod_id: str, scope: Scope | None, *, force: bool
) -> Outcome:
    removals: list[Removal] = []
    busy: RunnerBusyError | None = None
    scopes = {scope} if scope else set()
    kept = []
    for runner in await list_installed(remote):
        place = trusted_scope(runner, pod_id, scope)
        scopes |= {place} if place else set()
        try:
            removals.append(
                await remove_runner(remote, github, runner, scope=place, force=force)
            )
        except RunnerBusyError as error:
            busy = error
            kept.append(runner.name)
    done = [*kept, *(removal.name for removal in removals)]
    for place in sorted(scopes, key=str):
        removals += await sweep(github, place, pod_id, except_for=done)
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
