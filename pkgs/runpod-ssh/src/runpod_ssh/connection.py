"""The transport: one SSH connection to a pod, and what can be done over it.

Every failure of asyncssh or the socket leaves here as an error of ours. It knows
nothing of RunPod, of terminals or of the command line.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from runpod_client import SSHAddress
from runpod_client.logs import get_logger
from runpod_ssh.calls import Calls, Output
from runpod_ssh.channels import Channel
from runpod_ssh.connecting import Link, hang_up
from runpod_ssh.errors import RefusedError, SSHUnreachableError
from runpod_ssh.listeners import Listener, Tunnels
from runpod_ssh.model import (
    Bounds,
    Credentials,
    ExecResult,
    HostKey,
    HostKeyJudge,
    Route,
    Sink,
    Source,
    Terminal,
)
from runpod_ssh.routes import open_link

log = get_logger(__name__)

# more than this is fed chunk by chunk, once it is sure where to
_AHEAD_BYTES = 64 * 1024
_END_OF_INPUT = b"\x04"
# where asking after every piece of input does not cost more than the piece
_SHORT_SECONDS = 0.01
_MAKE_WAY_SECONDS = 1.0


@contextlib.asynccontextmanager
async def connect(
    address: SSHAddress,
    *,
    host_keys: HostKeyJudge,
    credentials: Credentials | None = None,
    route: Route | None = None,
    bounds: Bounds | None = None,
) -> AsyncIterator["Connection"]:
    """Connect, log in and check the host key; the connection closes with the block.

    Args:
        credentials: What to log in with; None offers the user's keys of ~/.ssh.
        route: The way there; None for the straight one.

    Raises:
        SSHUnreachableError: Nothing answers there in time, or not as an sshd.
        HostKeyError: The machine that answers is not known to be the pod, or a jump
            host is not known to the user.
        SSHAuthenticationError: It accepts none of our keys.
        ConfigError: The route cannot be understood.
    """
    loop = asyncio.get_running_loop()
    limits = bounds or Bounds()
    began = loop.time()
    async with open_link(
        address,
        host_keys=host_keys,
        credentials=credentials or Credentials(),
        route=route or Route(),
        bounds=limits,
    ) as link:
        elapsed = loop.time() - began
        log.debug(
            "ssh_connected",
            host=address.host,
            port=address.port,
            elapsed_seconds=elapsed,
        )
        connection = Connection(link, address, limits)
        try:
            yield connection
        finally:
            await connection.close()


class Connection:
    """A connection that stands; made by `connect`."""

    def __init__(self, link: Link, address: SSHAddress, bounds: Bounds) -> None:
        self.address = address
        self.host_key: HostKey = link.host_key
        self._raw = link.raw
        self._tap = link.tap
        self._shells = 0
        self._tunnels = Tunnels(link.raw, address, bounds.channel_seconds)
        self._calls = Calls(link, address, bounds)

    @property
    def is_closed(self) -> bool:
        """Return whether the connection has ended, by us or by the pod."""
        return self._raw.is_closed()

    @property
    def open_channels(self) -> int:
        """Return how many sessions there are, with those that wait for a command."""
        return self._calls.open_channels

    @property
    def round_trip_seconds(self) -> float | None:
        """Return the time to the pod and back: the least seen, else the kernel's."""
        return self._calls.round_trip_seconds

    async def close(self) -> None:
        """Say goodbye, or hang up where the pod does not answer; safe to repeat."""
        await self._calls.standbys.close()
        await hang_up(self._raw)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, by us or by the pod."""
        with contextlib.suppress(OSError):
            await self._raw.wait_closed()

    async def warm_up(self) -> None:
        """Open a channel ahead, so that a command costs one round trip.

        A pod that refuses one is done without; safe to repeat.
        """
        await self._calls.standbys.warm_up()

    async def prove_alive(
        self, *, within_seconds: float = 2.0, fresh_seconds: float = 0.0
    ) -> None:
        """Return if a process on the pod answers; it costs a round trip.

        Args:
            fresh_seconds: What was heard so recently is proof enough.

        Raises:
            SSHUnreachableError: It does not answer in time; the connection is cut.
        """
        loop = asyncio.get_running_loop()
        if not self.is_closed and loop.time() - self._tap.heard_at < fresh_seconds:
            return
        try:
            async with asyncio.timeout(within_seconds):
                if await self._calls.standbys.answers():
                    return
                # none that waits: any command will do, and so will a refusal
                with contextlib.suppress(RefusedError):
                    await self.run(":")
        except (TimeoutError, SSHUnreachableError) as error:
            self._raw.abort()
            raise SSHUnreachableError(
                f"{self.address} does not answer any more",
                address=self.address,
                hint="Is the pod still running? See: runpod-client pods list",
            ) from error

    async def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """Run a command in the pod's shell and collect what it writes.

        A status other than 0 is a result, not an error.

        Args:
            timeout: Seconds after which the command is told to end.
            env: Variables for the command; they travel over stdin, not in any argv.

        Raises:
            CommandTimeoutError: `timeout` passed.
            SSHUnreachableError: The connection was lost before the command started.
            UnknownOutcomeError: It was lost later; nobody knows how far it came.
        """
        given = stdin or b""
        if len(given) <= _AHEAD_BYTES:
            return await self._calls.execute(
                command, Channel.collect, timeout=timeout, env=env, ahead=given
            )

        async def talk(channel: Channel) -> Output:
            channel.send(given, is_last=True)
            return await channel.collect()

        return await self._calls.execute(command, talk, timeout=timeout, env=env)

    async def stream(
        self,
        command: str,
        *,
        stdin: Source,
        stdout: Sink,
        stderr: Sink,
        timeout: float | None = None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None = None,
        bulk: bool = False,
    ) -> ExecResult:
        """Run a command with its streams handed on chunk by chunk, in flat memory.

        A cancelled call interrupts the command on the pod before it returns.

        Args:
            bulk: The command writes much: a long link is filled, at the price of
                tens of megabytes of memory where the sink is slow.

        Returns:
            How the command ended; `stdout` and `stderr` are empty.

        Raises:
            CommandTimeoutError, SSHUnreachableError, UnknownOutcomeError: As for `run`.
        """

        async def talk(channel: Channel) -> Output:
            async with asyncio.TaskGroup() as group:
                feeder = group.create_task(channel.feed(stdin, self._make_way))
                pumps = [
                    group.create_task(channel.pump_out(stdout)),
                    group.create_task(channel.pump_err(stderr)),
                ]
                await asyncio.wait(pumps)
                await channel.wait_closed()
                feeder.cancel()
            return b"", b""

        return await self._calls.execute(
            command, talk, timeout=timeout, env=env, is_bulk=bulk
        )

    async def shell(self, terminal: Terminal, command: str | None = None) -> ExecResult:
        """Run a login shell, or a command, behind a terminal of its own on the pod.

        Returns:
            How it ended; `stdout` and `stderr` are empty.

        Raises:
            SSHUnreachableError: The connection was lost.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        channel = await self._calls.open(
            command, term_type=terminal.kind, term_size=terminal.size()
        )

        def resize() -> None:
            channel.resize(*terminal.size())

        async def typed() -> Source:
            async for keys in terminal.keys():
                yield keys
            if command is None:
                # a terminal has no end of input: this is how a shell is told
                yield _END_OF_INPUT

        self._shells += 1
        try:
            with terminal.on_resize(resize):
                feeder = loop.create_task(channel.feed(typed(), self._tap.wait_clear))
                try:
                    await channel.pump_out(terminal.show)
                    await channel.wait_closed()
                finally:
                    feeder.cancel()
                    await asyncio.wait([feeder])
        finally:
            self._shells -= 1
            channel.close()
        return self._calls.result_of(channel, (b"", b""), loop.time() - began)

    async def listen_local(
        self, bind_host: str, port: int, to_host: str, to_port: int
    ) -> Listener:
        """Listen here, with port 0 anywhere, for connections to an address there.

        Raises:
            ForwardError: The port is taken, or the connection was lost.
        """
        return await self._tunnels.listen_local(bind_host, port, to_host, to_port)

    async def listen_dynamic(self, bind_host: str, port: int) -> Listener:
        """Listen here as a SOCKS proxy into the pod's network; raises ForwardError."""
        return await self._tunnels.listen_dynamic(bind_host, port)

    async def listen_remote(
        self, bind_host: str, port: int, to_host: str, to_port: int
    ) -> Listener:
        """Listen there for connections to an address here; raises ForwardError."""
        return await self._tunnels.listen_remote(bind_host, port, to_host, to_port)

    async def open_stream(
        self, make: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> None:
        """Connect a protocol of asyncio to a port there; raises ForwardError."""
        await self._tunnels.open_stream(make, host, port)

    async def _make_way(self) -> None:
        """Wait, between two pieces of input, until what is typed can go before."""
        await self._tap.wait_clear()
        round_trip = self._calls.standbys.round_trip_seconds
        if self._shells and round_trip and round_trip < _SHORT_SECONDS:
            # sshd queues 2 MiB of input for each channel: its answer to a question
            # that comes behind a piece says that the piece has been dealt with
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MAKE_WAY_SECONDS):
                    await self._calls.standbys.answers()
