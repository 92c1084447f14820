"""What a scale set's reader speaks to the simulated GitHub.

The actions service below `/_services/pipelines/_apis` and the message queue, as the
sources of GitHub's own client show them. Answers begin with a byte order mark, as the
real ones do. It must not decide anything: rules are those of `scale_sets`.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runpod_sim.forge_model import RefusedError, Runner, RunnerGroup, Scope
from runpod_sim.github_broker import number, read_json, text
from runpod_sim.github_call import Desk, read_authorization, refuse_by_fault
from runpod_sim.github_runners import render_jit_config
from runpod_sim.github_wire import render_instant
from runpod_sim.scale_sets import Message, QueueSession, ScaleSet, ScaleSets, Statistics

API_VERSION = "6.0-preview"
SERVICE = "/_services/pipelines/_apis"
SETS = f"{SERVICE}/runtime/runnerscalesets"
AGENTS = f"{SERVICE}/distributedtask/pools/0/agents"
QUEUE = "/_services/queue"
# the real one holds a question for about 50 s; see `github_broker`
LONG_POLL_SECONDS = 1.0
POLL_STEP_SECONDS = 0.05
MARK = b"\xef\xbb\xbf"

Handler = Callable[[Request], Awaitable[Response]]


def scale_set_routes(desk: Desk, sets: ScaleSets) -> list[BaseRoute]:
    """Return the routes that only scale sets' readers use."""
    service = ScaleSetService(sets)
    table: list[tuple[str, str, Handler]] = [
        ("GET", f"{SERVICE}/runtime/runnergroups/", service.list_groups),
        ("GET", SETS, service.list_sets),
        ("POST", SETS, service.create_set),
        ("GET", SETS + "/{set_id:int}", service.get_set),
        ("DELETE", SETS + "/{set_id:int}", service.delete_set),
        ("POST", SETS + "/{set_id:int}/sessions", service.open_session),
        ("PATCH", SETS + "/{set_id:int}/sessions/{session_id}", service.renew_session),
        ("DELETE", SETS + "/{set_id:int}/sessions/{session_id}", service.close_session),
        ("POST", SETS + "/{set_id:int}/acquirejobs", service.acquire_jobs),
        ("POST", SETS + "/{set_id:int}/generatejitconfig", service.generate_jit_config),
        ("GET", AGENTS, service.list_agents),
        ("DELETE", AGENTS + "/{runner_id:int}", service.delete_agent),
        ("GET", QUEUE + "/{session_id}", service.get_message),
        ("DELETE", QUEUE + "/{session_id}/{message_id:int}", service.delete_message),
    ]
    return [
        Route(path, _guarded(desk, handler), methods=[method])
        for method, path, handler in table
    ]


def _guarded(desk: Desk, handler: Handler) -> Handler:
    name = f"scale_set_{getattr(handler, '__name__', '')}"

    async def answer(request: Request) -> Response:
        try:
            refuse_by_fault(desk.take_fault(name))
            return await handler(request)
        except RefusedError as error:
            kind = error.kind or "ServiceException"
            body = {"typeName": f"GitHub.Actions.{kind}", "message": error.message}
            return _marked(body, error.status)

    return answer


class ScaleSetService:
    """Answers the readers of scale sets."""

    def __init__(self, sets: ScaleSets) -> None:
        self._sets = sets

    async def list_groups(self, request: Request) -> Response:
        """List the runner groups of a name."""
        scope = self._scope(request)
        name = request.query_params.get("groupName", "")
        groups = [
            _render_group(group)
            for group in self._sets.forge.list_groups(scope)
            if not name or group.name.casefold() == name.casefold()
        ]
        return _marked({"count": len(groups), "value": groups})

    async def list_sets(self, request: Request) -> Response:
        """List the scale sets of a name."""
        found = self._sets.find(
            self._scope(request), request.query_params.get("name", "")
        )
        return _marked(
            {"count": len(found), "value": [self._render_set(each) for each in found]}
        )

    async def create_set(self, request: Request) -> Response:
        """Make a scale set."""
        scope = self._scope(request)
        body = await read_json(request)
        setting = body.get("RunnerSetting") or {}
        made = self._sets.create(
            scope,
            text(body, "name"),
            group_id=number(body, "runnerGroupId"),
            labels=[text(label, "name") for label in body.get("labels", [])],
            is_update_disabled=setting.get("disableUpdate") is True,
        )
        return _marked(self._render_set(made))

    async def get_set(self, request: Request) -> Response:
        """Show a scale set."""
        return _marked(self._render_set(self._set(request)))

    async def delete_set(self, request: Request) -> Response:
        """Take a scale set away."""
        self._sets.delete(self._scope(request), request.path_params["set_id"])
        return Response(status_code=204)

    async def open_session(self, request: Request) -> Response:
        """Let one reader take hold of the messages."""
        found = self._set(request)
        owner = text(await read_json(request), "ownerName")
        session = self._sets.open_session(found.scope, found.id, owner)
        return _marked(self._render_session(found, session))

    async def renew_session(self, request: Request) -> Response:
        """Give a reader a fresh token."""
        found = self._set(request)
        session_id = request.path_params["session_id"]
        session = self._sets.renew_session(found.scope, found.id, session_id)
        return _marked(self._render_session(found, session))

    async def close_session(self, request: Request) -> Response:
        """Let the messages go."""
        found = self._set(request)
        self._sets.close_session(
            found.scope, found.id, request.path_params["session_id"]
        )
        return Response(status_code=204)

    async def acquire_jobs(self, request: Request) -> Response:
        """Assign offered jobs."""
        found = self._set_of_queue(request)
        try:
            wanted = [int(each) for each in json.loads(await request.body())]
        except (ValueError, TypeError):
            raise RefusedError(400, "The body must be a list of request ids") from None
        taken = self._sets.acquire(found.scope, found.id, wanted)
        return _marked({"count": len(taken), "value": taken})

    async def generate_jit_config(self, request: Request) -> Response:
        """Register a one-job runner of the scale set."""
        found = self._set(request)
        body = await read_json(request)
        runner = self._sets.create_jit_runner(found.scope, found.id, text(body, "name"))
        work_folder = str(body.get("workFolder") or "_work")
        return _marked(
            {
                "runner": _render_agent(runner, found.id),
                "encodedJITConfig": render_jit_config(
                    runner, self._sets.forge.base_url, work_folder
                ),
            }
        )

    async def list_agents(self, request: Request) -> Response:
        """List runners of a name."""
        name = request.query_params.get("agentName", "")
        runners = self._sets.forge.list_runners(self._scope(request), name=name)
        found = [_render_agent(runner, None) for runner in runners]
        return _marked({"count": len(found), "value": found})

    async def delete_agent(self, request: Request) -> Response:
        """Take a registration away."""
        runner_id = request.path_params["runner_id"]
        try:
            self._sets.forge.delete_runner(self._scope(request), runner_id)
        except RefusedError as error:
            if error.status != 422:
                raise
            raise RefusedError(
                400, error.message, kind="JobStillRunningException"
            ) from None
        return Response(status_code=204)

    async def get_message(self, request: Request) -> Response:
        """Wait for something new; 202 says that nothing came."""
        session = self._session(request)
        last_id = _integer(request.query_params.get("lastMessageId", "0"))
        capacity = _integer(request.headers.get("x-scalesetmaxcapacity", ""))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONG_POLL_SECONDS
        while not await request.is_disconnected():
            message = self._sets.next_message(session, last_id, capacity)
            if message is not None:
                return _marked(_render_message(message))
            if loop.time() >= deadline:
                break
            await asyncio.sleep(POLL_STEP_SECONDS)
        return Response(status_code=202)

    async def delete_message(self, request: Request) -> Response:
        """Take note that a message was dealt with."""
        session = self._session(request)
        self._sets.delete_message(session, request.path_params["message_id"])
        return Response(status_code=204)

    # Shared

    def _scope(self, request: Request) -> Scope:
        if request.query_params.get("api-version") != API_VERSION:
            raise RefusedError(400, "The api-version is missing or unknown")
        scheme, token = read_authorization(request)
        if scheme != "bearer":
            raise RefusedError(401, "Requires authentication")
        return self._sets.get_scope(token)

    def _set(self, request: Request) -> ScaleSet:
        return self._sets.get(self._scope(request), request.path_params["set_id"])

    def _set_of_queue(self, request: Request) -> ScaleSet:
        """Return the scale set; jobs are acquired with the queue's token."""
        scheme, token = read_authorization(request)
        found = self._sets.find_by_token(token) if scheme == "bearer" else None
        if found is None or found.id != request.path_params["set_id"]:
            raise RefusedError(401, "The token has expired", kind="TokenExpired")
        return found

    def _session(self, request: Request) -> QueueSession:
        scheme, token = read_authorization(request)
        if scheme != "bearer":
            raise RefusedError(401, "Requires authentication")
        return self._sets.authorize(request.path_params["session_id"], token)

    def _render_set(self, found: ScaleSet) -> dict[str, Any]:
        return {
            "id": found.id,
            "name": found.name,
            "runnerGroupId": found.group_id,
            "labels": [{"name": label, "type": "System"} for label in found.labels],
            "RunnerSetting": {"disableUpdate": found.is_update_disabled},
            "createdOn": render_instant(found.created_at),
            "statistics": _render_statistics(self._sets.count(found.id)),
        }

    def _render_session(self, found: ScaleSet, session: QueueSession) -> dict[str, Any]:
        base = self._sets.forge.base_url
        return {
            "sessionId": session.id,
            "ownerName": session.owner,
            "runnerScaleSet": self._render_set(found),
            "messageQueueUrl": f"{base}{QUEUE}/{session.id}",
            "messageQueueAccessToken": session.token,
            "statistics": _render_statistics(self._sets.count(found.id)),
        }


def _render_message(message: Message) -> dict[str, Any]:
    notes = [
        {
            "messageType": note.kind,
            "runnerRequestId": note.job.id,
            "repositoryName": note.job.repository.partition("/")[2],
            "ownerName": note.job.repository.partition("/")[0],
            "jobId": str(note.job.id),
            "workflowRunId": note.job.run_id,
            "jobDisplayName": note.job.name,
            "requestLabels": list(note.job.labels),
            "runnerId": note.job.runner_id or 0,
            "runnerName": note.job.runner_name or "",
            "result": str(note.job.conclusion or ""),
        }
        for note in message.notes
    ]
    return {
        "messageId": message.id,
        "messageType": "RunnerScaleSetJobMessages",
        "body": json.dumps(notes),
        "statistics": _render_statistics(message.statistics),
    }


def _render_statistics(counts: Statistics) -> dict[str, int]:
    return {
        "totalAvailableJobs": counts.available,
        "totalAcquiredJobs": counts.acquired,
        "totalAssignedJobs": counts.assigned,
        "totalRunningJobs": counts.running,
        "totalRegisteredRunners": counts.registered,
        "totalBusyRunners": counts.busy,
        "totalIdleRunners": counts.idle,
    }


def _render_group(group: RunnerGroup) -> dict[str, Any]:
    return {"id": group.id, "name": group.name, "isDefaultGroup": group.is_default}


def _render_agent(runner: Runner, set_id: int | None) -> dict[str, Any]:
    return {"id": runner.id, "name": runner.name, "runnerScaleSetId": set_id}


def _marked(body: Mapping[str, Any], status: int = 200) -> Response:
    encoded = MARK + json.dumps(body).encode()
    return Response(encoded, status, media_type="application/json; charset=utf-8")


def _integer(written: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", written):
        raise RefusedError(400, "A number is missing or is none")
    return int(written)
