"""One living connection per pod, lent out to many commands at once.

    borrow -> a session on a link that has just proved to be alive
           -> or a place in line, first come first served, until one is free
           -> or a new link: the pod has none, or its link died

How links come and go is `links`' business. A command is run again only where that is
known to do no harm: it never started, or whoever gave it said so.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import replace
from typing import Self

from runpod_client.logs import get_logger
from runpod_ssh.admission import Admission
from runpod_ssh.connection import Connection
from runpod_ssh.errors import (
    CommandTimeoutError,
    SSHError,
    SSHUnreachableError,
    UnknownOutcomeError,
)
from runpod_ssh.host_keys import start_of
from runpod_ssh.links import (
    Link,
    LinkRecord,
    OpenLink,
    PodLinks,
    PoolRules,
    lent,
    pause_seconds,
)
from runpod_ssh.model import ExecResult, PodTarget

log = get_logger(__name__)

_CLOSE_SECONDS = 5.0
# rounds of connecting, each with its own tries, for a command that may be repeated
_PATIENT_ROUNDS = 3


class Pool:
    """Lends connections to pods; an async context manager that closes them all.

    Args:
        open_link: Connects to a pod, for instance `runpod_ssh.connect_pod` with its
            settings.
        admission: Share one among all that connect from this process.
        idle_seconds: A link nobody used for this long is closed; in place of the one
            in `rules`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        open_link: OpenLink,
        *,
        admission: Admission | None = None,
        idle_seconds: float | None = None,
        rules: PoolRules | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_link = open_link
        self._admission = admission or Admission()
        self._rules = rules or PoolRules()
        if idle_seconds is not None:
            self._rules = replace(self._rules, idle_seconds=idle_seconds)
        self._clock = clock
        self._pods: dict[Hashable, PodLinks] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every link, within a few seconds; who waits for one is refused."""
        self._is_closed = True
        tasks: set[asyncio.Task[None]] = set()
        if self._sweeper is not None:
            self._sweeper.cancel()
            tasks.add(self._sweeper)
        for links in self._pods.values():
            tasks |= links.close(_closed())
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._pods.clear()

    def links(self) -> tuple[LinkRecord, ...]:
        """Return the links there are at this moment."""
        return tuple(
            record for links in self._pods.values() for record in links.records()
        )

    def dismiss(self, pod_id: str) -> None:
        """Close the links of a pod that is gone; who uses one loses it."""
        for links in self._pods.values():
            if links.target.pod.pod_id == pod_id:
                links.dismiss()

    @contextlib.asynccontextmanager
    async def borrow(self, target: PodTarget) -> AsyncIterator[Connection]:
        """Lend the pod's connection, proved to be alive, with a session kept free.

        Raises:
            SSHError: No connection came about; those of connecting.
        """
        links, link = await self._reserve(target)
        with lent(links, link) as connection:
            yield connection

    async def run(
        self,
        target: PodTarget,
        command: str,
        *,
        idempotent: bool = False,
        stdin: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """Run a command and collect what it writes.

        Args:
            idempotent: Running it twice does no harm: it is run again when the link is
                lost meanwhile.
            timeout: Seconds for one run of the command.

        Raises:
            UnknownOutcomeError: The link was lost while the command may have run. It
                is never run again unless it is idempotent.
            CommandTimeoutError: `timeout` passed; the command was told to end.
            SSHError: No connection came about; those of connecting.
        """
        for attempt in range(self._rules.command_tries):
            links, link = await self._reserve_for(target, idempotent=idempotent)
            with lent(links, link) as connection:
                try:
                    return await connection.run(
                        command, stdin=stdin, timeout=timeout, env=env
                    )
                except SSHError as error:
                    is_last = attempt + 1 == self._rules.command_tries
                    if is_last or not may_run_again(error, idempotent=idempotent):
                        raise
                    if is_refused_session(error):
                        link.narrow()
                    reason = type(error).__name__
            log.info("command_repeated", pod_id=target.pod.pod_id, error=reason)
            await asyncio.sleep(pause_seconds(self._rules.first_pause_seconds, 0))
        raise AssertionError("command_tries is at least 1")

    async def _reserve_for(
        self, target: PodTarget, *, idempotent: bool
    ) -> tuple[PodLinks, Link]:
        """Reserve a link; with more patience for what is to be done come what may."""
        for _attempt in range(_PATIENT_ROUNDS - 1 if idempotent else 0):
            with contextlib.suppress(SSHUnreachableError):
                return await self._reserve(target)
        return await self._reserve(target)

    async def _reserve(self, target: PodTarget) -> tuple[PodLinks, Link]:
        """Return a link that is alive, reserved for one more command."""
        asked_at = self._clock()
        for attempt in range(self._rules.connect_tries):
            links = self._links_to(target)
            link = await links.reserve()
            try:
                # one that was opened since has just answered
                if link.connected_at <= asked_at:
                    await link.prove_alive(self._rules)
            except SSHUnreachableError:
                link.retire()
                links.give_back(link)
                if attempt + 1 == self._rules.connect_tries:
                    raise
            except BaseException:
                links.give_back(link)
                raise
            else:
                return links, link
        raise AssertionError("connect_tries is at least 1")

    def _links_to(self, target: PodTarget) -> PodLinks:
        if self._is_closed:
            raise _closed()
        key = _key_of(target)
        if key not in self._pods:
            # of an earlier start, or with another login: nobody will ask for it again
            self._pods[key] = PodLinks(
                target,
                self._open_link,
                admission=self._admission,
                rules=self._rules,
                clock=self._clock,
            )
            self._drop_other_starts(target)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        return self._pods[key]

    def _drop_other_starts(self, target: PodTarget) -> None:
        """Close links to what the pod was before it was started anew."""
        start = start_of(target.pod, target.address)
        for links in self._pods.values():
            other = links.target
            is_same_pod = other.pod.pod_id == target.pod.pod_id
            if is_same_pod and start_of(other.pod, other.address) != start:
                links.dismiss()

    async def _sweep(self) -> None:
        """Close links nobody uses, until the pool is closed."""
        pause = max(0.05, min(self._rules.idle_seconds / 4, 30.0))
        while not self._is_closed:
            await asyncio.sleep(pause)
            for key, links in list(self._pods.items()):
                links.dismiss(idle_for_seconds=self._rules.idle_seconds)
                if links.is_empty:
                    del self._pods[key]


def may_run_again(error: SSHError, *, idempotent: bool) -> bool:
    """Return whether running a command again that failed so can do no harm."""
    if isinstance(error, UnknownOutcomeError):
        return idempotent
    # the others of `Connection.run` that are about the link say: it never started
    return isinstance(error, SSHUnreachableError) or is_refused_session(error)


def is_refused_session(error: SSHError) -> bool:
    """Return whether sshd allows no further session on the connection."""
    # of what `Connection.run` raises, these two are all the others
    return not isinstance(error, SSHUnreachableError | CommandTimeoutError)


def _closed() -> SSHError:
    return SSHError("the pool of connections was closed")


def _key_of(target: PodTarget) -> Hashable:
    """Return what two targets must share to share a link."""
    return (
        target.pod.pod_id,
        start_of(target.pod, target.address),
        target.address,
        target.identity_file,
        target.route,
    )
