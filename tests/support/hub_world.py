"""Pods, records and a scripted cloud with a clock that only its sleeps move."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from runpod_client import Account, APIError, Pod, PodStatus, PortMapping, Protocol
from runpod_hub.model import PodRecord

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SSH_PORT = PortMapping(
    private_port=22,
    public_port=22001,
    ip="203.0.113.7",
    is_public=True,
    protocol=Protocol.TCP,
)


def make_pod(pod_id: str = "pod1", **given: Any) -> Pod:
    """Return a running pod at 50 cents an hour."""
    values: dict[str, Any] = {
        "pod_id": pod_id,
        "name": f"name-{pod_id}",
        "status": PodStatus.RUNNING,
        "gpu_type": "NVIDIA L4",
        "gpu_count": 1,
        "image": "runpod/base",
        "price_usd_per_hour": Decimal("0.50"),
        "uptime_seconds": 60,
        "ports": (SSH_PORT,),
    }
    return Pod(**{**values, **given})


def make_record(pod_id: str = "pod1", **given: Any) -> PodRecord:
    """Return a running pod's record at 50 cents an hour."""
    values: dict[str, Any] = {
        "pod_id": pod_id,
        "name": f"name-{pod_id}",
        "status": PodStatus.RUNNING,
        "status_reason": "",
        "gpu_type": "NVIDIA L4",
        "gpu_count": 1,
        "image": "runpod/base",
        "price_usd_per_hour": Decimal("0.50"),
        "is_spot": False,
        "data_center_id": "",
        "uptime_seconds": 60,
        "ssh_host": "203.0.113.7",
        "ssh_port": 22001,
        "ports": (SSH_PORT,),
        "owner": "",
        "first_seen_at": NOON,
        "last_seen_at": NOON,
    }
    return PodRecord(**{**values, **given})


class EnoughError(Exception):
    """The test has seen as many rounds of a loop as it wanted."""


@dataclass
class ScriptedClock:
    """A clock moved by sleeping; ends a loop after so many sleeps."""

    sleeps_allowed: int = 1_000
    elapsed_seconds: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed_seconds)

    def monotonic(self) -> float:
        return self.elapsed_seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.elapsed_seconds += seconds
        if len(self.sleeps) >= self.sleeps_allowed:
            raise EnoughError


@dataclass
class ScriptedCloud:
    """Answers each listing with the next of `answers`, the last one for ever.

    Attributes:
        listing_seconds: How long a listing takes, by the clock.
    """

    clock: ScriptedClock
    answers: list[list[Pod] | Exception]
    account: Account | APIError = field(
        default_factory=lambda: Account(
            account_id="user1",
            balance_usd=Decimal("99.123456"),
            spend_usd_per_hour=Decimal("0.5"),
        )
    )
    listing_seconds: float = 0.0
    listed_at: list[float] = field(default_factory=list)

    async def list_pods(self) -> list[Pod]:
        self.listed_at.append(self.clock.elapsed_seconds)
        self.clock.elapsed_seconds += self.listing_seconds
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_account(self) -> Account:
        if isinstance(self.account, APIError):
            raise self.account
        return self.account
