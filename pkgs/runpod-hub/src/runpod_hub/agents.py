"""Coding agents' sessions as decisions: what a heartbeat makes of one, when it ends.

Pure: values in, values out.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from runpod_hub.model import AgentSession, AgentStatus

_AT_WORK = frozenset({AgentStatus.ACTIVE, AgentStatus.WORKING})


def receive_heartbeat(
    previous: AgentSession | None,
    *,
    pod_id: str,
    agent: str,
    status: AgentStatus,
    current_task: str,
    now: datetime,
) -> AgentSession:
    """Return the session after a heartbeat; one that had ended starts anew."""
    if previous is None or previous.status is AgentStatus.DISCONNECTED:
        return AgentSession(
            pod_id=pod_id,
            agent=agent,
            status=status,
            current_task=current_task,
            started_at=now,
            last_heartbeat_at=now,
        )
    return replace(
        previous, status=status, current_task=current_task, last_heartbeat_at=now
    )


def find_silent(
    sessions: Iterable[AgentSession], *, now: datetime, timeout_seconds: float
) -> list[AgentSession]:
    """Return, as disconnected, the sessions not heard of for longer than allowed."""
    return [
        replace(session, status=AgentStatus.DISCONNECTED)
        for session in sessions
        if session.status is not AgentStatus.DISCONNECTED
        and (now - session.last_heartbeat_at).total_seconds() > timeout_seconds
    ]


def count_active(sessions: Iterable[AgentSession]) -> int:
    """Count the agents that say they are at work."""
    return sum(session.status in _AT_WORK for session in sessions)
