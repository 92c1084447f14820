"""The REST v2 face: everything below /v2.

It turns requests into operations of the service, and refusals into problems of
RFC 9457. It decides nothing about pods.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_sim.gate import (
    JSON,
    Gate,
    KeyRule,
    blocked,
    find_key,
    is_blocked,
    render_json,
)
from runpod_sim.model import Account, DeclinedError, LogLine, Pod
from runpod_sim.quota import Quota
from runpod_sim.rest_body import (
    Problem,
    check,
    parse_create,
    parse_json,
    parse_update,
)
from runpod_sim.rest_view import (
    ACTIONS,
    render_cpu_flavor,
    render_data_center,
    render_gpu_type,
    render_pod,
)
from runpod_sim.runtime import live_status
from runpod_sim.service import NullResult, Service

PROBLEM = "application/problem+json"
LOG_POLL_SECONDS = 0.1
LOG_TAIL = 100
LOG_TAIL_MOST = 5000


@dataclass(frozen=True)
class Call:
    """One request on behalf of one account."""

    request: Request
    account: Account
    names: tuple[str, ...]

    @property
    def pod_id(self) -> str:
        """Return the pod the path names."""
        return str(self.request.path_params["id"])

    def listed(self, name: str) -> set[str]:
        """Return the entries of a comma separated query parameter."""
        text = self.request.query_params.get(name, "")
        return {part for part in text.split(",") if part}


Handler = Callable[[Call], Awaitable[Response]]


def answer_json(value: Any, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(render_json(value), status, media_type=JSON)


def problem_answer(
    status: int, detail: str, headers: dict[str, str], errors: tuple[str, ...] = ()
) -> Response:
    """Return a refusal in the form of RFC 9457."""
    body: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return Response(render_json(body), status, headers, PROBLEM)


class RestFace:
    """Answers everything below /v2."""

    def __init__(self, service: Service, keys: KeyRule) -> None:
        self._service = service
        self._keys = keys
        self._quota = Quota()
        self._gate = Gate(service.faults, problem_answer)

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the server's root."""
        # Path, then method, operation id, the verb a fault may name, handler.
        table: tuple[tuple[str, str, str, str, Handler], ...] = (
            ("/v2/pods", "GET", "listPods", "list", self.list_pods),
            ("/v2/pods", "POST", "createPod", "deploy", self.create_pod),
            ("/v2/pods/{id}", "GET", "getPod", "get", self.get_pod),
            ("/v2/pods/{id}", "PATCH", "updatePod", "edit", self.update_pod),
            ("/v2/pods/{id}", "DELETE", "deletePod", "terminate", self.delete_pod),
            ("/v2/pods/{id}/logs", "GET", "getPodLogs", "logs", self.follow_log),
            ("/v2/pods/{id}/action", "POST", "podAction", "", self.act),
            ("/v2/account/ssh-keys", "GET", "getSshKeys", "account", self.get_keys),
            ("/v2/account/ssh-keys", "PUT", "updateSshKeys", "account", self.put_keys),
            ("/v2/catalog/gpus", "GET", "listGpuTypes", "catalog", self.list_gpus),
            ("/v2/catalog/gpus/{id:path}", "GET", "getGpuType", "catalog", self.gpu),
            ("/v2/catalog/cpus", "GET", "listCpuTypes", "catalog", self.list_cpus),
            (
                "/v2/catalog/datacenters",
                "GET",
                "listDataCenters",
                "catalog",
                self.list_data_centers,
            ),
        )
        served: list[BaseRoute] = [
            Route(path, self._endpoint(handler, (name, verb)), methods=[method])
            for path, method, name, verb, handler in table
        ]
        return [*served, Route("/v2/{rest:path}", self._unknown)]

    async def _unknown(self, request: Request) -> Response:
        return problem_answer(404, f"no such path {request.url.path}", {})

    def _endpoint(
        self, handler: Handler, names: tuple[str, ...]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if is_blocked(request):
                return blocked()
            key = find_key(request, in_query=False)
            if key is None:
                return problem_answer(401, "missing bearer token", {})
            if not self._keys.accepts(key):
                return problem_answer(401, "invalid API key", {})
            account = self._service.open_account(key)
            body = await request.body()
            call = Call(request, account, (*names, *self._verb(names, body)))
            response = await self._gate.pass_through(
                request, call.names, lambda: self._perform(handler, call)
            )
            response.headers.update(self._quota.count(key, self._service.clock.now()))
            return response

        return endpoint

    def _verb(self, names: tuple[str, ...], body: bytes) -> tuple[str, ...]:
        """Return the verb of an action, which only its body tells."""
        if names[0] != "podAction":
            return ()
        try:
            action = json.loads(body)["action"]
        except (ValueError, TypeError, KeyError):
            return ()
        return ("resume" if action == "start" else str(action),)

    async def _perform(self, handler: Handler, call: Call) -> Response:
        try:
            return await handler(call)
        except Problem as problem:
            return problem_answer(problem.status, problem.detail, {}, problem.errors)
        except DeclinedError as declined:
            refusal = declined.refusal
            return problem_answer(refusal.http_status, refusal.message, {})
        except NullResult:
            return problem_answer(500, "create pod: no result", {})

    # Pods -----------------------------------------------------------------------

    def _render(self, pod: Pod) -> dict[str, Any]:
        return render_pod(self._service, pod, self._service.now())

    def _require(self, call: Call) -> Pod:
        self._service.now()
        pod = self._service.world.find_pod(call.account.id, call.pod_id)
        if pod is None:
            raise Problem(404, "pod not found")
        return pod

    async def list_pods(self, call: Call) -> Response:
        """List the account's pods."""
        self._service.now()
        pods = self._service.world.pods_of(call.account.id)
        return answer_json({"pods": [self._render(pod) for pod in pods]})

    async def create_pod(self, call: Call) -> Response:
        """Rent a pod."""
        body = parse_json(await call.request.body())
        spec = parse_create(body, self._service.world.catalog)
        pod = self._service.deploy(call.account, spec, call.names)
        return answer_json(self._render(pod), 201)

    async def get_pod(self, call: Call) -> Response:
        """Show a pod."""
        return answer_json(self._render(self._require(call)))

    async def update_pod(self, call: Call) -> Response:
        """Change a pod; only what the container needs restarts it."""
        pod = self._require(call)
        given = check("UpdatePodRequest", parse_json(await call.request.body()))
        if "locked" in given:
            pod = self._service.lock(call.account, pod.id, locked=given["locked"])
        name = given.get("name", pod.spec.name)
        spec = replace(parse_update(given, pod.spec), name=name)
        if set(given) - {"locked", "globalNetworking"}:
            # rule SIM-REST-5
            pod = self._service.edit(call.account, pod.id, spec, call.names)
        return answer_json(self._render(pod))

    async def delete_pod(self, call: Call) -> Response:
        """Delete a pod."""
        self._service.terminate(call.account, self._require(call).id)
        return Response(status_code=204)

    async def act(self, call: Call) -> Response:
        """Start, stop, restart or delete a pod."""
        pod = self._require(call)
        body = check("PodActionRequest", parse_json(await call.request.body()))
        action = body["action"]
        status = live_status(pod, self._service.now())
        if action not in ACTIONS[status]:
            detail = f"cannot {action} a pod that is {status.value}"
            raise Problem(409, detail)
        if action == "terminate":
            self._service.terminate(call.account, pod.id)
            return Response(status_code=204)
        if action == "stop":
            pod = self._service.stop(call.account, pod.id)
        elif action == "start":
            bid = pod.spec.bid_usd_per_hour
            pod = self._service.resume(
                call.account, pod.id, call.names, bid_usd_per_hour=bid
            )
        else:
            pod = self._service.restart(call.account, pod.id, call.names)
        return answer_json(self._render(pod))

    # Logs -----------------------------------------------------------------------

    async def follow_log(self, call: Call) -> Response:
        """Stream a pod's log as server-sent events."""
        pod = self._require(call)
        source = call.request.query_params.get("source")
        if source not in {None, "container", "system"}:
            raise Problem(422, "source is container or system")
        lines = self._first_lines(call, self._log(pod.id, source))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        stream = self._stream_log(pod.id, source, lines)
        return StreamingResponse(stream, 200, headers, "text/event-stream")

    def _log(self, pod_id: str, source: str | None) -> list[LogLine]:
        lines = self._service.world.log_of(pod_id)
        return [line for line in lines if source in {None, line.source}]

    def _first_lines(self, call: Call, lines: list[LogLine]) -> list[LogLine]:
        resume = call.request.headers.get("last-event-id")
        since = resume or call.request.query_params.get("since")
        if since:
            try:
                since_at = datetime.fromisoformat(since)
            except ValueError as error:
                raise Problem(422, f"{since} is no RFC 3339 instant") from error
            if since_at.tzinfo is None:
                raise Problem(422, f"{since} names no time zone")
            return [line for line in lines if line.at > since_at]
        text = call.request.query_params.get("tail", str(LOG_TAIL))
        if not text.isdigit() or int(text) > LOG_TAIL_MOST:
            raise Problem(422, f"tail is a number from 0 to {LOG_TAIL_MOST}")
        return lines[len(lines) - min(len(lines), int(text)) :]

    async def _stream_log(
        self, pod_id: str, source: str | None, first: list[LogLine]
    ) -> AsyncIterator[str]:
        everything = self._log(pod_id, source)
        last_at = everything[-1].at if everything else None
        for line in first:
            yield render_event(line)
        while self._service.world.get_pod(pod_id).terminated_at is None:
            await asyncio.sleep(LOG_POLL_SECONDS)
            for line in self._log(pod_id, source):
                if last_at is None or line.at > last_at:
                    last_at = line.at
                    yield render_event(line)

    # Account and catalog ----------------------------------------------------------

    async def get_keys(self, call: Call) -> Response:
        """Show the account's public keys."""
        account = self._service.world.get_account(call.account.id)
        lines = [line.strip() for line in account.pub_key.splitlines()]
        return answer_json({"keys": [line for line in lines if line]})

    async def put_keys(self, call: Call) -> Response:
        """Replace the account's public keys."""
        body = parse_json(await call.request.body())
        keys = check("UpdateSshKeysRequest", body)["keys"]
        self._service.world.set_pub_key(call.account.id, "\n\n".join(keys))
        return await self.get_keys(call)

    def _availability_count(self, call: Call) -> int:
        if "AVAILABILITY" not in call.listed("include"):
            if call.listed("product"):
                raise Problem(400, "product is valid only with include=AVAILABILITY")
            return 0
        if not call.listed("product"):
            raise Problem(400, "product is required with include=AVAILABILITY")
        text = call.request.query_params.get("count", "1")
        if not text.isdigit() or int(text) < 1:
            raise Problem(422, "count is a whole number, 1 or more")
        return int(text)

    async def list_gpus(self, call: Call) -> Response:
        """List the GPU types."""
        self._service.now()
        count = self._availability_count(call)
        cloud = call.request.query_params.get("cloud")
        rows = [
            render_gpu_type(self._service, gpu_type, count=count, cloud=cloud)
            for gpu_type in self._service.world.catalog.gpu_types
        ]
        return answer_json({"gpus": rows})

    async def gpu(self, call: Call) -> Response:
        """Show a GPU type."""
        self._service.now()
        gpu_type = self._service.world.catalog.find_gpu_type(call.pod_id)
        if gpu_type is None:
            raise Problem(404, "GPU type not found")
        cloud = call.request.query_params.get("cloud")
        count = self._availability_count(call)
        return answer_json(
            render_gpu_type(self._service, gpu_type, count=count, cloud=cloud)
        )

    async def list_cpus(self, call: Call) -> Response:
        """List the CPU flavors."""
        wanted = bool(self._availability_count(call))
        rows = [
            render_cpu_flavor(flavor, with_availability=wanted)
            for flavor in self._service.world.catalog.cpu_flavors
        ]
        return answer_json({"cpus": rows})

    async def list_data_centers(self, call: Call) -> Response:
        """List the data centers."""
        self._service.now()
        regions = call.listed("regions")
        rows = [
            render_data_center(self._service, center, call.listed("include"))
            for center in self._service.world.catalog.data_centers
            if not regions or center.region in regions
        ]
        return answer_json({"dataCenters": rows})


def render_event(line: LogLine) -> str:
    """Return a log line as a server-sent event."""
    instant = line.at.isoformat().replace("+00:00", "Z")
    data = json.dumps({"source": line.source, "line": line.line, "ts": instant})
    return f"id: {instant}\ndata: {data}\n\n"
