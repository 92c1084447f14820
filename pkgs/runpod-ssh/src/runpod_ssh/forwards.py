"""Tunnels to and from pods that outlive the links they go through.

A `Forwarder` holds the tunnels of many pods in one process. Ports of this machine are
opened once and stay, whatever becomes of a link; who connects while it is down waits a
moment for it. It must not know of the command line.
"""

import asyncio
import contextlib
import enum
import errno
import random
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from runpod_client import Error
from runpod_client.logs import get_logger
from runpod_ssh import reconnection
from runpod_ssh.connection import Connection
from runpod_ssh.errors import ForwardError, SocksError
from runpod_ssh.forward_specs import ForwardKind, ForwardSpec
from runpod_ssh.relays import RelayEnd
from runpod_ssh.socks import Greeting, Wish

log = get_logger(__name__)

OpenLink = Callable[[], AbstractAsyncContextManager[Connection]]
# How long a client that connects during a cut is kept waiting for the link.
PATIENCE_SECONDS = 10.0
GREETING_SECONDS = 10.0
_BACKLOG = 128


class ForwardChange(enum.StrEnum):
    """What can become of a pod's tunnels."""

    LOST = "lost"
    RETRYING = "retrying"
    BACK = "back"
    DEAD_END = "dead_end"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class ForwardEvent:
    """A change of a pod's tunnels.

    Attributes:
        pod: As the forwarder was told of it.
        reason: In a few words; empty where the change says all.
        spec: The tunnel that leads to a dead end; None for what is about all of them.
    """

    pod: str
    change: ForwardChange
    reason: str = ""
    spec: ForwardSpec | None = None


class Forwarder:
    """Holds tunnels until it is left; an async context manager.

    Args:
        on_event: Told of each change, once.
        patience_seconds: How long a new connection waits for a link that is down.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[ForwardEvent], None] = lambda _event: None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._on_event = on_event
        self._patience_seconds = patience_seconds
        self._pods: dict[str, _PodTunnels] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(self.remove(pod) for pod in list(self._pods)))

    async def add(
        self, pod: str, open_link: OpenLink, specs: Sequence[ForwardSpec]
    ) -> tuple[ForwardSpec, ...]:
        """Open tunnels of a pod; return them with the ports they have.

        Args:
            pod: A name of the caller's choice, one call each.
            open_link: Opens a connection to the pod; asked again after each loss.

        Raises:
            ForwardError: A port is taken, here or on the pod.
            SSHUnreachableError, HostKeyError, SSHAuthenticationError: The pod could not
                be reached the first time.
        """
        if pod in self._pods:
            raise ValueError(f"{pod} has its tunnels already")
        tunnels = _PodTunnels(
            pod, open_link, self._on_event, patience_seconds=self._patience_seconds
        )
        self._pods[pod] = tunnels
        try:
            return await tunnels.open(specs)
        except BaseException:
            await self.remove(pod)
            raise

    async def remove(self, pod: str) -> None:
        """Close a pod's tunnels and what goes through them; safe to repeat."""
        tunnels = self._pods.pop(pod, None)
        if tunnels is not None:
            await tunnels.close()

    async def wait_failed(self, pod: str) -> Error:
        """Return, when there is nothing more to try for a pod, why."""
        return await self._pods[pod].wait_failed()


class _PodTunnels:
    """The tunnels of one pod, and the link they share."""

    def __init__(
        self,
        pod: str,
        open_link: OpenLink,
        on_event: Callable[[ForwardEvent], None],
        *,
        patience_seconds: float,
    ) -> None:
        self._pod = pod
        self._open_link = open_link
        self._on_event = on_event
        self._patience_seconds = patience_seconds
        self._specs: list[ForwardSpec] = []
        self._servers: list[asyncio.Server] = []
        self._near_ends: set[asyncio.BaseTransport] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._dead_ends: set[ForwardSpec] = set()
        self._link: Connection | None = None
        self._is_up = asyncio.Event()
        self._failure: asyncio.Future[Error] = asyncio.Future()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, specs: Sequence[ForwardSpec]) -> tuple[ForwardSpec, ...]:
        """Open ports and the first link."""
        for spec in specs:
            if spec.kind is not ForwardKind.REMOTE:
                spec = await self._listen_here(spec)  # noqa: PLW2901  # with its port
            self._specs.append(spec)
        self._keeper = asyncio.create_task(self._keep())
        self._keeper.add_done_callback(self._on_kept)
        up: asyncio.Task[Any] = asyncio.create_task(self._is_up.wait())
        try:
            await asyncio.wait([up, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if self._failure.done():
            raise self._failure.result()
        return tuple(self._specs)

    async def close(self) -> None:
        """Close everything, at once."""
        for server in self._servers:
            server.close()
        tasks = [*self._calls, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        for transport in list(self._near_ends):
            transport.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._failure.cancel()

    async def wait_failed(self) -> Error:
        return await asyncio.shield(self._failure)

    def _on_kept(self, keeper: asyncio.Task[None]) -> None:
        # a listener to our events that fails must not end the keeping in silence
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._failure.set_exception(error)

    async def _keep(self) -> None:
        """Keep a link open until trying again makes no sense."""
        loop = asyncio.get_running_loop()
        waits = reconnection.delays(_randoms())
        was_up = False
        while True:
            began = loop.time()
            try:
                async with self._open_link() as connection:
                    await self._use(connection, was_up=was_up)
                was_up = True
                self._tell(ForwardChange.LOST)
            except Error as error:
                if not (was_up and self._may_retry(error)):
                    self._fail(error, was_up=was_up)
                    return
            if loop.time() - began > reconnection.STEADY_SECONDS:
                waits = reconnection.delays(_randoms())
            await asyncio.sleep(next(waits))

    async def _use(self, connection: Connection, *, was_up: bool) -> None:
        """Let tunnels go through a link until it is gone."""
        if not was_up:
            await self._listen_there(connection)
        again = asyncio.create_task(self._listen_again(connection, is_needed=was_up))
        self._link = connection
        self._is_up.set()
        try:
            if was_up:
                self._tell(ForwardChange.BACK)
            await connection.wait_closed()
        finally:
            self._link = None
            self._is_up.clear()
            again.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await again

    async def _listen_there(self, connection: Connection) -> None:
        """Open the ports of the pod."""
        for number, spec in enumerate(self._specs):
            if spec.kind is ForwardKind.REMOTE:
                listener = await connection.listen_remote(
                    spec.bind_host, spec.port, spec.to_host, spec.to_port
                )
                # a port that was free once is asked for again after a cut
                self._specs[number] = replace(spec, port=listener.port)

    async def _listen_again(self, connection: Connection, *, is_needed: bool) -> None:
        """Open them on a further link, while all other tunnels work again.

        The pod may hold a port for the link that was lost, until it notices.
        """
        waiting = [s for s in self._specs if s.kind is ForwardKind.REMOTE and is_needed]
        waits = reconnection.delays(_randoms())
        while waiting and not connection.is_closed:
            spec = waiting[0]
            try:
                await connection.listen_remote(
                    spec.bind_host, spec.port, spec.to_host, spec.to_port
                )
            except ForwardError as error:
                self._tell(ForwardChange.RETRYING, error.message)
                await asyncio.sleep(next(waits))
            else:
                waiting.pop(0)

    def _may_retry(self, error: Error) -> bool:
        if not reconnection.is_passing(error):
            return False
        self._tell(ForwardChange.RETRYING, error.message)
        return True

    def _fail(self, error: Error, *, was_up: bool) -> None:
        for server in self._servers:
            server.close()
        if was_up:
            self._tell(ForwardChange.FAILED, error.message)
        self._failure.set_result(error)

    async def _listen_here(self, spec: ForwardSpec) -> ForwardSpec:
        loop = asyncio.get_running_loop()
        opened = spec

        def accept() -> asyncio.Protocol:
            if opened.kind is ForwardKind.DYNAMIC:
                return _SocksDoor(self)
            return _Door(self, opened)

        try:
            server = await loop.create_server(
                accept, spec.bind_host, spec.port, backlog=_BACKLOG
            )
        except OSError as error:
            raise _no_port(spec, error) from error
        self._servers.append(server)
        opened = replace(spec, port=server.sockets[0].getsockname()[1])
        return opened

    def enter(self, transport: asyncio.BaseTransport) -> None:
        """Take note of a client, so that it is closed with the tunnels."""
        self._near_ends.add(transport)

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Forget a client that has gone."""
        self._near_ends.discard(transport)

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something for a client, and end it with the tunnels."""
        task = asyncio.get_running_loop().create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def lead(self, near: RelayEnd, host: str, port: int) -> None:
        """Join a client with an address as the pod sees it.

        Raises:
            ForwardError: Nothing answers there, or the link stayed away.
        """
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while not near.is_lost:
            link = await self._find_link(deadline)
            try:
                # not to be cancelled: the pod's half of the stream would stay behind
                await link.open_stream(lambda: RelayEnd(near), host, port)
            except ForwardError:
                if not link.is_closed:
                    raise
                # the link broke under the call: the next one may do
                await asyncio.sleep(reconnection.FIRST_SECONDS)
            else:
                return

    async def _find_link(self, deadline: float) -> Connection:
        try:
            async with asyncio.timeout_at(deadline):
                while self._link is None:
                    await self._is_up.wait()
        except TimeoutError as error:
            raise ForwardError(f"the link to {self._pod} is down") from error
        return self._link

    def tell_dead_end(self, spec: ForwardSpec, reason: str) -> None:
        """Say that nothing answers behind a tunnel, once until something does."""
        log.debug("forward_dead_end", port=spec.port, error_detail=reason)
        if spec not in self._dead_ends:
            self._dead_ends.add(spec)
            self._tell(ForwardChange.DEAD_END, reason, spec)

    def tell_answered(self, spec: ForwardSpec) -> None:
        """Take note that something answers behind a tunnel."""
        self._dead_ends.discard(spec)

    def _tell(
        self, change: ForwardChange, reason: str = "", spec: ForwardSpec | None = None
    ) -> None:
        log.info(
            "forward_changed",
            pod_name=self._pod,
            to_state=change.value,
            error_detail=reason,
        )
        self._on_event(
            ForwardEvent(pod=self._pod, change=change, reason=reason, spec=spec)
        )


class _Door(RelayEnd):
    """A client of a local tunnel."""

    def __init__(self, tunnels: _PodTunnels, spec: ForwardSpec) -> None:
        super().__init__(on_lost=self._leave)
        self._tunnels = tunnels
        self._spec = spec

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._tunnels.enter(transport)
        self._tunnels.call(self._lead())

    async def _lead(self) -> None:
        try:
            await self._tunnels.lead(self, self._spec.to_host, self._spec.to_port)
        except ForwardError as error:
            self._tunnels.tell_dead_end(self._spec, error.message)
            self.close()
        else:
            self._tunnels.tell_answered(self._spec)

    def _leave(self) -> None:
        self._tunnels.leave(self._transport)


class _SocksDoor(asyncio.Protocol):
    """A client of a dynamic tunnel, until it has said whom it wants to reach."""

    def __init__(self, tunnels: _PodTunnels) -> None:
        self._tunnels = tunnels
        self._greeting = Greeting()
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._tunnels.enter(transport)
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(GREETING_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            answer, wish = self._greeting.feed(data)
        except SocksError as error:
            log.debug("socks_refused", error_detail=error.message)
            transport.write(error.answer)
            transport.close()
            return
        transport.write(answer)
        if wish is not None:
            self._hear(transport, wish)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._leave()

    def _hear(self, transport: asyncio.Transport, wish: Wish) -> None:
        self._stop_clock()
        near = _Granted(wish.granted, on_lost=self._leave)
        near.take_over(transport, self._greeting.rest)
        self._tunnels.call(self._lead(transport, near, wish))

    async def _lead(
        self, transport: asyncio.Transport, near: RelayEnd, wish: Wish
    ) -> None:
        try:
            await self._tunnels.lead(near, wish.host, wish.port)
        except ForwardError as error:
            log.debug("socks_refused", error_detail=error.message)
            transport.write(wish.refused)
            transport.close()

    def _leave(self) -> None:
        self._stop_clock()
        if self._transport is not None:
            self._tunnels.leave(self._transport)

    def _stop_clock(self) -> None:
        if self._limit is not None:
            self._limit.cancel()


class _Granted(RelayEnd):
    """A SOCKS client whose wish is being seen to: it is told before anything flows."""

    def __init__(self, granted: bytes, *, on_lost: Callable[[], None]) -> None:
        super().__init__(on_lost=on_lost)
        self._granted = granted

    def meet(self, peer: RelayEnd) -> None:
        self.write(self._granted)
        super().meet(peer)


def _no_port(spec: ForwardSpec, error: OSError) -> ForwardError:
    where = spec.listens_on
    if error.errno == errno.EADDRINUSE:
        return ForwardError(
            f"{where} is taken by another program",
            hint=f"Choose another port: auto:{spec.to_port or spec.port}, "
            "or 0 and a free one is found.",
        )
    reason = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        reason = "no such address"
    return ForwardError(f"cannot listen on {where}: {reason}")


def _randoms() -> Iterator[float]:
    while True:
        yield random.random()  # noqa: S311  # spreads load, keeps no secret
