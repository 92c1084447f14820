"""What every answer of the simulated GitHub API has in common.

Headers, authentication, versions, rate limits, conditional requests, injected faults
and the shapes of errors. It must not know what any single operation does.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from runpod_sim.forge import Forge
from runpod_sim.forge_model import RefusedError, Scope, ScopeKind
from runpod_sim.github_authority import Credentials, Need
from runpod_sim.github_hooks import Hooks
from runpod_sim.github_penalties import SecondaryLimits
from runpod_sim.github_schema import request_problems
from runpod_sim.github_wire import parse_page, render_links

API_VERSION = "2022-11-28"
DOCUMENTATION_URL = "https://docs.github.com/rest"
LIMIT_PER_HOUR = 5000
ANONYMOUS_LIMIT_PER_HOUR = 60
Item = TypeVar("Item")
REPOSITORY = "/repos/{owner}/{repo}"
ORGANIZATION = "/orgs/{org}"
ENTERPRISE = "/enterprises/{enterprise}"
NOWHERE = Scope(ScopeKind.REPOSITORY, "")


class FaultKind(StrEnum):
    """The troubles that can be ordered for a call."""

    ERROR_500 = "error_500"
    RATE_LIMITED_PRIMARY = "rate_limited_primary"
    RATE_LIMITED_SECONDARY = "rate_limited_secondary"
    LOST_ANSWER = "lost_answer"
    TRUNCATED = "truncated"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Fault:
    """Trouble ordered for the next `times` calls of an operation; `*` is any.

    Args:
        wait_seconds: For the rate limits: when the caller may come back.
    """

    operation: str
    kind: FaultKind
    times: int
    wait_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """An operation's result; a body of None is sent as no body."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read: what an operation gets to see."""

    forge: Forge
    hooks: Hooks
    url: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    scheme: str
    credential: str
    credentials: Credentials

    @property
    def scope(self) -> Scope:
        """The repository, organization or enterprise in the path."""
        if "org" in self.path:
            return Scope(ScopeKind.ORGANIZATION, self.path["org"])
        if "enterprise" in self.path:
            return Scope(ScopeKind.ENTERPRISE, self.path["enterprise"])
        return Scope(ScopeKind.REPOSITORY, self.repository)

    @property
    def repository(self) -> str:
        """The `owner/name` in the path."""
        return f"{self.path['owner']}/{self.path['repo']}"

    def number(self, name: str) -> int:
        """Return the id in the path; what is no number names nothing.

        Raises:
            RefusedError: 404.
        """
        if not self.path[name].isascii() or not self.path[name].isdigit():
            raise RefusedError(404, "Not Found")
        return int(self.path[name])


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path, what it needs, and what carries it out."""

    name: str
    method: str
    path: str
    need: Need
    perform: Callable[[Call], Answer]
    accepts_remote_auth: bool = False


@dataclass(slots=True)
class Allowance:
    """How many calls a credential has made in the current hour."""

    limit: int
    reset_at: datetime
    used: int = 0

    def require(self) -> None:
        """Refuse a call beyond the limit."""
        if self.used > self.limit:
            raise RefusedError(403, "API rate limit exceeded for this credential.")


def list_page(
    call: Call,
    key: str,
    items: Sequence[Item],
    render: Callable[[Forge, Item], dict[str, Any]],
) -> Answer:
    """Answer one page of a list, with the links to the others."""
    query = dict(call.query)
    page, size = parse_page(query)
    shown = items[(page - 1) * size : page * size]
    rendered = [render(call.forge, item) for item in shown]
    body = {"total_count": len(items), key: rendered}
    return Answer(200, body, render_links(call.url, query, len(items)))


class Desk:
    """Receives the calls of one served forge and hands out the answers."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self.hooks = Hooks(forge)
        self.credentials = Credentials(forge)
        self.limits = SecondaryLimits(forge.clock)
        self.faults: list[Fault] = []
        self.served = 0
        self._allowances: dict[str, Allowance] = {}

    # Faults

    def take_fault(self, operation: str) -> Fault | None:
        """Use up one ordered fault of the operation, if there is any."""
        for index, fault in enumerate(self.faults):
            if fault.operation in {"*", operation}:
                if fault.times > 1:
                    self.faults[index] = replace(fault, times=fault.times - 1)
                else:
                    del self.faults[index]
                return fault
        return None

    # Rate limits

    def allowance(self, credential: str) -> Allowance:
        """Return the credential's allowance, fresh when its hour is over."""
        now = self.forge.clock.now()
        current = self._allowances.get(credential)
        if current is None or current.reset_at <= now:
            limit = LIMIT_PER_HOUR if credential else ANONYMOUS_LIMIT_PER_HOUR
            current = Allowance(limit, now + timedelta(hours=1))
            self._allowances[credential] = current
        return current

    def headers(self, credential: str) -> dict[str, str]:
        """Return the headers that every answer carries, and note that it was given."""
        # Every call may have changed a job, if only by the time it came.
        self.hooks.flush()
        self.served += 1
        allowance = self.allowance(credential)
        used = min(allowance.used, allowance.limit)
        return {
            "x-github-request-id": f"51B0:{self.forge.seed:04X}:{self.served:08X}",
            "x-github-media-type": "github.v3; format=json",
            "x-github-api-version-selected": API_VERSION,
            "x-github-enterprise-version": "3.20.0",
            "x-ratelimit-limit": str(allowance.limit),
            "x-ratelimit-remaining": str(allowance.limit - used),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(int(allowance.reset_at.timestamp())),
            "x-ratelimit-resource": "core",
        }

    # Calls

    async def answer(self, operation: Operation, request: Request) -> Response:
        """Carry out a request from its first check to its last header."""
        scheme, credential = read_authorization(request)
        fault = self.take_fault(operation.name)
        allowance = self.allowance(credential)
        allowance.used += 1
        try:
            refuse_by_fault(fault)
            allowance.require()
            self.limits.check(credential, is_creation=request.method == "POST")
            check_preliminaries(request)
            call = Call(
                self.forge,
                self.hooks,
                str(request.url),
                request.path_params,
                request.query_params,
                await read_body(request, operation),
                scheme,
                credential,
                self.credentials,
            )
            check_authority(call, operation)
            found = operation.perform(call)
        except RefusedError as error:
            found = Answer(error.status, error_body(error), error.headers)
        return self._response(request, found, credential, fault)

    def _response(
        self,
        request: Request,
        answer: Answer,
        credential: str,
        fault: Fault | None,
    ) -> Response:
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        extra = dict(answer.headers)
        status = answer.status
        if request.method == "GET" and status == 200:
            extra["etag"] = f'W/"{hashlib.sha256(content).hexdigest()}"'
            extra["cache-control"] = "private, max-age=60, s-maxage=60"
            if request.headers.get("if-none-match") == extra["etag"]:
                status, content = 304, b""
                # GitHub does not count what has not changed.
                self.allowance(credential).used -= 1
        headers = self.headers(credential) | extra
        if fault is not None:
            headers |= self._fault_headers(fault, headers)
            if fault.kind in {FaultKind.LOST_ANSWER, FaultKind.TRUNCATED}:
                lost = fault.kind is FaultKind.LOST_ANSWER
                share = 0 if lost else len(content) // 2
                return BrokenResponse(content, share, status, headers)
        media = "application/json; charset=utf-8" if content else None
        return Response(content, status, headers, media)

    def _fault_headers(self, fault: Fault, headers: dict[str, str]) -> dict[str, str]:
        if fault.kind is FaultKind.RATE_LIMITED_SECONDARY:
            return {"retry-after": str(fault.wait_seconds)}
        if fault.kind is FaultKind.RATE_LIMITED_PRIMARY:
            reset = self.forge.clock.now().timestamp() + fault.wait_seconds
            return {
                "x-ratelimit-remaining": "0",
                "x-ratelimit-used": headers["x-ratelimit-limit"],
                "x-ratelimit-reset": str(math.ceil(reset)),
            }
        return {}


class BrokenResponse(Response):
    """An answer cut off on its way: it promises more bytes than it sends."""

    def __init__(
        self, content: bytes, sent_bytes: int, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(b"", status, headers, "application/json; charset=utf-8")
        self._sent = content[:sent_bytes]
        self.headers["content-length"] = str(max(len(content), 1))

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Send the head and the first bytes; the server then closes the connection."""
        del scope, receive
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send(
            {"type": "http.response.body", "body": self._sent, "more_body": True}
        )


def read_authorization(request: Request) -> tuple[str, str]:
    """Split the Authorization header into its scheme, in lower case, and the rest."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), credential.strip()


def check_preliminaries(request: Request) -> None:
    """Refuse what GitHub refuses before it looks at who is asking."""
    if not request.headers.get("user-agent"):
        raise RefusedError(
            403,
            "Request forbidden by administrative rules. "
            "Please make sure your request has a User-Agent header.",
        )
    version = request.headers.get("x-github-api-version", API_VERSION)
    if version != API_VERSION:
        # A GitHub Enterprise Server of this age does not know later versions.
        raise RefusedError(
            400, f"The API version {version!r} is not supported; use {API_VERSION}."
        )


def refuse_by_fault(fault: Fault | None) -> None:
    """Raise the refusal that an ordered fault stands for, if it stands for one."""
    refusals = {
        FaultKind.ERROR_500: (500, "Server Error"),
        FaultKind.RATE_LIMITED_PRIMARY: (403, "API rate limit exceeded for user."),
        FaultKind.RATE_LIMITED_SECONDARY: (
            403,
            "You have exceeded a secondary rate limit. Please wait and try again.",
        ),
        FaultKind.UNAUTHORIZED: (401, "Bad credentials"),
        FaultKind.FORBIDDEN: (403, "Resource not accessible by personal access token"),
        FaultKind.NOT_FOUND: (404, "Not Found"),
    }
    if fault is not None and fault.kind in refusals:
        raise RefusedError(*refusals[fault.kind])


async def read_body(request: Request, operation: Operation) -> Mapping[str, Any]:
    """Read the request's JSON and hold it against the operation's schema."""
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise RefusedError(400, "Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "Body should be a JSON object")
    problems = request_problems(operation.path, operation.method, body)
    if problems:
        raise RefusedError(422, "Invalid request.\n\n" + "\n".join(problems))
    return body


def check_authority(call: Call, operation: Operation) -> None:
    """Refuse a call whose credential is unknown or may not do this.

    Raises:
        RefusedError: 401 for credentials GitHub does not know, 403 or 404 for those
            that are not enough.
    """
    if call.scheme == "remoteauth" and operation.accepts_remote_auth:
        if call.forge.get_runner_token(call.credential).scope != call.scope:
            raise RefusedError(404, "Not Found")
        return
    if operation.need is Need.ANYTHING and not call.credential:
        return
    if not call.credential:
        raise RefusedError(401, "Requires authentication")
    if operation.need is Need.APP:
        call.credentials.apps.authenticate(call.scheme, call.credential)
        return
    needs_scope = operation.need is not Need.ANYTHING
    scope = call.scope if needs_scope else NOWHERE
    call.credentials.check(call.scheme, call.credential, operation.need, scope)


def error_body(error: RefusedError) -> dict[str, Any]:
    """Return the body GitHub sends with a refusal."""
    body: dict[str, Any] = {
        "message": error.message,
        "documentation_url": DOCUMENTATION_URL,
        "status": str(error.status),
    }
    if error.kind is not None:
        body["errorKind"] = error.kind
    return body
