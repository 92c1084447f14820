"""Watching an account's pods: list, compare, show, again; one call per round.

It must not know how things are shown. A listing that fails is trouble to be told, not
the end, and marks no pod as gone.
"""

from collections.abc import Callable
from typing import Protocol

from runpod_client.changes import Change, Tracker
from runpod_client.errors import (
    ProtocolError,
    RateLimitedError,
    TransportError,
    UnavailableError,
)
from runpod_client.model import Pod
from runpod_client.pace import Pace

Show = Callable[[list[Pod], tuple[Change, ...], str], None]

_PASSING = (TransportError, UnavailableError, ProtocolError, RateLimitedError)


class Lister(Protocol):
    """What is watched; `RunPodClient` is one."""

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""


class Watch:
    """One watching of one account."""

    def __init__(
        self,
        lister: Lister,
        *,
        interval_seconds: float,
        owner: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Watch the pods of `owner`, or all with None."""
        self._lister = lister
        self._interval_seconds = interval_seconds
        self._owner = owner
        self._pace = pace or Pace()
        self._tracker = Tracker()

    def run(self, show: Show, *, duration_seconds: float | None = None) -> None:
        """Show every round until the duration is over; None goes on for ever.

        Raises:
            APIError: A failure that does not pass, such as a refused key.
        """
        started = self._pace.clock()
        while True:
            round_started = self._pace.clock()
            changes, trouble = self._look()
            show(list(self._tracker.pods), changes, trouble)
            now = self._pace.clock()
            if duration_seconds is not None and now - started >= duration_seconds:
                return
            self._pace.sleep(max(self._interval_seconds - (now - round_started), 0.0))

    def _look(self) -> tuple[tuple[Change, ...], str]:
        try:
            pods = self._lister.list_pods()
        except _PASSING as error:
            return (), error.message
        mine = [p for p in pods if self._owner is None or p.owner == self._owner]
        return self._tracker.observe(mine), ""
