"""A user's terminal on a durable session, over links that may break.

The session is on the pod; when the link is lost it goes on there, and a new link shows
the same screen. It must not know of the command line.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from runpod_client import Error
from runpod_client.logs import get_logger
from runpod_ssh import reconnection, sessions, tmux
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SessionError, SSHUnreachableError
from runpod_ssh.model import ExecResult, Terminal

log = get_logger(__name__)

OpenLink = Callable[[], AbstractAsyncContextManager[Connection]]
PATIENCE_SECONDS = 600.0
# What a program on the pod may have switched on and can no longer switch off: colours,
# the second screen, mouse reports, focus reports, bracketed paste, a hidden cursor, the
# other keypad.
_RESET = (
    b"\x1b[0m\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"
    b"\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[?1l\x1b>\r"
)


class Screen(Terminal, Protocol):
    """A terminal that hands every key on; `terminal.LocalTerminal` is the user's."""

    def raw(self) -> AbstractContextManager[None]:
        """Hand on every key within the block, and take them back after it."""


async def attach(
    open_link: OpenLink,
    name: str,
    screen: Screen,
    *,
    read_only: bool = False,
    on_status: Callable[[str], None] = lambda _status: None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> ExecResult:
    """Show a session until the user detaches or it ends, over as many links as it takes.

    Args:
        open_link: Opens a connection to the pod; asked again after each loss.
        read_only: Nothing that is typed reaches the session.
        on_status: Told in a few words when the link is lost and when it is back.
        patience_seconds: How long a lost link is tried for, each time.

    Returns:
        How the pod's tmux client ended.

    Raises:
        SessionError: There is no such session, or not any more.
        SSHUnreachableError: The pod could not be reached, or not again in time.
    """
    visit = _Visit(name, screen, read_only=read_only, on_status=on_status)
    async with open_link() as connection:
        result = await visit.show(connection)
    while result is None:
        result = await visit.return_to(open_link, patience_seconds)
    return result


class _Visit:
    """One user at one session: what is the same over all links."""

    def __init__(
        self,
        name: str,
        screen: Screen,
        *,
        read_only: bool,
        on_status: Callable[[str], None],
    ) -> None:
        self._name = name
        self._screen = screen
        self._command = tmux.attach_command(name, read_only=read_only)
        self._on_status = on_status

    async def show(self, connection: Connection) -> ExecResult | None:
        """Show the session; None when the link was lost meanwhile."""
        await sessions.get_session(connection, self._name)
        return await self._show(connection)

    async def _show(self, connection: Connection) -> ExecResult | None:
        try:
            with self._screen.raw():
                return await connection.shell(self._screen, self._command)
        except SSHUnreachableError as error:
            await self._screen.show(_RESET)
            log.info("session_link_lost", error_detail=error.message)
            return None
        except asyncio.CancelledError:
            await self._screen.show(_RESET)
            raise

    async def return_to(
        self, open_link: OpenLink, patience_seconds: float
    ) -> ExecResult | None:
        """Show the session over a new link."""
        self._on_status("link lost; the session goes on, reconnecting (Ctrl-C ends)")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        waits = reconnection.delays(_randoms())
        while True:
            await asyncio.sleep(next(waits))
            try:
                async with open_link() as connection:
                    return await self._show_again(connection)
            except Error as error:
                if not reconnection.is_passing(error) or loop.time() > deadline:
                    raise
                log.debug("session_reconnect_failed", error_detail=error.message)

    async def _show_again(self, connection: Connection) -> ExecResult | None:
        try:
            await sessions.get_session(connection, self._name)
        except SessionError as error:
            error.hint = f"A pod that was restarted has none any more. {error.hint}"
            raise
        self._on_status("link is back")
        return await self._show(connection)


def _randoms() -> Iterator[float]:
    while True:
        yield random.random()  # noqa: S311  # spreads load, keeps no secret
