"""Channels opened ahead: a shell on the pod that waits to become the next command.

A command then costs one round trip in place of two, and the question whether the pod is
alive costs one, all the way to a process there. Where a pod refuses, or where a command
could tell the difference, there is none and nobody hears of it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runpod_ssh import wire
from runpod_ssh.channels import Channel
from runpod_ssh.errors import SSHError

# from here on one standby would always be late: opening it takes two round trips
_LONG_SECONDS = 0.015
_DEPTH_OF_LONG_LINK = 3


@dataclass(frozen=True, kw_only=True)
class Standby:
    """A shell that waits.

    Attributes:
        mark: What the processes of the command it becomes are found by.
    """

    channel: Channel
    mark: str


class Standbys:
    """The standbys of one connection.

    Attributes:
        round_trip_seconds: To a process on the pod and back, measured at the start.
    """

    def __init__(
        self,
        open_channel: Callable[[str], Awaitable[Channel]],
        *,
        bound_seconds: float,
    ) -> None:
        """Begin without any.

        Args:
            open_channel: Starts a command on a channel of its own.
            bound_seconds: How long opening one may take.
        """
        self.round_trip_seconds: float | None = None
        self._open_channel = open_channel
        self._bound_seconds = bound_seconds
        self._idle: list[Standby] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._depth = 0
        self._warming: asyncio.Task[None] | None = None

    async def warm_up(self) -> None:
        """Return when there is one, or it is clear that there will be none."""
        if self._warming is None:
            self._warming = asyncio.get_running_loop().create_task(self._warm_up())
        await asyncio.shield(self._warming)

    async def _warm_up(self) -> None:
        loop = asyncio.get_running_loop()
        standby = await self._open(is_first=True)
        if standby is None:
            return
        began = loop.time()
        self._idle.append(standby)
        if not await self.answers():
            return
        self.round_trip_seconds = loop.time() - began
        is_long = self.round_trip_seconds > _LONG_SECONDS
        self._depth = _DEPTH_OF_LONG_LINK if is_long else 1
        self.fill()

    def take(self) -> Standby | None:
        """Return one that waits, which is the caller's from now on; None for none."""
        while self._idle:
            standby = self._idle.pop()
            if not standby.channel.is_ending:
                return standby
        return None

    def fill(self) -> None:
        """Open as many as are missing, in the background."""
        for _missing in range(self._depth - len(self._idle) - len(self._tasks)):
            task = asyncio.get_running_loop().create_task(self._add())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def answers(self) -> bool | None:
        """Ask one for a sign of life; None where there is none to ask."""
        standby = self.take()
        if standby is None:
            return None
        is_well = False
        try:
            is_well = await self._asks(standby)
        finally:
            if not is_well:
                standby.channel.close()
        if is_well:
            self._idle.append(standby)
        return is_well

    async def yield_one(self) -> bool:
        """Close one, to make room for a channel that needs it; say if there was one."""
        standby = self.take()
        if standby is None:
            return False
        standby.channel.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bound_seconds):
                await standby.channel.wait_closed()
        return True

    async def close(self) -> None:
        """Close all and open no more."""
        self._depth = 0
        tasks = [*self._tasks, *([self._warming] if self._warming else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while (standby := self.take()) is not None:
            standby.channel.close()

    async def _asks(self, standby: Standby) -> bool:
        standby.channel.send(wire.STANDBY_PING)
        return await standby.channel.expect(wire.STANDBY_ANSWER)

    async def _add(self) -> None:
        standby = await self._open(is_first=False)
        if standby is not None:
            self._idle.append(standby)

    async def _open(self, *, is_first: bool) -> Standby | None:
        mark = wire.make_mark()
        channel: Channel | None = None
        try:
            async with asyncio.timeout(self._bound_seconds):
                channel = await self._open_channel(
                    wire.standby_command(mark, is_first=is_first)
                )
                if await channel.expect(wire.STANDBY_ANSWER):
                    return Standby(channel=channel, mark=mark)
                channel.close()
                await channel.wait_closed()
        except (SSHError, TimeoutError):
            pass
        except BaseException:
            if channel is not None:
                channel.close()
            raise
        if channel is not None:
            channel.close()
        return None
