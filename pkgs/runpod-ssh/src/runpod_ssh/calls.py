"""Commands over one connection: on a shell that waits, else on a channel of their own.

Exit status, streams and interruption are the same on both ways. A command that may have
started when the connection was lost is told apart from one that cannot have.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from runpod_client import SSHAddress
from runpod_ssh import wire
from runpod_ssh.channels import (
    Channel,
    NotOpenedError,
    Opening,
    bulk_window_bytes,
)
from runpod_ssh.connecting import Link
from runpod_ssh.errors import (
    CommandTimeoutError,
    RefusedError,
    SSHError,
    SSHUnreachableError,
    UnknownOutcomeError,
)
from runpod_ssh.model import Bounds, ExecResult
from runpod_ssh.ssh_failures import reason_of, too_slow
from runpod_ssh.standby import Standbys

_INTERRUPT_SECONDS = 5.0
# a standby reads a command byte by byte: a long one is sooner there by a new channel
_MOST_HANDED_OVER = 8 * 1024
_REFUSED_PAUSES_SECONDS = (0.0, 0.005, 0.02, 0.08)

Result = TypeVar("Result")
# stdout and stderr, as far as nobody else took them
Output = tuple[bytes, bytes]
# Talks to a command that runs, until its end.
Talk = Callable[[Channel], Awaitable[Output]]


class Calls:
    """The commands of one connection.

    Attributes:
        open_channels: How many sessions there are, with those that wait.
    """

    def __init__(self, link: Link, address: SSHAddress, bounds: Bounds) -> None:
        self.open_channels = 0
        self.standbys = Standbys(
            self._open_background, bound_seconds=bounds.channel_seconds
        )
        self._raw = link.raw
        self._tap = link.tap
        self._address = address
        self._bounds = bounds
        self._opening_seconds: float | None = None

    @property
    def round_trip_seconds(self) -> float | None:
        """Return the time to the pod and back: the least seen, else the kernel's."""
        seen = [self._opening_seconds, self.standbys.round_trip_seconds]
        known = [seconds for seconds in seen if seconds is not None]
        return min(known) if known else self._tap.round_trip_seconds

    async def execute(
        self,
        command: str,
        talk: Talk,
        *,
        timeout: float | None,  # noqa: ASYNC109  # it also ends the remote side
        env: Mapping[str, str] | None,
        ahead: bytes | None = None,
        is_bulk: bool = False,
    ) -> ExecResult:
        """Run a command and talk to it; raises like `Connection.run`.

        Args:
            ahead: All of its stdin, which may be sent before it is known to run; None
                where `talk` sends it.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                done = None
                if not is_bulk:
                    done = await self._over_standby(command, env or {}, talk, ahead)
                channel, output = done or await self._over_new_channel(
                    command, env or {}, talk, ahead, is_bulk=is_bulk
                )
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise CommandTimeoutError(
                f"the command on {self._address} took longer than {timeout:g} s",
                waited_seconds=loop.time() - began,
                address=self._address,
                hint="It was told to end. Give it more time with a larger timeout.",
            ) from error
        finally:
            self.standbys.fill()
        return self.result_of(channel, output, loop.time() - began)

    async def _over_standby(
        self, command: str, env: Mapping[str, str], talk: Talk, ahead: bytes | None
    ) -> tuple[Channel, Output] | None:
        """Hand the command to a shell that waits; None where it did not start."""
        if len(command) > _MOST_HANDED_OVER:
            return None
        standby = self.standbys.take()
        if standby is None:
            return None
        self.standbys.fill()
        call = wire.prepare(command, env, mark=standby.mark)
        channel = standby.channel
        told = wire.render_handover(call.command) + call.preamble + (ahead or b"")
        channel.send(told, is_last=ahead is not None)

        async def talk_once_heard(channel: Channel) -> Output | None:
            if not await channel.expect(wire.STANDBY_ANSWER):
                return None
            return await talk(channel)

        output = await self._converse(channel, call.mark, talk_once_heard)
        if output is not None:
            return channel, output
        if self._raw.is_closed():
            raise self._lost()
        return None

    async def _over_new_channel(
        self,
        command: str,
        env: Mapping[str, str],
        talk: Talk,
        ahead: bytes | None,
        *,
        is_bulk: bool,
    ) -> tuple[Channel, Output]:
        call = wire.prepare(command, env)
        channel = await self.open(call.command, mark=call.mark, is_bulk=is_bulk)
        channel.send(call.preamble + (ahead or b""), is_last=ahead is not None)
        return channel, await self._converse(channel, call.mark, talk)

    async def _converse(
        self, channel: Channel, mark: str, talk: Callable[[Channel], Awaitable[Result]]
    ) -> Result:
        """Talk to a command; one that is left early is ended on the pod."""
        try:
            return await talk(channel)
        except asyncio.CancelledError:
            await self._interrupt(mark, channel)
            raise
        except BaseExceptionGroup as failures:
            # one cause, many witnesses: hand on the first
            first = failures.exceptions[0]
            await self._interrupt(mark, channel)
            raise first from None
        finally:
            channel.close()

    async def _open_background(self, command: str) -> Channel:
        return await self._try_open(command)

    async def open(
        self,
        command: str | None,
        *,
        mark: str = "",
        is_bulk: bool = False,
        **terminal: object,
    ) -> Channel:
        """Start a command on a channel of its own.

        sshd frees a session a moment after it closed the channel, so that a refusal
        may be over by the time it is heard; and what only waits for a command makes
        room for one.
        """
        for pause_seconds in _REFUSED_PAUSES_SECONDS:
            with contextlib.suppress(RefusedError):
                return await self._try_open(command, mark, is_bulk=is_bulk, **terminal)
            if not await self.standbys.yield_one():
                await asyncio.sleep(pause_seconds)
        return await self._try_open(command, mark, is_bulk=is_bulk, **terminal)

    async def _try_open(
        self,
        command: str | None,
        mark: str = "",
        *,
        is_bulk: bool = False,
        **terminal: object,
    ) -> Channel:
        seconds = self._bounds.channel_seconds
        round_trip = self.round_trip_seconds if is_bulk else None
        opening = Opening(
            self._raw,
            self._note_closed,
            window_bytes=bulk_window_bytes(round_trip or 0.0),
        )
        self.open_channels += 1
        try:
            async with asyncio.timeout(seconds):
                channel = await opening.start(command, **terminal)
                self._note_opened(opening)
                return channel
        except NotOpenedError as error:
            raise self._not_opened(error, opening) from error
        except TimeoutError as error:
            if opening.may_run:
                raise self._lost() from error
            raise too_slow(self._address, "a new channel", seconds) from error
        except asyncio.CancelledError:
            if opening.may_run:
                await self._interrupt(mark)
            raise

    def _note_opened(self, opening: Opening) -> None:
        seconds = [self._opening_seconds, opening.round_trip_seconds]
        self._opening_seconds = min(s for s in seconds if s is not None)

    def _note_closed(self) -> None:
        self.open_channels -= 1

    def _not_opened(self, error: NotOpenedError, opening: Opening) -> SSHError:
        if opening.may_run:
            return self._lost()
        if not error.is_refused:
            return SSHUnreachableError(
                f"the connection to {self._address} was lost",
                address=self._address,
                hint="Is the pod still running? See: runpod-client pods list",
            )
        doing = f"opening a channel to {self._address}"
        return RefusedError(
            f"{doing} failed: {reason_of(error.reason)}",
            address=self._address,
            hint="sshd allows so many sessions on one connection (MaxSessions).",
        )

    def _lost(self) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"the connection to {self._address} was lost while a command ran",
            address=self._address,
            hint="Whether the command finished is unknown: look before you repeat.",
        )

    def result_of(
        self, channel: Channel, output: Output, elapsed_seconds: float
    ) -> ExecResult:
        """Return how a command ended.

        Raises:
            UnknownOutcomeError: The pod did not tell.
        """
        if channel.ending is None:
            raise self._lost()
        status, signal_name = channel.ending
        return ExecResult(
            exit_status=status,
            exit_signal=signal_name,
            stdout=output[0],
            stderr=output[1],
            elapsed_seconds=elapsed_seconds,
        )

    async def _interrupt(self, mark: str, channel: Channel | None = None) -> None:
        """End a command and everything it started, within a few seconds.

        SSH's own signal request is refused by sshd for root and for forced commands,
        so a second channel looks for the call's mark among the pod's processes.
        """
        if self._raw.is_closed() or not mark:
            return
        if channel is not None:
            channel.signal("INT")
        try:
            async with asyncio.timeout(_INTERRUPT_SECONDS):
                sweep = await self.open(wire.interrupt_command())
                try:
                    sweep.send(f"{mark}\n".encode(), is_last=True)
                    await sweep.wait_closed()
                finally:
                    sweep.close()
        except (SSHError, TimeoutError):
            # no second channel to be had: what sshd's own way reaches, at least
            if channel is not None:
                channel.signal("KILL")
