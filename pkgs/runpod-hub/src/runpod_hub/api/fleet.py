"""Routes that read the fleet, and the agents' heartbeat."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from runpod_hub.api.documents import (
    AgentDocument,
    AgentsDocument,
    EventsDocument,
    ExactJSON,
    PodsDocument,
    StatusDocument,
    build_agent,
    build_event,
    build_pods,
    build_status,
)
from runpod_hub.hub import Hub
from runpod_hub.model import AgentStatus

PodId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
AgentName = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Heartbeat(BaseModel):
    """What an agent says about itself."""

    status: Literal["active", "working", "idle"]
    current_task: str = Field(default="", max_length=500)


def build_router(hub: Hub) -> APIRouter:
    """Return the routes under /api."""
    router = APIRouter(prefix="/api", tags=["fleet"])

    @router.get("/runpod/status", response_model=StatusDocument)
    async def status() -> Response:
        """Return summary, pods, agents and balance, with their ages."""
        document = build_status(
            hub.board.snapshot,
            hub.judge_pods(),
            hub.judge_account(),
            now=hub.clock.now(),
        )
        return ExactJSON(document)

    @router.get("/pods", response_model=PodsDocument)
    async def pods() -> Response:
        """Return the pods as last observed."""
        return ExactJSON(build_pods(hub.board.snapshot, hub.judge_pods()))

    @router.get("/agents", response_model=AgentsDocument)
    async def agents() -> Response:
        """Return each agent's newest session."""
        now = hub.clock.now()
        sessions = [build_agent(each, now=now) for each in hub.board.snapshot.agents]
        return ExactJSON(AgentsDocument(agent_sessions=sessions))

    @router.get("/events", response_model=EventsDocument)
    async def events() -> Response:
        """Return the newest events, newest first."""
        newest = [build_event(each) for each in hub.board.snapshot.events]
        return ExactJSON(EventsDocument(events=newest))

    @router.post("/agents/{pod_id}/{agent}/heartbeat", response_model=AgentDocument)
    async def heartbeat(pod_id: PodId, agent: AgentName, body: Heartbeat) -> Response:
        """Take an agent's sign of life; one that stays silent is disconnected."""
        session = await hub.heartbeats.receive(
            pod_id=pod_id,
            agent=agent,
            status=AgentStatus(body.status),
            current_task=body.current_task,
        )
        return ExactJSON(
            build_agent(session, now=hub.clock.now()), status_code=HTTPStatus.OK
        )

    return router
