"""What the dashboard says, as texts: pure functions from the model, tested as data."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_client import PodStatus
from runpod_hub import agents, costs
from runpod_hub.model import AgentSession, AgentStatus, Event, PodRecord, Snapshot
from runpod_hub.state import Freshness

# The meaning behind a colour: ok, wait, off, bad. Nothing else is coloured.
_STATUS_TONES = {
    PodStatus.RUNNING: "ok",
    PodStatus.STARTING: "wait",
    PodStatus.FAILED: "bad",
    PodStatus.STOPPED: "off",
    PodStatus.TERMINATED: "off",
    PodStatus.UNKNOWN: "bad",
}
_AGENT_TONES = {
    AgentStatus.WORKING: "ok",
    AgentStatus.ACTIVE: "ok",
    AgentStatus.IDLE: "wait",
    AgentStatus.DISCONNECTED: "off",
}

NOTHING = "\N{EN DASH}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_ALARM_HOURS = 6
_EVENT_TEXTS = {
    "pod_appeared": "{subject} appeared",
    "pod_gone": "{subject} is gone",
    "pod_status_changed": "{subject} went from {from_state} to {to_state}",
    "pod_price_changed": (
        "{subject} now costs ${to_usd_per_hour}/hour (was ${from_usd_per_hour})"
    ),
    "cost_threshold_exceeded": (
        "the fleet costs ${usd_per_hour}/hour, over the alert of"
        " ${threshold_usd_per_hour}"
    ),
    "cost_threshold_cleared": "the fleet is back at ${usd_per_hour}/hour",
    "cloud_unreachable": "RunPod did not answer: {error_detail}",
    "cloud_recovered": "RunPod answers again",
    "agent_connected": "agent {agent} connected",
    "agent_disconnected": "agent {agent} fell silent",
    "agent_status_changed": "agent {agent} is {status}: {current_task}",
}
_BAD_KINDS = frozenset({"cost_threshold_exceeded", "cloud_unreachable"})


@dataclass(frozen=True, kw_only=True)
class Card:
    """One overview card; `tone` is empty or the colour's meaning."""

    label: str
    value: str
    unit: str = ""
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The hub's own state in the header; `banner` is empty while all is well."""

    text: str
    tone: str
    banner: str = ""


def render_headline(freshness: Freshness) -> Headline:
    """Return how far the page can be trusted."""
    if freshness.age_seconds is None:
        return Headline(
            text="waiting for RunPod", tone="wait", banner=f"{freshness.reason}."
        )
    age = f"updated {render_duration(freshness.age_seconds)} ago"
    if not freshness.is_stale:
        return Headline(text=age, tone="ok")
    return Headline(
        text=f"stale, {age}",
        tone="bad",
        banner=(
            "These are the last known figures, from"
            f" {render_duration(freshness.age_seconds)} ago: {freshness.reason}."
        ),
    )


def render_cards(snapshot: Snapshot, *, threshold: Decimal) -> tuple[Card, ...]:
    """Return the overview."""
    summary = costs.summarize(snapshot.pods)
    connected = sum(
        session.status is not AgentStatus.DISCONNECTED for session in snapshot.agents
    )
    day = costs.render_usd(summary.usd_per_day)
    month = costs.render_usd(summary.usd_per_month, cents=False)
    is_over = summary.usd_per_hour > threshold
    note = f"{day} a day · {month} a month (730 h)"
    if is_over:
        note = f"over the alert of {costs.render_usd(threshold)}/hour · {note}"
    return (
        Card(
            label="Pods running",
            value=str(summary.running_pods),
            unit=f"of {summary.total_pods}",
            note=_pods_note(snapshot),
        ),
        Card(
            label="Cost now",
            value=costs.render_usd(summary.usd_per_hour),
            unit="/hour",
            note=note,
            tone="bad" if is_over else "",
        ),
        Card(
            label="Agents at work",
            value=str(agents.count_active(snapshot.agents)),
            unit=f"of {connected}",
            note="connected agents" if connected else "none connected",
        ),
        _balance_card(snapshot, summary.usd_per_hour),
    )


def _pods_note(snapshot: Snapshot) -> str:
    starting = sum(pod.status is PodStatus.STARTING for pod in snapshot.pods)
    stopped = sum(pod.status is PodStatus.STOPPED for pod in snapshot.pods)
    parts = [f"{starting} starting"] if starting else []
    parts += [f"{stopped} stopped"] if stopped else []
    return " · ".join(parts) or ("all running" if snapshot.pods else "none rented")


def _balance_card(snapshot: Snapshot, usd_per_hour: Decimal) -> Card:
    if snapshot.account is None:
        return Card(label="Balance", value=NOTHING, note="not read yet")
    balance = snapshot.account.account.balance_usd
    runway = costs.runway_hours(balance, usd_per_hour)
    if runway is None:
        return Card(
            label="Balance",
            value=costs.render_usd(balance),
            note="nothing is spending it",
        )
    return Card(
        label="Balance",
        value=costs.render_usd(balance),
        note=f"lasts {render_duration(float(runway) * 3600)} at this rate",
        tone=_runway_tone(runway),
    )


def _runway_tone(hours: Decimal) -> str:
    """Warn a day before the money ends, alarm six hours before."""
    if hours < _ALARM_HOURS:
        return "bad"
    return "wait" if hours < costs.HOURS_PER_DAY else ""


def render_pod(pod: PodRecord) -> dict[str, Any]:
    """Return a table row; raw numbers are for sorting, texts for reading."""
    status = "missing" if pod.absences else str(pod.status).lower()
    reason = "not in the last listing" if pod.absences else pod.status_reason
    is_running = pod.status is PodStatus.RUNNING
    uptime = pod.uptime_seconds if is_running else None
    return {
        "id": pod.pod_id,
        "name": pod.name,
        "gpu": f"{pod.gpu_count} {_TIMES} {_short_gpu(pod.gpu_type)}",
        "spot": pod.is_spot,
        "status": status,
        "reason": reason,
        "tone": "bad" if pod.absences else _STATUS_TONES[pod.status],
        "billed": pod.is_billed,
        "price": float(pod.price_usd_per_hour) if pod.is_billed else 0.0,
        "price_text": costs.render_usd(pod.price_usd_per_hour)
        if pod.is_billed
        else NOTHING,
        "uptime": uptime or 0,
        "uptime_text": NOTHING if uptime is None else render_duration(uptime),
        "ssh": pod.ssh_command,
    }


def _short_gpu(gpu_type: str) -> str:
    """Leave out the words that are the same on nearly every row."""
    return gpu_type.removeprefix("NVIDIA ").removeprefix("GeForce ")


def render_agent(
    session: AgentSession, *, pod_names: dict[str, str], now: datetime
) -> dict[str, Any]:
    """Return a table row for an agent."""
    silence = (now - session.last_heartbeat_at).total_seconds()
    return {
        "key": f"{session.pod_id}/{session.agent}",
        "agent": session.agent,
        "pod": pod_names.get(session.pod_id, session.pod_id),
        "status": str(session.status),
        "tone": _AGENT_TONES[session.status],
        "task": session.current_task or NOTHING,
        "heard": f"{render_duration(silence)} ago",
        "silence": silence,
    }


def render_event(event: Event, *, now: datetime) -> dict[str, str]:
    """Return an event as one line."""
    template = _EVENT_TEXTS.get(event.kind, f"{event.kind}: {{subject}}")
    values = _Lenient(event.data)
    values["subject"] = event.data.get("pod_name") or event.subject
    age = (now - event.occurred_at).total_seconds()
    return {
        "key": str(event.sequence),
        "text": template.format_map(values).rstrip(": "),
        "tone": "bad" if event.kind in _BAD_KINDS else "",
        "age": f"{render_duration(age)} ago",
        "at": event.occurred_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


class _Lenient(dict[str, str]):
    """Values for a template; one that is missing reads as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def render_duration(seconds: float) -> str:
    """Return a length of time in the one or two units people would use."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if whole < 60:
        return f"{whole} s"
    if hours < 1:
        return f"{minutes} min"
    if days < 2:
        rest = minutes - hours * 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    rest = hours - days * 24
    return f"{days} d {rest} h" if rest and days < 14 else f"{days} d"
