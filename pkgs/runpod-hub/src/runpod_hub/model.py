"""The values the hub works with: frozen, without I/O, database or HTTP names.

Money is `Decimal` in US dollars. Every `_at` is an aware UTC datetime.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from runpod_client import Account, PodStatus, PortMapping

# From renting on, a pod is billed; one in an unknown state is counted, since money
# that may be flowing must not be hidden.
BILLED_STATUSES = frozenset(status for status in PodStatus if status.is_billed)


class AgentStatus(enum.StrEnum):
    """What a coding agent says it does; `DISCONNECTED` is the hub's own word."""

    ACTIVE = "active"
    WORKING = "working"
    IDLE = "idle"
    DISCONNECTED = "disconnected"


class TickOutcome(enum.StrEnum):
    """How a run of the monitor ended."""

    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class PodRecord:
    """The last observed state of a pod.

    Attributes:
        owner: Whose mark the pod carries; empty for a pod made by other means.
        absences: Successful listings in a row that did not show it.
        gone_at: When it was declared gone; None while it is listed.
    """

    pod_id: str
    name: str
    status: PodStatus
    status_reason: str
    gpu_type: str
    gpu_count: int
    image: str
    price_usd_per_hour: Decimal
    is_spot: bool
    data_center_id: str
    uptime_seconds: int | None
    ssh_host: str
    ssh_port: int | None
    ports: tuple[PortMapping, ...]
    owner: str
    first_seen_at: datetime
    last_seen_at: datetime
    absences: int = 0
    gone_at: datetime | None = None

    @property
    def is_billed(self) -> bool:
        """Say whether the pod's hourly price is running."""
        return self.status in BILLED_STATUSES and self.gone_at is None

    @property
    def ssh_command(self) -> str:
        """Return the line that opens a shell, empty while there is no address."""
        if not self.ssh_host or self.ssh_port is None:
            return ""
        return f"ssh root@{self.ssh_host} -p {self.ssh_port}"


@dataclass(frozen=True, kw_only=True)
class PodSample:
    """One pod at one tick, for the curves."""

    sampled_at: datetime
    pod_id: str
    status: PodStatus
    price_usd_per_hour: Decimal


@dataclass(frozen=True, kw_only=True)
class AgentSession:
    """A coding agent on a pod, from its first heartbeat until it falls silent."""

    pod_id: str
    agent: str
    status: AgentStatus
    current_task: str
    started_at: datetime
    last_heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True)
class AccountRecord:
    """The account as last observed."""

    account: Account
    observed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One run of the monitor; `error` is a sentence, empty when it went well."""

    started_at: datetime
    finished_at: datetime
    outcome: TickOutcome
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that changed: who did what to which thing."""

    occurred_at: datetime
    actor: str
    kind: str
    subject: str
    data: Mapping[str, str] = field(default_factory=dict)
    sequence: int | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything the hub shows, as of its last change.

    Attributes:
        pods_as_of: When the pods were last listed successfully; None before that.
        last_tick: None until the first tick has ended (in this or an earlier run).
    """

    pods: tuple[PodRecord, ...] = ()
    agents: tuple[AgentSession, ...] = ()
    events: tuple[Event, ...] = ()
    account: AccountRecord | None = None
    pods_as_of: datetime | None = None
    last_tick: Tick | None = None
