"""One command on many pods at once; what happens to one pod ends no other.

    jobs (a pod each, reachable or not) -> events as they happen -> outcomes

Output comes in whole lines, so that pods' lines do not run into each other; how it is
shown is `fleet_output`'s and `fleet_table`'s business, who is meant is
`fleet_selection`'s.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from runpod_client import Error
from runpod_client.logs import get_logger
from runpod_ssh import streams
from runpod_ssh.admission import Admission
from runpod_ssh.errors import UnknownOutcomeError
from runpod_ssh.exec import exit_status_of
from runpod_ssh.fleet_model import (
    Ended,
    Job,
    Observer,
    Order,
    Outcome,
    Output,
    Started,
    State,
)
from runpod_ssh.lines import LineSplitter
from runpod_ssh.links import OpenLink
from runpod_ssh.model import ExecResult

log = get_logger(__name__)

# an idempotent command is run at most this often on a pod
_TRIES = 5


class Fleet:
    """Runs one order on many pods and keeps account of it."""

    def __init__(
        self,
        open_link: OpenLink,
        jobs: Sequence[Job],
        *,
        parallel: int,
        admission: Admission | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs = tuple(jobs)
        self._open_link = open_link
        self._parallel = parallel
        self._admission = admission or Admission()
        self._clock = clock
        self._outcomes: dict[str, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """Return how it went on every pod so far, in the order of the jobs."""
        return [
            self._outcomes.get(job.pod_id)
            or Outcome(pod_id=job.pod_id, name=job.name, state=State.WAITING)
            for job in self.jobs
        ]

    async def run(self, order: Order, observe: Observer) -> list[Outcome]:
        """Run the order on all pods, so many at once, and return how it went.

        A cancelled call interrupts the commands on all pods, notes that, and returns
        by raising; see `outcomes`.
        """
        for job in self.jobs:
            if job.target is None:
                await self._settle(job, _unreached(job), observe)
        remaining = iter([job for job in self.jobs if job.target is not None])
        workers = min(self._parallel, len(self.jobs))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(remaining, order, observe))
        except BaseExceptionGroup as failures:
            # the observer's, met by every worker: hand on the first
            raise failures.exceptions[0] from None
        return self.outcomes

    async def _work(
        self, remaining: Iterator[Job], order: Order, observe: Observer
    ) -> None:
        for job in remaining:
            await observe(Started(job=job))
            await self._settle(job, await self._attempt(job, order, observe), observe)

    async def _settle(self, job: Job, outcome: Outcome, observe: Observer) -> None:
        self._outcomes[job.pod_id] = outcome
        await observe(Ended(job=job, outcome=outcome))

    async def _attempt(self, job: Job, order: Order, observe: Observer) -> Outcome:
        """Run the order on one pod; every failure of that pod becomes its outcome."""
        started = self._clock()
        so_far = Outcome(pod_id=job.pod_id, name=job.name, state=State.FAILED)
        try:
            result = await self._run_until_known(job, order, observe)
        except Error as error:
            return replace(so_far, error=error, elapsed_seconds=self._clock() - started)
        except asyncio.CancelledError:
            self._outcomes[job.pod_id] = replace(
                so_far,
                state=State.INTERRUPTED,
                elapsed_seconds=self._clock() - started,
            )
            raise
        return replace(
            so_far,
            state=State.EXITED,
            exit_status=exit_status_of(result),
            elapsed_seconds=self._clock() - started,
        )

    async def _run_until_known(
        self, job: Job, order: Order, observe: Observer
    ) -> ExecResult:
        tries = _TRIES if order.is_idempotent else 1
        for attempt in range(tries):
            try:
                return await self._run_once(job, order, observe)
            except UnknownOutcomeError:
                if attempt + 1 == tries:
                    raise
                log.info("command_repeated", pod_id=job.pod_id)
        raise AssertionError("tries is at least 1")

    async def _run_once(self, job: Job, order: Order, observe: Observer) -> ExecResult:
        if job.target is None:
            raise AssertionError("only pods that can be reached have a turn")
        stdout, stderr = (_Lines(job, name, observe) for name in ("stdout", "stderr"))
        address = job.target.address
        async with contextlib.AsyncExitStack() as stack:
            async with self._admission.handshake(address.host, address.port):
                link = await stack.enter_async_context(self._open_link(job.target))
            try:
                return await link.stream(
                    order.command,
                    stdin=streams.read_nothing(),
                    stdout=stdout.take,
                    stderr=stderr.take,
                    timeout=order.timeout_seconds,
                    env=order.env,
                )
            finally:
                await stdout.finish()
                await stderr.finish()


class _Lines:
    """A sink that reports one stream of one pod, line by line."""

    def __init__(self, job: Job, stream: str, observe: Observer) -> None:
        self._job = job
        self._stream = stream
        self._observe = observe
        self._splitter = LineSplitter()

    async def take(self, chunk: bytes) -> None:
        await self._tell(self._splitter.feed(chunk))

    async def finish(self) -> None:
        await self._tell(self._splitter.finish())

    async def _tell(self, lines: list[bytes]) -> None:
        if lines:
            await self._observe(
                Output(job=self._job, stream=self._stream, lines=tuple(lines))
            )


def _unreached(job: Job) -> Outcome:
    return Outcome(
        pod_id=job.pod_id,
        name=job.name,
        state=State.SKIPPED if job.is_optional else State.FAILED,
        error=job.problem,
    )
