"""Taking agents' signs of life: look up, decide, record, publish."""

import asyncio

from runpod_hub.agents import receive_heartbeat
from runpod_hub.errors import UnknownPodError
from runpod_hub.interfaces import Clock
from runpod_hub.model import AgentSession, AgentStatus, Event
from runpod_hub.state import Board
from runpod_hub.store import Store


class Heartbeats:
    """Receives heartbeats, one at a time so that none overwrites another."""

    def __init__(self, *, store: Store, board: Board, clock: Clock) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._turn = asyncio.Lock()

    async def receive(
        self, *, pod_id: str, agent: str, status: AgentStatus, current_task: str
    ) -> AgentSession:
        """Take one heartbeat; return the session as it then is.

        Raises:
            UnknownPodError: The hub has not seen that pod, or it is gone.
        """
        async with self._turn:
            snapshot = self._board.snapshot
            if all(pod.pod_id != pod_id for pod in snapshot.pods):
                raise UnknownPodError(pod_id)
            previous = next(
                (
                    session
                    for session in snapshot.agents
                    if (session.pod_id, session.agent) == (pod_id, agent)
                ),
                None,
            )
            session = receive_heartbeat(
                previous,
                pod_id=pod_id,
                agent=agent,
                status=status,
                current_task=current_task,
                now=self._clock.now(),
            )
            await self._store.record_agent(session, _events(previous, session))
            await self._board.refresh(self._store.load_snapshot)
            return session


def _events(previous: AgentSession | None, session: AgentSession) -> list[Event]:
    """Record beginnings and changes; a mere sign of life is no event."""
    if previous is None or previous.started_at != session.started_at:
        kind = "agent_connected"
    elif (previous.status, previous.current_task) != (
        session.status,
        session.current_task,
    ):
        kind = "agent_status_changed"
    else:
        return []
    return [
        Event(
            occurred_at=session.last_heartbeat_at,
            actor=f"agent:{session.agent}",
            kind=kind,
            subject=session.pod_id,
            data={
                "agent": session.agent,
                "status": str(session.status),
                "current_task": session.current_task,
            },
        )
    ]
