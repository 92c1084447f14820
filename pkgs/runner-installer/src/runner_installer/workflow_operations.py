"""What `up`, `down` and `sweep` do, from settings to result: their composition.

The bridge from synchronous commands to the asynchronous work. A signal ends the work
once and in order; more of them do not cut the clean-up short.
"""

import asyncio
import contextlib
import functools
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from runner_installer.errors import RunnerBusyError
from runner_installer.github import GitHub, open_github
from runner_installer.model import RunnerRecord, Scope
from runner_installer.operations import Room
from runner_installer.pod_runners import PodRunners
from runner_installer.remote import open_remote
from runner_installer.renting import Renting
from runner_installer.returning import Giveback, Return, Returned
from runner_installer.run_wishes import Rented, Wanted, find_missing
from runner_installer.runs import (
    Run,
    RunPod,
    find_pod_id,
    find_run_pods,
    find_run_runners,
    parse_pod,
)
from runner_installer.tarball import TarballCache
from runpod_client import (
    Error,
    NotFoundError,
    Pod,
    RateLimitedError,
    RunPodClient,
    open_client,
)

Result = TypeVar("Result")
Say = Callable[[str], None]

# a create that was under way when its process was killed may show up a moment later
_PASSES = 3
# threads that wait for pods; each pod is waited for in one
_THREADS = 64
_OVER = "completed"
# how long an exhausted quota is waited for in all
_QUOTA_SECONDS = 180.0
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True, kw_only=True)
class Ghost:
    """A runner at GitHub whose pod is gone."""

    record: RunnerRecord
    pod_id: str


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What `sweep` found, and what it did about it unless it only looked.

    Attributes:
        over: Pods whose workflow run is over.
        ghosts: Runners whose pods are gone.
    """

    over: tuple[RunPod, ...]
    ghosts: tuple[Ghost, ...]
    given_back: Giveback


def up(
    room: Room,
    wanted: Wanted,
    *,
    agree: Callable[[Any, int], None],
    on_given_back: Callable[[Sequence[Returned]], None],
    say: Say,
) -> Rented:
    """Have so many pods with so many runners, or none.

    Args:
        agree: Is given the plan and the number of pods it is for before any is
            rented; raises where the price is not agreed to.
        on_given_back: Is told what was rented in vain, also where this raises.
    """
    with contextlib.ExitStack() as stack:
        github = None
        if wanted.scope is not None:
            github = stack.enter_context(open_github(room.github_settings))
        client = stack.enter_context(open_client(room.client_settings))
        listing = _patiently(client.list_pods, say)
        present = find_run_pods(listing, wanted.run, wanted.name)
        taken, _useless = find_missing(present, wanted)
        missing = wanted.pod_count - len(taken)
        plan = None
        if missing:
            plan = _patiently(lambda: client.plan(wanted.spec_for(1)), say)
            agree(plan, missing)
        renting = Renting(
            client,
            github,
            wanted,
            plan=plan,
            runners=_make_runners(room, client, github, wanted),
            say=say,
        )
        try:
            return run_to_end(renting.run(present), say=say)
        finally:
            on_given_back(renting.given_back.pods)


def _make_runners(
    room: Room, client: RunPodClient, github: GitHub | None, wanted: Wanted
) -> PodRunners | None:
    if github is None or wanted.scope is None:
        return None
    state_dir = room.client_settings.state_dir
    return PodRunners(
        github,
        TarballCache(room.cache_folder, github.download),
        functools.partial(open_remote, client, state_dir=state_dir),
        scope=wanted.scope,
        labels=(*wanted.labels, wanted.label),
        prefix=wanted.prefix,
        group_id=wanted.group_id,
        new_token=lambda: secrets.token_hex(3),
        ready_seconds=wanted.ready_seconds,
    )


def down(
    room: Room,
    run: Run,
    *,
    name: str | None,
    scope: Scope | None,
    grace_seconds: float,
    force: bool,
    say: Say,
) -> Giveback:
    """End every pod of a run and delete its runners; safe to repeat.

    Args:
        name: Only the set of this name.
        scope: Where runners are looked for whose pods are gone; None leaves them.
    """

    def is_ours(record: RunnerRecord) -> bool:
        return bool(find_run_runners([record], run, name))

    async def work(
        client: RunPodClient, github: GitHub | None, pods: tuple[RunPod, ...]
    ) -> Giveback:
        total = Giveback()
        for number in range(_PASSES):
            if number:
                listing = await asyncio.to_thread(client.list_pods)
                known = {p.pod.pod_id for p in total.pods if p.outcome != "failed"}
                found = find_run_pods(listing, run, name)
                pods = tuple(p for p in found if p.pod.pod_id not in known)
                if not pods:
                    break
            giving = Return(
                client, github, grace_seconds=grace_seconds, force=force, say=say
            )
            done = await giving.run(
                pods, scopes=[scope] if scope else [], is_ours=is_ours
            )
            total = total.joined(done)
        return total

    with contextlib.ExitStack() as stack:
        client = stack.enter_context(open_client(room.client_settings))
        pods = find_run_pods(_patiently(client.list_pods, say), run, name)
        github = None
        if scope is not None or any(each.scope for each in pods):
            github = stack.enter_context(open_github(room.github_settings))
        return run_to_end(work(client, github, pods), say=say)


def sweep(
    room: Room,
    scope: Scope,
    *,
    prefix: str,
    settle_seconds: float,
    dry_run: bool,
    say: Say,
) -> Swept:
    """End pods whose workflow run is over, and delete runners whose pod is gone."""
    with (
        open_github(room.github_settings) as github,
        open_client(room.client_settings) as client,
    ):
        work = _sweep(
            client,
            github,
            scope,
            prefix=prefix,
            settle_seconds=settle_seconds,
            dry_run=dry_run,
            say=say,
        )
        return run_to_end(work, say=say)


async def _sweep(
    client: RunPodClient,
    github: GitHub,
    scope: Scope,
    *,
    prefix: str,
    settle_seconds: float,
    dry_run: bool,
    say: Say,
) -> Swept:
    pods = await asyncio.to_thread(client.list_pods)
    ours = [p for p in map(parse_pod, pods) if p and p.scope == scope and not p.is_gone]
    over = [p for p in ours if await asyncio.to_thread(_is_over, github, p.run)]
    ghosts = await _find_ghosts(client, github, scope, prefix)
    if ghosts and settle_seconds:
        # a runner that is being installed is offline as well, for a moment
        say(f"{len(ghosts)} runners look lost; looking again in {settle_seconds:.0f} s")
        await asyncio.sleep(settle_seconds)
        seen = {ghost.record.runner_id for ghost in ghosts}
        looked = await _find_ghosts(client, github, scope, prefix)
        ghosts = tuple(g for g in looked if g.record.runner_id in seen)
    if dry_run:
        return Swept(over=tuple(over), ghosts=ghosts, given_back=Giveback())
    ids = {ghost.record.runner_id for ghost in ghosts}
    giving = Return(client, github, grace_seconds=0, force=False, say=say)
    done = await giving.run(
        over, scopes=[scope], is_ours=lambda record: record.runner_id in ids
    )
    return Swept(over=tuple(over), ghosts=ghosts, given_back=done)


async def _find_ghosts(
    client: RunPodClient, github: GitHub, scope: Scope, prefix: str
) -> tuple[Ghost, ...]:
    """Return runners of ours that are offline and whose pod is not listed."""
    # in this order: a pod rented between the two would look gone
    records = await asyncio.to_thread(github.list_runners, scope)
    pods: list[Pod] = await asyncio.to_thread(client.list_pods)
    ids = {pod.pod_id for pod in pods}
    return tuple(
        Ghost(record=record, pod_id=pod_id)
        for record in records
        if (pod_id := find_pod_id(record.name, prefix)) is not None
        and pod_id not in ids
        and not record.is_online
        and not record.is_busy
    )


def _is_over(github: GitHub, run: Run) -> bool:
    """Tell whether a workflow run is over; one that was deleted is."""
    try:
        return github.get_run(run.repository, run.run_id).status == _OVER
    except NotFoundError:
        return True


def run_to_end(work: Coroutine[Any, Any, Result], *, say: Say) -> Result:
    """Run work; the first SIGINT or SIGTERM cancels it, later ones do not hurry it.

    GitHub Actions sends a cancelled step SIGINT, then SIGTERM, then SIGKILL; the second
    must not end the clean-up that the first began.

    Raises:
        KeyboardInterrupt: A signal ended it.
    """

    async def cancellable() -> Result:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        task = asyncio.ensure_future(work)
        cancelled = False

        def cancel() -> None:
            nonlocal cancelled
            say("interrupted; still cleaning up" if cancelled else "interrupted")
            if not cancelled:
                cancelled = True
                task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return await task

    # one that comes before there is a loop to take it waits until there is
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _patiently(call: Callable[[], Result], say: Say) -> Result:
    """Call RunPod, and again where it asks for a pause that is short.

    Several jobs of a workflow share one account's quota.

    Raises:
        RateLimitedError: The pauses became too long.
    """
    waited = 0.0
    while True:
        try:
            return call()
        except RateLimitedError as error:
            pause = error.retry_after_seconds
            if pause is None or waited + pause > _QUOTA_SECONDS:
                raise
            say(f"RunPod's quota is used up; waiting {pause:.0f} s")
            time.sleep(pause + 0.1)
            waited += pause + 0.1


def find_failure(done: Giveback) -> Error | None:
    """Return what a command is to fail with, None where all was done."""
    failed = [each.error for each in done.pods if each.error is not None]
    if failed or done.failures:
        return [*failed, *done.failures][0]
    if done.busy:
        names = ", ".join(done.busy)
        return RunnerBusyError(
            f"left alone, since they are on a job: {names}",
            runner_name=done.busy[0],
            hint="Repeat `down` when the job has ended; --force gives it up. Their "
            "pods bill meanwhile.",
        )
    return None
