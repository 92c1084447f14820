"""Asking a pod what it has and uses, once or again and again over one connection.

One round trip each; the pod needs POSIX `sh` alone. The answer is parsed elsewhere.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runpod_client import Error, Pod
from runpod_client.logs import get_logger
from runpod_ssh import wire
from runpod_ssh.connection import Connection
from runpod_ssh.errors import CommandTimeoutError, ProbeError
from runpod_ssh.probe_rates import Rates, is_restart, rates_between
from runpod_ssh.probe_records import Probe, ProbeProblem
from runpod_ssh.probe_wire import parse_probe

log = get_logger(__name__)

DISK_PATHS = ("/", "/workspace", "/dev/shm")  # noqa: S108  # looked at, not written
# nvidia-smi takes up to a second without persistence mode, and can hang for ever
GPU_SECONDS = 10
DISK_SECONDS = 3
# what the rest of the answer may take after the slowest part was given up
_MARGIN_SECONDS = 10.0
# a part that hung is left alone for so long: each question may leave a stuck process
_REST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class PodLink:
    """A pod and a connection to it."""

    pod: Pod
    connection: Connection


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One look at a pod that is watched.

    Attributes:
        selector: What the person calls the pod.
        pod: None while it could not be found.
        rates: Since the look before; None at the first and after a restart.
        error: Why there is no probe.
        has_restarted: Whether the pod started anew since the look before.
    """

    selector: str
    pod: Pod | None = None
    probe: Probe | None = None
    rates: Rates | None = None
    error: Error | None = None
    has_restarted: bool = False


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


async def take_probe(
    connection: Connection,
    *,
    paths: Sequence[str] = DISK_PATHS,
    gpu_seconds: int = GPU_SECONDS,
    disk_seconds: int = DISK_SECONDS,
    timeout: float | None = None,  # noqa: ASYNC109  # it also ends the script there
    now: Callable[[], datetime] = utc_now,
    env: Mapping[str, str] | None = None,
) -> Probe:
    """Return what a pod has and uses, in one round trip.

    What is missing on the pod, or hangs there, is None in the answer, with its reason
    among the problems.

    Args:
        paths: Disks to look at; those the pod does not have are left out.
        gpu_seconds: How long nvidia-smi may take; 0 does not ask it.
        disk_seconds: How long df may take; a network volume can hang. 0 does not ask.
        timeout: Of the whole answer; some seconds more than its parts by default.
        env: Variables for the script on the pod.

    Raises:
        ProbeError: There was no answer in time, or none that can be understood.
        SSHUnreachableError: The connection was lost.
    """
    command = wire.script_command(
        "probe.sh", str(gpu_seconds), str(disk_seconds), *paths
    )
    limit = timeout or max(gpu_seconds, disk_seconds) + _MARGIN_SECONDS
    taken_at = now()
    try:
        answer = await connection.run(command, timeout=limit, env=env)
    except CommandTimeoutError as error:
        raise ProbeError(
            f"{connection.address} did not tell its figures within {limit:g} s",
            address=connection.address,
            hint="The pod may be overloaded or out of memory.",
        ) from error
    try:
        return parse_probe(
            answer.stdout.decode(errors="replace"),
            taken_at=taken_at,
            elapsed_seconds=answer.elapsed_seconds,
        )
    except ProbeError as error:
        said = answer.stderr.decode(errors="replace").strip()[-200:]
        raise ProbeError(
            error.message + (f"; it said: {said}" if said else ""),
            address=connection.address,
            hint=error.hint,
        ) from error


async def watch_pod(
    selector: str,
    open_link: Callable[[], AbstractAsyncContextManager[PodLink]],
    *,
    pauses: Sequence[float] | None = None,
    interval_seconds: float = 5.0,
    gpu_seconds: int = GPU_SECONDS,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Reading, None]:
    """Look at a pod again and again, for ever unless `pauses` is given.

    One connection serves all looks; after a failure, which is a reading too, the next
    look makes a new one. Close the iterator to close the connection.

    Args:
        pauses: Seconds between the looks: there is one look more than pauses.
        interval_seconds: From the begin of a look to the next, without `pauses`.
    """
    loop = asyncio.get_running_loop()
    link: PodLink | None = None
    before: Probe | None = None
    rest = _Rest()
    done = 0
    async with AsyncExitStack() as stack:
        while True:
            started = loop.time()
            pod = link.pod if link else None
            try:
                if link is None or link.connection.is_closed:
                    await stack.aclose()
                    link = await stack.enter_async_context(open_link())
                pod = link.pod
                probe = await take_probe(
                    link.connection,
                    gpu_seconds=rest.limit("gpus", gpu_seconds, started),
                    disk_seconds=rest.limit("disks", DISK_SECONDS, started),
                    now=now,
                )
                rest.learn(probe, loop.time())
            except Error as error:
                log.debug("probe_failed", pod_name=selector, error=type(error).__name__)
                reading = Reading(selector=selector, pod=pod, error=error)
                link = None
            else:
                reading = _read(selector, link.pod, before, probe)
                before = probe
            yield reading
            if pauses is not None and done >= len(pauses):
                return
            spent = loop.time() - started
            await sleep(pauses[done] if pauses else max(interval_seconds - spent, 0.0))
            done += 1


class _Rest:
    """Knows which parts of a pod hung, and leaves them alone for a while."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def limit(self, part: str, seconds: int, now: float) -> int:
        """Return the time limit of a part; 0 while it rests."""
        return 0 if now < self._until.get(part, now) else seconds

    def learn(self, probe: Probe, now: float) -> None:
        for problem in probe.problems:
            if problem.is_timeout:
                part = problem.part.replace("gpu_processes", "gpus")
                self._until[part] = now + _REST_SECONDS


def _read(selector: str, pod: Pod, before: Probe | None, probe: Probe) -> Reading:
    return Reading(
        selector=selector,
        pod=pod,
        probe=_compare_with_rent(probe, pod.gpu_count),
        rates=rates_between(before, probe) if before else None,
        has_restarted=before is not None and is_restart(before, probe),
    )


def _compare_with_rent(probe: Probe, gpu_count: int) -> Probe:
    """Add a problem where the pod sees fewer GPUs than are paid for."""
    if probe.gpus is None or len(probe.gpus) >= gpu_count:
        return probe
    reason = f"RunPod rents {gpu_count}, the pod sees {len(probe.gpus) or 'none'}"
    problem = ProbeProblem(part="gpus", reason=reason)
    return replace(probe, problems=(*probe.problems, problem))
