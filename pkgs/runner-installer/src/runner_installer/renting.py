"""Renting pods for a workflow run and making them runners, or giving all of it back.

Level-based: so many pods are wanted, so many are there, the difference is rented.
Whatever ends it early, an error, Ctrl-C or a cancelled workflow, what was rented is
taken back before it is raised; what a killed process leaves is found by its marks.
It must not know command lines, and asks nobody: the price was agreed to before.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from runner_installer.errors import InstallError
from runner_installer.pod_runners import PodRunners
from runner_installer.returning import Giveback, Return, Runners
from runner_installer.run_wishes import (
    Failed,
    Readied,
    Rented,
    Stage,
    Wanted,
    find_missing,
    get_most,
    on_demand,
    renamed,
)
from runner_installer.runs import RunPod, find_run_pods, render_pod_name
from runpod_client import (
    DeadlineError,
    Error,
    NotFoundError,
    Pod,
    RateLimitedError,
    RejectedError,
    RunPodClient,
    UnsettledCreateError,
)
from runpod_client.logs import get_logger
from runpod_ssh import NotDirectError, SSHError

log = get_logger(__name__)
Result = TypeVar("Result")

# a pod that came up broken is given back and another one tried
_ATTEMPTS = 2
# how long what was rented is waited for before it can be taken back
_SETTLE_SECONDS = 60.0
# the pod's fault, not the account's or GitHub's: another pod may do better
_FAULTS_OF_PODS = (
    SSHError,
    NotDirectError,
    InstallError,
    RejectedError,
    NotFoundError,
    DeadlineError,
)


@dataclass
class _Slot:
    """What is known of one slot while it is filled."""

    number: int
    pod: Pod | None = None
    is_new: bool = True
    stages: list[Stage] = field(default_factory=list)


class Renting:
    """One `up`; `run` carries it out once.

    Args:
        plan: What `client.plan` says of the pods, as it was agreed to; None where
            none is to be rented.
        runners: Makes a pod's runners; None where none are wanted.
        say: Is told what happens, in sentences for people.
    """

    def __init__(
        self,
        client: RunPodClient,
        github: Runners | None,
        wanted: Wanted,
        *,
        plan: Any,
        runners: PodRunners | None,
        say: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._github = github
        self._wanted = wanted
        self._plan = plan
        self._runners = runners
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._started = clock()
        self._stopping = threading.Event()
        self._creates: list[asyncio.Task[Pod]] = []
        self._given_back = Giveback()
        self._present: tuple[RunPod, ...] = ()
        self._touched: set[str] = set()  # pods that may have a runner by now

    @property
    def given_back(self) -> Giveback:
        """Return what was rented in vain, also after `run` raised."""
        return self._given_back

    async def run(self, present: Sequence[RunPod]) -> Rented:
        """Fill every slot.

        Args:
            present: The pods of this set that are there already.

        Raises:
            Error: A slot could not be filled, and all was given back.
        """
        taken, useless = find_missing(present, self._wanted)
        slots = [
            _Slot(number=n, pod=taken[n].pod, is_new=False)
            if n in taken
            else _Slot(number=n)
            for n in range(1, self._wanted.pod_count + 1)
        ]
        self._present = tuple(present)
        if useless:
            await self._give_back(useless)
        tasks = [asyncio.create_task(self._fill(slot)) for slot in slots]
        try:
            pods, failed = await self._collect(tasks)
        except BaseException:
            # a cancelled workflow leaves us seconds: all at once, GitHub first
            await asyncio.shield(self._abandon(tasks))
            raise
        return Rented(
            wanted=self._wanted,
            pods=tuple(pods),
            failed=tuple(failed),
            given_back=self._given_back,
            elapsed_seconds=self._clock() - self._started,
        )

    async def _collect(
        self, tasks: "list[asyncio.Task[Readied | Failed]]"
    ) -> tuple[list[Readied], list[Failed]]:
        """Wait for every slot, or for the first that fails where that decides it."""
        for next_done in asyncio.as_completed(tasks):
            outcome = await next_done
            if isinstance(outcome, Failed) and self._wanted.is_all_or_nothing:
                raise outcome.error
        outcomes = [task.result() for task in tasks]
        pods = [each for each in outcomes if isinstance(each, Readied)]
        failed = [each for each in outcomes if isinstance(each, Failed)]
        if failed and not pods:
            raise failed[0].error
        return pods, failed

    async def _abandon(self, tasks: "Sequence[asyncio.Task[Any]]") -> None:
        """Take back everything this set has, also what is only being rented."""
        self._stopping.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._creates:
            # a request that was sent cannot be recalled; its pod is ended then
            _done, late = await asyncio.wait(self._creates, timeout=_SETTLE_SECONDS)
            if late:
                self._say("a request for a pod has no answer yet; see `down`")
        made = [
            task.result()
            for task in self._creates
            if task.done() and not task.cancelled() and task.exception() is None
        ]
        listed = (*self._present, *await self._list_present())
        pods = {each.pod.pod_id: each for each in listed}
        pods |= {pod.pod_id: self._marked(pod) for pod in made}
        for each in self._given_back.pods:
            if each.outcome in {"terminated", "gone"}:
                pods.pop(each.pod.pod_id, None)
        if pods:
            self._say(f"giving back {len(pods)} of the run's pods")
            await self._give_back(list(pods.values()))

    async def _list_present(self) -> tuple[RunPod, ...]:
        """Return the set's pods as RunPod lists them; none where it does not answer."""
        try:
            pods = await asyncio.to_thread(self._client.list_pods)
        except Error as error:
            log.warning("pods_unlisted", error=str(error))
            return ()
        return find_run_pods(pods, self._wanted.run, self._wanted.name)

    async def _give_back(self, pods: Sequence[RunPod]) -> None:
        giving = Return(
            self._client,
            self._github,
            grace_seconds=0,
            force=False,
            say=self._say,
            clock=self._clock,
            sleep=self._sleep,
        )
        done = await giving.run(pods)
        self._given_back = self._given_back.joined(done)
        for each in done.pods:
            if each.outcome in {"kept", "failed"}:
                self._say(
                    f"{each.pod.name} ({each.pod.pod_id}) is left and bills: "
                    f"{each.detail}. End it: runner-installer down "
                    f"--run {self._wanted.run}"
                )

    async def _fill(self, slot: _Slot) -> Readied | Failed:
        """Make a slot's pod usable; a broken pod is given back and another tried."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                pod, runners = await self._ready(slot, is_again=attempt > 1)
            except Error as error:
                self._say(f"{self._title(slot)}: {error}")
                may_help = self._another_may_help(slot, error)
                await self._drop(slot)
                if attempt == _ATTEMPTS or not may_help:
                    return Failed(slot=slot.number, error=error)
                self._say(f"{self._title(slot)}: trying another pod")
            else:
                return Readied(
                    pod=pod,
                    slot=slot.number,
                    runners=runners,
                    stages=tuple(slot.stages),
                    is_new=slot.is_new,
                    attempt=attempt,
                )
        raise AssertionError("every attempt returns or fails")

    def _another_may_help(self, slot: _Slot, error: Error) -> bool:
        """Tell whether it was that pod's fault, and another was agreed to."""
        return (
            self._plan is not None
            and slot.pod is not None
            and isinstance(error, _FAULTS_OF_PODS)
            and getattr(error, "service", "") != "GitHub"
            and self._left_seconds() > 0
        )

    async def _drop(self, slot: _Slot) -> None:
        """Give back a slot's pod, if it got one."""
        if slot.pod is not None:
            if not slot.is_new:
                self._touched.add(slot.pod.pod_id)
            await self._give_back([self._marked(slot.pod)])
        slot.pod, slot.is_new = None, True
        slot.stages.clear()

    async def _ready(
        self, slot: _Slot, *, is_again: bool
    ) -> tuple[Pod, tuple[str, ...]]:
        """Rent a slot's pod, wait for its sshd, make it a runner."""
        if slot.pod is None:
            work = self._rent(slot, is_on_demand=is_again)
            slot.pod = await self._timed(slot, "rent", work)
            self._say(f"{self._title(slot)}: rented, {_describe(slot.pod)}")
        pod = slot.pod = await self._timed(slot, "boot", self._boot(slot.pod))
        self._say(f"{self._title(slot)}: SSH answers")
        if self._runners is None:
            return pod, ()
        self._touched.add(pod.pod_id)
        work_there = self._runners.ensure(pod, self._wanted.runners_per_pod)
        names = await self._timed(slot, "install", work_there)
        self._say(f"{self._title(slot)}: {', '.join(names)} listens for jobs")
        return pod, names

    async def _timed(self, slot: _Slot, name: str, work: Awaitable[Result]) -> Result:
        started = self._clock()
        try:
            async with asyncio.timeout(max(self._left_seconds(), 0.1)):
                return await work
        except TimeoutError as error:
            seconds = self._wanted.timeout_seconds
            raise DeadlineError(
                f"{self._title(slot)} was not ready within {seconds:.0f} s",
                waited_seconds=self._clock() - self._started,
                last_status=name,
                hint="Repeat, or allow more with --timeout.",
            ) from error
        finally:
            took = self._clock() - started
            slot.stages.append(Stage(name=name, elapsed_seconds=took))

    async def _rent(self, slot: _Slot, *, is_on_demand: bool) -> Pod:
        """Rent the pod of a slot; a request under way is waited for even if cancelled."""
        spec = self._wanted.spec_for(slot.number)

        def create() -> Pod:
            plan = self._plan
            if is_on_demand:
                most = get_most(plan.get_placements())
                plan = self._client.plan(on_demand(spec, most))
            # the same plan for every slot: its GPU types are ids by now
            plan = replace(plan, spec=renamed(plan.spec, spec))
            return self._client.create_pod(
                plan.spec, plan=plan, on_status=self._check_going
            )

        while True:
            task = asyncio.create_task(asyncio.to_thread(create))
            self._creates.append(task)
            try:
                return await asyncio.shield(task)
            except RateLimitedError as error:
                # refused before anything was made; the account's jobs share a quota
                pause = error.retry_after_seconds
                if pause is None or pause > self._left_seconds():
                    raise
                self._say(f"{self._title(slot)}: waiting {pause:.0f} s for the quota")
                await self._sleep(pause)
            except UnsettledCreateError as error:
                self._say(f"{self._title(slot)} may have been rented: {error}")
                raise

    async def _boot(self, pod: Pod) -> Pod:
        return await asyncio.to_thread(
            self._client.wait_until_ready,
            pod.pod_id,
            timeout=max(self._left_seconds(), 0.1),
            on_status=self._check_going,
        )

    def _check_going(self, _status: str) -> None:
        """End a thread that waits for a pod nobody wants any more."""
        if self._stopping.is_set():
            raise DeadlineError(
                "given up", waited_seconds=0.0, last_status="interrupted"
            )

    def _marked(self, pod: Pod) -> RunPod:
        """Return a pod that this call rented.

        Before its installation began it has no runner, and GitHub need not be asked:
        that is quicker, and works when GitHub does not.
        """
        return RunPod(
            pod=pod,
            run=self._wanted.run,
            name=self._wanted.name,
            scope=self._wanted.scope if pod.pod_id in self._touched else None,
            slot=0,
        )

    def _left_seconds(self) -> float:
        return self._started + self._wanted.timeout_seconds - self._clock()

    def _title(self, slot: _Slot) -> str:
        return render_pod_name(self._wanted.name, self._wanted.run, slot.number)


def _describe(pod: Pod) -> str:
    how = "spot" if pod.is_spot else "on demand"
    end = f", ends {pod.lease_ends_at:%H:%M} UTC" if pod.lease_ends_at else ""
    return (
        f"{pod.gpu_count} x {pod.gpu_type}, {how}, ${pod.price_usd_per_hour:f}/hour"
        f"{end} ({pod.pod_id})"
    )
