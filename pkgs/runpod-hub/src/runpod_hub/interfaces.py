"""What the hub's core needs from outside, as Protocols.

Nothing else in the core knows who implements them: `cloud.py` and `clock.py` do for the
real process, scripted ones for tests of the loops.
"""

from datetime import datetime
from typing import Protocol

from runpod_client import Account, Pod


class Cloud(Protocol):
    """The part of RunPod the hub watches; every call is bounded in time."""

    async def list_pods(self) -> list[Pod]:
        """Return all pods of the account, whoever made them."""
        ...

    async def get_account(self) -> Account:
        """Return the account's balance and spending."""
        ...


class Clock(Protocol):
    """Time, injected so that tests need not wait for it."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task."""
        ...
