"""The links to one start of one pod, and the line of those who wait for a session.

A link is opened once however many ask at the same time, by a task of its own, so that
nobody's cancellation ends what others wait for. A second one is opened only when no
session came free for a while: short commands share what there is, and long ones never
lock the others out.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from runpod_client import SSHAddress
from runpod_client.logs import get_logger
from runpod_ssh.admission import Admission
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError, SSHUnreachableError
from runpod_ssh.model import PodTarget

log = get_logger(__name__)

# longer than we wait for an answer: a link that others use is not to be cut
_UNTIL_CUT_SECONDS = 60.0
# time to look at what was heard, with no time to ask
_MOMENT_SECONDS = 0.05
# sshd forgets a session a turn of its loop after it was closed, and counts it till then
_COOLING_SECONDS = 0.02

OpenLink = Callable[[PodTarget], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True, kw_only=True)
class PoolRules:
    """How links are used, proved and replaced. Times are in seconds.

    Attributes:
        idle_seconds: A link nobody used for this long is closed.
        fresh_seconds: A link that was heard so recently needs no other proof.
        proof_seconds: A link that does not answer for this long is dead.
        patience_seconds: With all sessions taken and none freed for this long, another
            link is opened, up to `links_per_pod`.
        connect_tries: Attempts to open a link, with growing, jittered pauses from
            `first_pause_seconds` on.
        connect_again_seconds: No further attempt after this long: a pod that refuses
            at once may be starting, one that is silent stays so.
        command_tries: How often an idempotent command is run at most.
    """

    idle_seconds: float = 600.0
    fresh_seconds: float = 0.25
    proof_seconds: float = 1.8
    patience_seconds: float = 2.0
    links_per_pod: int = 4
    connect_tries: int = 4
    connect_again_seconds: float = 5.0
    first_pause_seconds: float = 0.1
    command_tries: int = 10


@dataclass(frozen=True, kw_only=True)
class LinkRecord:
    """A link as it was at one moment.

    Attributes:
        channels: Sessions on it, also one that is opened ahead.
        borrowers: Those who use it at this moment.
        idle_seconds: How long nobody has used it; 0 while somebody does.
    """

    pod_id: str
    name: str
    address: SSHAddress
    channels: int
    borrowers: int
    idle_seconds: float
    connected_seconds: float


class Link:
    """A connection and how many use it."""

    def __init__(self, connection: Connection, *, sessions: int, now: float) -> None:
        self.connection = connection
        self.borrowers = 0
        self.cooling = 0
        self.connected_at = now
        self.idle_since = now
        self._sessions = sessions
        self._is_retired = False
        self._proving = asyncio.Lock()
        self._over = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Return whether one more may use it."""
        return self.is_open and self.borrowers + self.cooling < self._sessions

    @property
    def is_open(self) -> bool:
        """Return whether it may be lent at all."""
        return not (
            self._is_retired or self._over.is_set() or self.connection.is_closed
        )

    def dismiss(self) -> None:
        """Have it closed; who uses it loses it."""
        self._over.set()

    def retire(self) -> None:
        """Lend it to nobody else; it is closed when the last has given it back."""
        self._is_retired = True
        if not self.borrowers:
            self.dismiss()

    def narrow(self) -> None:
        """Take note that the pod allows no more sessions than there are now."""
        self._sessions = max(1, self.borrowers - 1)

    async def prove_alive(self, rules: PoolRules) -> None:
        """Return if the pod answers on it; one question serves all who ask.

        Raises:
            SSHUnreachableError: It does not. Those who run commands over it keep it:
                they may still end well.
        """
        async with self._proving:
            if await self._is_heard(rules.proof_seconds, rules.fresh_seconds):
                return
            # a pod that is only slow has said something meanwhile
            if await self._is_heard(_MOMENT_SECONDS, rules.proof_seconds):
                return
        raise SSHUnreachableError(
            f"{self.connection.address} does not answer any more",
            address=self.connection.address,
            hint="Is the pod still running? See: runpod-client pods list",
        )

    async def _is_heard(self, within_seconds: float, fresh_seconds: float) -> bool:
        try:
            async with asyncio.timeout(within_seconds):
                await self.connection.prove_alive(
                    within_seconds=_UNTIL_CUT_SECONDS, fresh_seconds=fresh_seconds
                )
        except TimeoutError:
            return False
        return True

    async def wait_until_over(self) -> None:
        """Return when it is dismissed, or the pod ended it."""
        gone = asyncio.ensure_future(self.connection.wait_closed())
        gone.add_done_callback(lambda _gone: self._over.set())
        try:
            await self._over.wait()
        finally:
            gone.cancel()


class PodLinks:
    """All links to one start of a pod."""

    def __init__(
        self,
        target: PodTarget,
        open_link: OpenLink,
        *,
        admission: Admission,
        rules: PoolRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self._open_link = open_link
        self._admission = admission
        self._rules = rules
        self._clock = clock
        self._links: list[Link] = []
        self._line: deque[asyncio.Future[Link]] = deque()
        self._keepers: set[asyncio.Task[None]] = set()
        self._opening = 0
        self._last_freed_at = clock()
        self._impatience: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is there, opening or waited for."""
        return not (self._links or self._line or self._keepers)

    def records(self) -> Iterator[LinkRecord]:
        """Yield what each link is doing."""
        now = self._clock()
        for link in filter(lambda link: link.is_open, self._links):
            yield LinkRecord(
                pod_id=self.target.pod.pod_id,
                name=self.target.pod.name,
                address=self.target.address,
                channels=link.connection.open_channels,
                borrowers=link.borrowers,
                idle_seconds=0.0 if link.borrowers else now - link.idle_since,
                connected_seconds=now - link.connected_at,
            )

    async def reserve(self) -> Link:
        """Return a link that is counted as used by one more; waits in line for it."""
        link = self._find_free()
        if link is not None and not self._line:
            link.borrowers += 1
            return link
        turn: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._serve_line()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(turn.result())
            raise

    def give_back(self, link: Link) -> None:
        """End one use of a link."""
        link.borrowers -= 1
        self._last_freed_at = link.idle_since = self._clock()
        if not link.is_open and not link.borrowers:
            link.dismiss()
        link.cooling += 1
        asyncio.get_running_loop().call_later(_COOLING_SECONDS, self._cool, link)
        self._serve_line()

    def _cool(self, link: Link) -> None:
        link.cooling -= 1
        self._serve_line()

    def dismiss(self, *, idle_for_seconds: float | None = None) -> None:
        """Close all links, or those nobody used for that long."""
        now = self._clock()
        for link in self._links:
            is_idle = not link.borrowers
            if idle_for_seconds is None or (
                is_idle and now - link.idle_since >= idle_for_seconds
            ):
                link.dismiss()

    def close(self, reason: SSHError) -> set[asyncio.Task[None]]:
        """Refuse all who wait and end all links; return the tasks that do so."""
        self._refuse_line(reason)
        for keeper in self._keepers:
            keeper.cancel()
        return set(self._keepers)

    def _find_free(self) -> Link | None:
        return next((link for link in self._links if link.is_free), None)

    def _serve_line(self) -> None:
        """Give out what is free; see to it that those left will get something."""
        while self._line:
            if self._line[0].done():  # whoever waited has been cancelled
                self._line.popleft()
                continue
            link = self._find_free()
            if link is None:
                break
            link.borrowers += 1
            self._line.popleft().set_result(link)
        if not self._line:
            return
        if not self._opening and not any(link.is_open for link in self._links):
            self._open()
        elif self._impatience is None:
            self._impatience = asyncio.get_running_loop().call_later(
                self._rules.patience_seconds, self._on_impatience
            )

    def _on_impatience(self) -> None:
        self._impatience = None
        is_stuck = (
            self._clock() - self._last_freed_at >= self._rules.patience_seconds
            and not self._opening
            and len(self._links) < self._rules.links_per_pod
        )
        if self._line and is_stuck:
            self._open()
        self._serve_line()

    def _refuse_line(self, reason: Exception) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_exception(reason)

    def _open(self) -> None:
        self._opening += 1
        keeper = asyncio.create_task(self._keep())
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)

    async def _keep(self) -> None:
        """Open a link and hold it until it is over."""
        async with AsyncExitStack() as stack:
            try:
                connection = await self._connect(stack)
            except Exception as error:  # noqa: BLE001  # raised again by who waits
                self._on_not_opened(error)
                return
            finally:
                self._opening -= 1
            link = Link(
                connection,
                sessions=self._admission.limits.sessions_per_connection,
                now=self._clock(),
            )
            self._links.append(link)
            try:
                self._serve_line()
                await link.wait_until_over()
            finally:
                self._links.remove(link)
                self._serve_line()

    def _on_not_opened(self, error: Exception) -> None:
        # with another link there, those in line still get their turn
        if not self._links:
            self._refuse_line(error)

    async def _connect(self, stack: AsyncExitStack) -> Connection:
        """Open a connection into the stack, trying again where that may help."""
        rules, started = self._rules, self._clock()
        for attempt in range(rules.connect_tries):
            try:
                async with AsyncExitStack() as opened:
                    connection = await self._connect_once(opened)
                    stack.push_async_exit(opened.pop_all().__aexit__)
                    return connection
            except SSHUnreachableError:
                waited = self._clock() - started
                is_last = attempt + 1 == rules.connect_tries
                if is_last or waited > rules.connect_again_seconds:
                    raise
            await asyncio.sleep(pause_seconds(rules.first_pause_seconds, attempt))
        raise AssertionError("connect_tries is at least 1")

    async def _connect_once(self, opened: AsyncExitStack) -> Connection:
        address = self.target.address
        async with self._admission.handshake(address.host, address.port):
            connection = await opened.enter_async_context(self._open_link(self.target))
            # its answer also proves that sshd no longer counts this as a login
            await connection.warm_up()
        return connection


def pause_seconds(first_seconds: float, attempt: int) -> float:
    """Return a pause that doubles with each attempt, of which half is chance."""
    chance = random.uniform(0.5, 1.0)  # noqa: S311  # nothing secret
    return first_seconds * (1 << attempt) * chance


@contextlib.contextmanager
def lent(links: PodLinks, link: Link) -> Iterator[Connection]:
    """Give a reserved link back at the end of the block."""
    try:
        yield link.connection
    finally:
        links.give_back(link)
