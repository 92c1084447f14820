"""The REST v2 face: everything below /v2.

It turns requests into operations of the service, and refusals into problems of
RFC 9457. It decides nothing about pods.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_sim.gate import Gate, KeyBook, blocked, find_key, is_blocked
from runpod_sim.model import DeclinedError, LogLine, Pod, Template
from runpod_sim.quota import Quota, Verdict
from runpod_sim.rest_billing import RestBilling
from runpod_sim.rest_body import Problem, check, parse_create, parse_update
from runpod_sim.rest_call import Call, Handler, Row, answer_json, problem_answer
from runpod_sim.rest_catalog import RestCatalog
from runpod_sim.rest_storage import RestStorage
from runpod_sim.rest_view import ACTIONS, render_pod
from runpod_sim.runtime import live_status
from runpod_sim.service import NullResult, Service

WIRE = "rest"
LOG_POLL_SECONDS = 0.1
LOG_TAIL = 100
LOG_TAIL_MOST = 5000


class RestFace:
    """Answers everything below /v2."""

    def __init__(self, service: Service, keys: KeyBook, quota: Quota) -> None:
        self._service = service
        self._keys = keys
        self._quota = quota
        self._gate = Gate(service.faults, problem_answer)

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the server's root."""
        pods, pod = "/v2/pods", "/v2/pods/{id}"
        keys, verb = "/v2/account/ssh-keys", "account"
        own: tuple[Row, ...] = (
            (pods, "GET", "listPods", "list", self.list_pods),
            (pods, "POST", "createPod", "deploy", self.create_pod),
            (pod, "GET", "getPod", "get", self.get_pod),
            (pod, "PATCH", "updatePod", "edit", self.update_pod),
            (pod, "DELETE", "deletePod", "terminate", self.delete_pod),
            (f"{pod}/logs", "GET", "getPodLogs", "logs", self.follow_log),
            (f"{pod}/action", "POST", "podAction", "", self.act),
            (keys, "GET", "getSshKeys", verb, self.get_keys),
            (keys, "PUT", "updateSshKeys", verb, self.put_keys),
        )
        others = (RestCatalog, RestStorage, RestBilling)
        rows = (*own, *(row for part in others for row in part(self._service).rows()))
        served: list[BaseRoute] = [
            Route(path, self._endpoint(handler, (name, verb)), methods=[method])
            for path, method, name, verb, handler in rows
        ]
        return [*served, Route("/v2/{rest:path}", self._unknown)]

    async def _unknown(self, request: Request) -> Response:
        return problem_answer(404, f"no such path {request.url.path}", {})

    def _endpoint(
        self, handler: Handler, names: tuple[str, ...]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            turned_away = self._turn_away(request)
            if turned_away is not None:
                return turned_away
            key = find_key(request, in_query=False) or ""
            verdict = self._quota.count(key, self._service.clock.now())
            if verdict.exceeded is not None:
                return over_quota(verdict)
            account = self._service.open_account(key)
            body = await request.body()
            call = Call(request, account, (WIRE, *names, *self._verb(names, body)))
            response = await self._gate.pass_through(
                request, call.names, lambda: self._perform(handler, call)
            )
            for name, value in verdict.headers.items():
                response.headers.setdefault(name, value)
            return response

        return endpoint

    def _turn_away(self, request: Request) -> Response | None:
        """Return the answer to a request that has no business here, None if it has."""
        if is_blocked(request):
            return blocked()
        retired = self._gate.retired(WIRE)
        if retired is not None:
            return retired
        key = find_key(request, in_query=False)
        if key is None:
            return problem_answer(401, "missing bearer token", {})
        if not self._keys.accepts(key):
            return problem_answer(401, "invalid API key", {})
        if not self._keys.may_use(key, WIRE):
            return problem_answer(403, "API key has no right to this", {})
        return None

    def _verb(self, names: tuple[str, ...], body: bytes) -> tuple[str, ...]:
        """Return the verb of an action, which only its body tells."""
        if "podAction" not in names:
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
        pod = self._service.world.find_pod(call.account.id, call.subject_id)
        if pod is None:
            raise Problem(404, "pod not found")
        return pod

    async def list_pods(self, call: Call) -> Response:
        """List the account's pods."""
        now = self._service.now()
        pods = self._service.world.pods_of(call.account.id)
        shown = [render_pod(self._service, pod, now) for pod in pods]
        return answer_json({"pods": shown})

    def _find_template(self, call: Call) -> Callable[[str], Template]:
        templates = self._service.world.templates
        return lambda template_id: templates.get(call.account.id, template_id)

    async def create_pod(self, call: Call) -> Response:
        """Rent a pod."""
        body = await call.body()
        find = self._find_template(call)
        spec = parse_create(body, self._service.world.catalog, find)
        pod = self._service.deploy(call.account, spec, call.names)
        return answer_json(self._render(pod), 201)

    async def get_pod(self, call: Call) -> Response:
        """Show a pod."""
        return answer_json(self._render(self._require(call)))

    async def update_pod(self, call: Call) -> Response:
        """Change a pod; only what the container needs restarts it."""
        pod = self._require(call)
        given = check("UpdatePodRequest", await call.body())
        if "locked" in given:
            pod = self._service.lock(call.account, pod.id, locked=given["locked"])
        spec = parse_update(given, pod.spec, self._find_template(call))
        if set(given) - {"locked", "globalNetworking", "name"}:
            # rule SIM-REST-5
            pod = self._service.edit(call.account, pod.id, spec, call.names)
        elif "name" in given:
            # rule SIM-REST-6
            pod = self._service.rename(call.account, pod.id, spec.name)
        return answer_json(self._render(pod))

    async def delete_pod(self, call: Call) -> Response:
        """Delete a pod."""
        self._service.terminate(call.account, self._require(call).id)
        return Response(status_code=204)

    async def act(self, call: Call) -> Response:
        """Start, stop, restart or delete a pod."""
        pod = self._require(call)
        body = check("PodActionRequest", await call.body())
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
        body = await call.body()
        keys = check("UpdateSshKeysRequest", body)["keys"]
        self._service.world.set_pub_key(call.account.id, "\n\n".join(keys))
        return await self.get_keys(call)


def over_quota(verdict: Verdict) -> Response:
    """Return the refusal of a request beyond the quota."""
    headers = {**verdict.headers, "Retry-After": str(verdict.retry_after_seconds)}
    detail = f"rate limit exceeded for the {verdict.exceeded} window"
    return problem_answer(429, detail, headers)


def render_event(line: LogLine) -> str:
    """Return a log line as a server-sent event."""
    instant = line.at.isoformat().replace("+00:00", "Z")
    data = json.dumps({"source": line.source, "line": line.line, "ts": instant})
    return f"id: {instant}\ndata: {data}\n\n"
