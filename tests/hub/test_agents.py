from datetime import timedelta

from runpod_hub.agents import count_active, find_silent, receive_heartbeat
from runpod_hub.model import AgentSession, AgentStatus
from support.hub_world import NOON

LATER = NOON + timedelta(seconds=100)
SESSION = AgentSession(
    pod_id="pod1",
    agent="A",
    status=AgentStatus.WORKING,
    current_task="tests",
    started_at=NOON,
    last_heartbeat_at=NOON,
)


def beat(previous: AgentSession | None) -> AgentSession:
    return receive_heartbeat(
        previous,
        pod_id="pod1",
        agent="A",
        status=AgentStatus.IDLE,
        current_task="",
        now=LATER,
    )


def test_a_heartbeat_continues_the_session_it_belongs_to() -> None:
    session = beat(SESSION)

    assert (session.started_at, session.last_heartbeat_at) == (NOON, LATER)
    assert session.status is AgentStatus.IDLE


def test_a_heartbeat_after_silence_starts_a_new_session() -> None:
    (lost,) = find_silent([SESSION], now=LATER, timeout_seconds=99)

    assert lost.status is AgentStatus.DISCONNECTED
    assert beat(lost).started_at == LATER
    assert beat(None).started_at == LATER


def test_an_agent_within_its_time_is_not_silent() -> None:
    assert find_silent([SESSION], now=LATER, timeout_seconds=100) == []


def test_only_agents_at_work_count_as_active() -> None:
    (lost,) = find_silent([SESSION], now=LATER, timeout_seconds=1)

    assert count_active([SESSION, beat(SESSION), lost]) == 1
