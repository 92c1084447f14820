"""What a runner speaks to the simulated GitHub, as far as its sources show it.

Registration with `RemoteAuth`, the token exchange, the broker's session and messages
and the run service that hands out a job and takes its log and end. It must not decide
anything: rules are the forge's.

One known departure: a real runner proves who it is with a JSON web token signed by an
RSA key whose public half it registered. Here both sides share one secret and the token
is signed with HMAC-SHA256, since the stand-in runs on Python's standard library alone.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_sim.forge import Forge
from runpod_sim.forge_model import Conclusion, RefusedError, Runner, Scope
from runpod_sim.github_call import (
    Desk,
    check_preliminaries,
    error_body,
    read_authorization,
    refuse_by_fault,
)
from runpod_sim.github_wire import parse_runner_url, render_group
from runpod_sim.scale_sets import ScaleSets

# GitHub holds a poll for about 50 s. Here a server that is told to stop must not have
# to cut off those who wait.
LONG_POLL_SECONDS = 1.0
POLL_STEP_SECONDS = 0.05
CLOCK_SKEW_SECONDS = 300
CONCLUSIONS = {
    "succeeded": Conclusion.SUCCESS,
    "failed": Conclusion.FAILURE,
    "canceled": Conclusion.CANCELLED,
}

Handler = Callable[[Request], Awaitable[Response]]


def broker_routes(desk: Desk, sets: ScaleSets) -> list[BaseRoute]:
    """Return the routes that only runners use."""
    broker = Broker(desk.forge, sets)
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/api/v3/actions/runner-registration", broker.begin_registration),
        ("POST", "/api/v3/actions/runners/register", broker.register),
        (
            "GET",
            "/api/v3/repos/{owner}/{repo}/actions/runner-groups",
            broker.list_repository_groups,
        ),
        ("POST", "/_services/token", broker.exchange_token),
        ("POST", "/_services/broker/session", broker.create_session),
        ("DELETE", "/_services/broker/session", broker.delete_session),
        ("GET", "/_services/broker/message", broker.get_message),
        ("POST", "/_services/run/acquirejob", broker.acquire_job),
        ("POST", "/_services/run/renewjob", broker.renew_job),
        ("POST", "/_services/run/log", broker.append_log),
        ("POST", "/_services/run/completejob", broker.complete_job),
    ]
    return [
        Route(path, guarded(desk, handler), methods=[method])
        for method, path, handler in table
    ]


def guarded(desk: Desk, handler: Handler) -> Handler:
    """Wrap a handler with the checks, faults, refusals and headers of every answer."""
    name = getattr(handler, "__name__", "")

    async def answer(request: Request) -> Response:
        try:
            refuse_by_fault(desk.take_fault(name))
            check_preliminaries(request)
            response = await handler(request)
        except RefusedError as error:
            response = JSONResponse(error_body(error), error.status)
        for key, value in desk.headers("").items():
            response.headers.setdefault(key, value)
        return response

    return answer


class Broker:
    """Answers the runners of one forge."""

    def __init__(self, forge: Forge, sets: ScaleSets) -> None:
        self.forge = forge
        self._sets = sets

    # Registration

    async def begin_registration(self, request: Request) -> Response:
        """Check a runner token against the URL a runner is configured for."""
        body = await read_json(request)
        scope = parse_runner_url(text(body, "url"))
        token = self._remote_token(request, scope)
        if text(body, "runner_event") != self.forge.get_runner_token(token).purpose:
            raise RefusedError(404, "Not Found")
        return JSONResponse(
            {
                "url": f"{self.forge.base_url}/_services/pipelines/",
                "token": self._sets.create_admin_token(scope),
                "token_schema": "RemoteAuth",
                "use_v2_flow": True,
            }
        )

    async def list_repository_groups(self, request: Request) -> Response:
        """List the one group a repository's runners are in."""
        path = request.path_params
        scope = parse_runner_url(f"/{path['owner']}/{path['repo']}")
        self._remote_token(request, scope)
        groups = [render_group(self.forge, x) for x in self.forge.list_groups(scope)]
        return JSONResponse({"total_count": len(groups), "runner_groups": groups})

    async def register(self, request: Request) -> Response:
        """Register a runner that brings its own credentials' secret."""
        body = await read_json(request)
        token = self._remote_token(request, parse_runner_url(text(body, "url")))
        runner = self.forge.register_runner(
            token,
            text(body, "name"),
            group_id=int(body.get("group_id", 1)),
            labels=[text(label, "name") for label in body.get("labels", [])],
            key=text(body, "public_key"),
            version=text(body, "version"),
            is_ephemeral=body.get("ephemeral") is True,
            replaced_id=body.get("runner_id") if body.get("replace") else None,
        )
        base = self.forge.base_url
        return JSONResponse(
            {
                "id": runner.id,
                "name": runner.name,
                "authorization": {
                    "authorization_url": f"{base}/_services/token",
                    "server_url": f"{base}/_services/broker/",
                    "client_id": runner.client_id,
                },
            }
        )

    def _remote_token(self, request: Request, scope: Scope) -> str:
        scheme, token = read_authorization(request)
        if scheme != "remoteauth" or not token:
            raise RefusedError(401, "Requires authentication")
        if self.forge.get_runner_token(token).scope != scope:
            raise RefusedError(404, "Not Found")
        return token

    # Sessions and messages

    async def exchange_token(self, request: Request) -> Response:
        """Give an access token for a signed assertion of a runner's credentials."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        assertion = form.get("client_assertion", [""])[0]
        runner = self._asserted_runner(assertion)
        return JSONResponse(
            {
                "access_token": self.forge.create_access_token(runner),
                "token_type": "bearer",
                "expires_in": 3600,
            }
        )

    def _asserted_runner(self, assertion: str) -> Runner:
        claims = read_claims(assertion)
        runner = self.forge.find_client(str(claims.get("sub")))
        if runner is None:
            raise RefusedError(404, "Runner not found", kind="RunnerNotFound")
        signed, _, signature = assertion.rpartition(".")
        expected = hmac.new(runner.key.encode(), signed.encode(), hashlib.sha256)
        if not hmac.compare_digest(signature, unpadded(expected.digest())):
            raise RefusedError(401, "The assertion's signature does not fit")
        # Real time, not the forge's: a pod's clock does not follow a wound one.
        skew = abs(int(claims.get("iat", 0)) - datetime.now(UTC).timestamp())
        if skew > CLOCK_SKEW_SECONDS:
            raise RefusedError(400, "The assertion is not valid at this time")
        return runner

    async def create_session(self, request: Request) -> Response:
        """Let a listener take hold of its runner."""
        runner = self._runner(request)
        body = await read_json(request)
        agent = body.get("agent", {})
        session = self.forge.create_session(
            runner,
            text(body, "ownerName"),
            version=text(agent, "version"),
            os=str(agent.get("os", "Linux")),
            architecture=str(agent.get("architecture", "")),
        )
        return JSONResponse({"sessionId": session.id, "ownerName": session.owner})

    async def delete_session(self, request: Request) -> Response:
        """Let a listener go."""
        runner = self._runner(request)
        self.forge.delete_session(runner, request.query_params.get("sessionId", ""))
        return Response(status_code=204)

    async def get_message(self, request: Request) -> Response:
        """Wait for a job that fits; 202 says that none came."""
        session_id = request.query_params.get("sessionId", "")
        self.forge.open_poll(self._runner(request), session_id)

        def look() -> dict[str, Any] | None:
            # Each look, since the registration may be deleted while one waits.
            job = self.forge.offer_job(self._runner(request))
            if job is None:
                return None
            body = {"jobId": job.id, "runServiceUrl": self._url("run")}
            return {"messageType": "RunnerJobRequest", "body": json.dumps(body)}

        try:
            message = await self._wait(request, look)
        finally:
            self.forge.close_poll(session_id)
        if message is None:
            return Response(status_code=202)
        return JSONResponse(message)

    # Jobs

    async def acquire_job(self, request: Request) -> Response:
        """Start an offered job and hand out all that its worker needs."""
        runner = self._runner(request)
        job = self.forge.acquire_job(runner, await self._job_id(request))
        repository = job.repository
        return JSONResponse(
            {
                "jobId": job.id,
                "jobDisplayName": job.name,
                "script": job.script,
                "variables": {
                    "GITHUB_REPOSITORY": repository,
                    "GITHUB_REPOSITORY_OWNER": repository.partition("/")[0],
                    "GITHUB_RUN_ID": str(job.run_id),
                    "GITHUB_RUN_ATTEMPT": str(job.run_attempt),
                    "GITHUB_JOB": job.name,
                    "GITHUB_WORKFLOW": "simulated",
                    "GITHUB_EVENT_NAME": "push",
                    "GITHUB_REF": "refs/heads/main",
                    "GITHUB_REF_NAME": "main",
                    "GITHUB_ACTOR": repository.partition("/")[0],
                    "GITHUB_SERVER_URL": self.forge.base_url,
                    "GITHUB_API_URL": f"{self.forge.base_url}/api/v3",
                },
            }
        )

    async def renew_job(self, request: Request) -> Response:
        """Renew a job's lock and wait for an order to cancel it."""
        runner = self._runner(request)
        job = self.forge.get_running_job(runner, await self._job_id(request))
        if self.forge.jobs[job.id].is_cancel_requested:
            return JSONResponse({"cancel": True})
        self.forge.open_renewal(job)

        def look() -> bool:
            current = self.forge.get_running_job(self._runner(request), job.id)
            return current.is_cancel_requested

        try:
            cancelled = await self._wait(request, look)
        finally:
            self.forge.close_renewal(job.id)
        return JSONResponse({"cancel": bool(cancelled)})

    async def append_log(self, request: Request) -> Response:
        """Take what the job has printed since the last call."""
        body = await read_json(request)
        job = self.forge.get_running_job(self._runner(request), number(body, "jobId"))
        self.forge.append_log(job, str(body.get("text", "")))
        return Response(status_code=204)

    async def complete_job(self, request: Request) -> Response:
        """Take the worker's word for how the job ended."""
        body = await read_json(request)
        job = self.forge.get_running_job(self._runner(request), number(body, "jobId"))
        conclusion = CONCLUSIONS.get(text(body, "conclusion").lower())
        if conclusion is None:
            raise RefusedError(422, "The conclusion is not one a job can have")
        self.forge.complete_job(job, conclusion)
        return Response(status_code=204)

    # Shared

    def _runner(self, request: Request) -> Runner:
        scheme, token = read_authorization(request)
        if scheme != "bearer":
            raise RefusedError(401, "Requires authentication")
        return self.forge.get_authorized_runner(token)

    def _url(self, service: str) -> str:
        return f"{self.forge.base_url}/_services/{service}/"

    @staticmethod
    async def _job_id(request: Request) -> int:
        return number(await read_json(request), "jobId")

    @staticmethod
    async def _wait(request: Request, look: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONG_POLL_SECONDS
        while True:
            # A job must not be offered to a listener that has hung up.
            if await request.is_disconnected():
                return None
            found = look()
            if found or loop.time() >= deadline:
                return found
            await asyncio.sleep(POLL_STEP_SECONDS)


async def read_json(request: Request) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        RefusedError: 400: the body is none.
    """
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise RefusedError(400, "Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "Body should be a JSON object")
    return body


def text(body: Mapping[str, Any], key: str) -> str:
    """Return a member that must be a non-empty string."""
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise RefusedError(422, f"{key!r} must be a string")
    return value


def number(body: Mapping[str, Any], key: str) -> int:
    """Return a member that must be an integer."""
    value = body.get(key)
    if not isinstance(value, int):
        raise RefusedError(422, f"{key!r} must be an integer")
    return value


def read_claims(assertion: str) -> Mapping[str, Any]:
    """Read a JSON web token's claims, unverified.

    Raises:
        RefusedError: 401: it is none.
    """
    try:
        _, payload, _ = assertion.split(".")
        padding = "=" * (-len(payload) % 4)
        claims = json.loads(base64.urlsafe_b64decode(payload + padding))
    except (ValueError, binascii.Error):
        raise RefusedError(401, "The assertion is no JSON web token") from None
    if not isinstance(claims, dict):
        raise RefusedError(401, "The assertion is no JSON web token")
    return claims


def unpadded(raw: bytes) -> str:
    """Encode bytes as JSON web tokens do."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
