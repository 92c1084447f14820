"""How many connections may be in the making at once, so that no sshd drops one.

A stock sshd (`MaxStartups 10:30:100`) drops connections at random as soon as ten have
not logged in yet, and takes ten sessions on one connection (`MaxSessions 10`). We stay
below both, and do not begin more key exchanges than get their processor time within
the bounds of a login. It counts; it knows nothing of pods and opens nothing itself.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

# sshd frees the place of a login a moment after we know that it succeeded, so a few
# places of the ten stay empty
_UNAUTHENTICATED = 6
# of MaxSessions' ten up to three wait for commands, one is kept for interrupting them
_SESSIONS = 6


def _handshakes() -> int:
    """Return how many key exchanges may run at once.

    Most of a handshake is waiting for the pod; our part is about 10 ms of processor
    time, so that this many end well within the bounds of a login.
    """
    return 16 * min(os.cpu_count() or 1, 4)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is allowed at the same time.

    Attributes:
        unauthenticated_per_sshd: Connections to one host and port before their login.
        handshakes: Connections in the making to all of them together.
        sessions_per_connection: Commands that share a connection.
    """

    unauthenticated_per_sshd: int = _UNAUTHENTICATED
    handshakes: int = field(default_factory=_handshakes)
    sessions_per_connection: int = _SESSIONS


class _Turnstile:
    """Lets a number of holders in, first come, first served; counts who is about."""

    def __init__(self, places: int) -> None:
        self._semaphore = asyncio.Semaphore(places)
        self.interested = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        self.interested += 1
        try:
            async with self._semaphore:
                yield
        finally:
            self.interested -= 1


class Admission:
    """The places of one process; share one among all that connect."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._all = _Turnstile(self.limits.handshakes)
        self._by_sshd: dict[Hashable, _Turnstile] = {}

    @contextlib.asynccontextmanager
    async def handshake(self, host: str, port: int) -> AsyncIterator[None]:
        """Hold a place for connecting and logging in; waits in line for it."""
        key = (host, port)
        own = self._by_sshd.setdefault(
            key, _Turnstile(self.limits.unauthenticated_per_sshd)
        )
        try:
            # the sshd's line first: who waits for one busy sshd keeps no other out
            async with own.place(), self._all.place():
                yield
        finally:
            if own.interested == 0 and self._by_sshd.get(key) is own:
                del self._by_sshd[key]

    @property
    def waiting_or_connecting(self) -> int:
        """Return how many hold a place or stand in line, over all sshd."""
        return sum(turnstile.interested for turnstile in self._by_sshd.values())
