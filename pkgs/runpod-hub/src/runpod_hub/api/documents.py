"""The JSON documents of the API, and how they are written: money as exact numbers.

These are the wire's shapes; `build_*` make them from the model. A figure that comes
from RunPod carries its source and its age.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Response
from pydantic import WithJsonSchema

from runpod_hub import agents, costs
from runpod_hub.model import AgentSession, Event, PodRecord, Snapshot
from runpod_hub.state import Freshness

Dollars = Annotated[Decimal, WithJsonSchema({"type": "number"})]
_ENCODER = msgspec.json.Encoder(decimal_format="number")
SOURCE_RUNPOD = "runpod api"
SOURCE_HUB = "hub"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Where figures come from and how old they are."""

    source: str
    as_of: datetime | None
    age_seconds: float | None
    stale: bool


@dataclass(frozen=True, kw_only=True)
class SummaryDocument:
    """The fleet in six numbers; a day has 24 hours, a month 730."""

    total_pods: int
    running_pods: int
    cost_per_hour: Dollars
    cost_per_day: Dollars
    cost_per_month: Dollars
    active_agents: int


@dataclass(frozen=True, kw_only=True)
class PortDocument:
    """One port of a pod."""

    private: int
    public: int
    host: str
    type: Literal["ssh", "http", "tcp"]


@dataclass(frozen=True, kw_only=True)
class PodDocument:
    """One pod as last observed.

    `cost_per_hour` is what it costs now, so the pods add up to the summary;
    `price_per_hour` is what it costs while it runs.
    """

    pod_id: str
    name: str
    status: str
    status_reason: str
    gpu_type: str
    gpu_count: int
    image: str
    cost_per_hour: Dollars
    price_per_hour: Dollars
    is_spot: bool
    uptime_seconds: int | None
    uptime_hours: float | None
    ports: list[PortDocument]
    ssh_command: str | None
    owner: str | None
    data_center_id: str
    first_seen_at: datetime
    last_seen_at: datetime
    missing: bool


@dataclass(frozen=True, kw_only=True)
class AgentDocument:
    """One coding agent's session; `agent_letter` is its name on that pod."""

    pod_id: str
    agent_letter: str
    status: str
    current_task: str
    started_at: datetime
    last_heartbeat: datetime
    session_duration: float


@dataclass(frozen=True, kw_only=True)
class BalanceDocument:
    """The account's money."""

    balance_usd: Dollars
    spend_usd_per_hour: Dollars
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class StatusDocument:
    """Everything at one glance; `success` is false while the pods are stale."""

    success: bool
    summary: SummaryDocument
    pods: list[PodDocument]
    agent_sessions: list[AgentDocument]
    account: BalanceDocument | None
    as_of: datetime | None
    sources: dict[str, Figure]
    error: str | None


@dataclass(frozen=True, kw_only=True)
class PodsDocument:
    """The pods alone."""

    pods: list[PodDocument]
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class AgentsDocument:
    """The agents alone."""

    agent_sessions: list[AgentDocument]


@dataclass(frozen=True, kw_only=True)
class EventDocument:
    """One entry of the audit."""

    sequence: int | None
    occurred_at: datetime
    actor: str
    kind: str
    subject: str
    data: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class EventsDocument:
    """The newest events, newest first."""

    events: list[EventDocument]


class ExactJSON(Response):
    """A JSON response whose decimals are numbers to the last digit."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode dataclasses, datetimes, enums and decimals."""
        return _ENCODER.encode(content)


def build_status(
    snapshot: Snapshot, freshness: Freshness, of_account: Freshness, *, now: datetime
) -> StatusDocument:
    """Return the whole state as a document.

    Args:
        freshness: Of the pods.
        of_account: Of the balance, which can be older.
    """
    pods = _pods_figure(snapshot, freshness)
    account = _build_account(snapshot, of_account)
    hub = Figure(source=SOURCE_HUB, as_of=now, age_seconds=0.0, stale=False)
    sources = {"pods": pods, "cost": pods, "agent_sessions": hub}
    if account is not None:
        sources["account"] = account.figure
    return StatusDocument(
        success=not freshness.is_stale,
        summary=_build_summary(snapshot),
        pods=[build_pod(pod) for pod in snapshot.pods],
        agent_sessions=[build_agent(each, now=now) for each in snapshot.agents],
        account=account,
        as_of=snapshot.pods_as_of,
        sources=sources,
        error=freshness.reason or None,
    )


def build_pods(snapshot: Snapshot, freshness: Freshness) -> PodsDocument:
    """Return the pods as a document."""
    return PodsDocument(
        pods=[build_pod(pod) for pod in snapshot.pods],
        figure=_pods_figure(snapshot, freshness),
    )


def build_pod(pod: PodRecord) -> PodDocument:
    """Return one pod as a document."""
    uptime = pod.uptime_seconds
    return PodDocument(
        pod_id=pod.pod_id,
        name=pod.name,
        status=str(pod.status),
        status_reason=pod.status_reason,
        gpu_type=pod.gpu_type,
        gpu_count=pod.gpu_count,
        image=pod.image,
        cost_per_hour=pod.price_usd_per_hour if pod.is_billed else Decimal(0),
        price_per_hour=pod.price_usd_per_hour,
        is_spot=pod.is_spot,
        uptime_seconds=uptime,
        uptime_hours=None if uptime is None else round(uptime / 3600, 2),
        ports=[
            PortDocument(
                private=port.private_port,
                public=port.public_port,
                host=port.ip,
                type="ssh" if port.private_port == 22 else port.protocol.value,
            )
            for port in pod.ports
        ],
        ssh_command=pod.ssh_command or None,
        owner=pod.owner or None,
        data_center_id=pod.data_center_id,
        first_seen_at=pod.first_seen_at,
        last_seen_at=pod.last_seen_at,
        missing=pod.absences > 0,
    )


def build_agent(session: AgentSession, *, now: datetime) -> AgentDocument:
    """Return one agent's session as a document."""
    end = session.last_heartbeat_at if session.status == "disconnected" else now
    return AgentDocument(
        pod_id=session.pod_id,
        agent_letter=session.agent,
        status=str(session.status),
        current_task=session.current_task,
        started_at=session.started_at,
        last_heartbeat=session.last_heartbeat_at,
        session_duration=round((end - session.started_at).total_seconds(), 3),
    )


def build_event(event: Event) -> EventDocument:
    """Return one event as a document."""
    return EventDocument(
        sequence=event.sequence,
        occurred_at=event.occurred_at,
        actor=event.actor,
        kind=event.kind,
        subject=event.subject,
        data=dict(event.data),
    )


def _pods_figure(snapshot: Snapshot, freshness: Freshness) -> Figure:
    return Figure(
        source=SOURCE_RUNPOD,
        as_of=snapshot.pods_as_of,
        age_seconds=freshness.age_seconds,
        stale=freshness.is_stale,
    )


def _build_summary(snapshot: Snapshot) -> SummaryDocument:
    summary = costs.summarize(snapshot.pods)
    return SummaryDocument(
        total_pods=summary.total_pods,
        running_pods=summary.running_pods,
        cost_per_hour=summary.usd_per_hour,
        cost_per_day=summary.usd_per_day,
        cost_per_month=summary.usd_per_month,
        active_agents=agents.count_active(snapshot.agents),
    )


def _build_account(snapshot: Snapshot, freshness: Freshness) -> BalanceDocument | None:
    record = snapshot.account
    if record is None:
        return None
    return BalanceDocument(
        balance_usd=record.account.balance_usd,
        spend_usd_per_hour=record.account.spend_usd_per_hour,
        figure=Figure(
            source=SOURCE_RUNPOD,
            as_of=record.observed_at,
            age_seconds=freshness.age_seconds,
            stale=freshness.is_stale,
        ),
    )
