"""One client's talk with GitHub: sent, bounded, repeated where that is safe, refused.

The one module that knows requests and stamina. Reads and what does no harm twice are
repeated a bounded number of times; nothing else ever is, since a lost answer may have
had its effect. Limits are waited out where that is short, together with all other
threads (`github_limits`), else they are an error. It must not know any operation.
"""

import http.cookiejar
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import requests
import stamina
from urllib3.exceptions import HTTPError

from runner_installer.github_auth import Authority
from runner_installer.github_bases import Bases
from runner_installer.github_cache import AnswerCache, Kept
from runner_installer.github_limits import (
    MAX_CONCURRENT,
    SERVICE,
    LimitGate,
    Pace,
    find_gate,
)
from runner_installer.github_needs import Need
from runner_installer.github_refusals import Asked, check_answer, read_limits
from runner_installer.github_wire import Answer, encode
from runner_installer.model import APIQuota, Download, Scope
from runpod_client import (
    AuthenticationError,
    RateLimitedError,
    Secret,
    TransportError,
    UnavailableError,
)
from runpod_client.logs import apply_configuration, get_logger

API_VERSION = "2022-11-28"
USER_AGENT = "runner-installer"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_ATTEMPTS = 4
_CHUNK_BYTES = 1 << 20
_READ_BYTES = 64 * 1024

log = get_logger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as an operation wants it sent.

    Attributes:
        path: Below the API's base, with its query.
        is_fresh: Whether GitHub must look itself, instead of saying that nothing has
            changed since the last time.
    """

    method: str
    path: str
    operation: str
    scope: Scope
    need: Need = Need.RUNNERS
    body: Mapping[str, Any] | None = None
    is_fresh: bool = False


class GitHubSession:
    """The connections to one GitHub as one credential; threads may share it."""

    def __init__(
        self,
        bases: Bases,
        authority: Authority,
        *,
        timeout_seconds: float,
        rate_limit_wait_seconds: float,
        retry_wait_seconds: float = 0.5,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bases = bases
        self._authority = authority
        self._timeout_seconds = timeout_seconds
        self._rate_limit_wait_seconds = rate_limit_wait_seconds
        self._retry_wait_seconds = retry_wait_seconds
        self._now = now
        self._gate: LimitGate = find_gate(
            bases.api_url, authority.identity, pace or Pace()
        )
        self._cache = AnswerCache()
        self._server_version = ""
        self._is_closed = False
        self._http = _open_http()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a call that waits for a limit ends at once."""
        self._is_closed = True
        self._gate.wake()
        self._http.close()

    @property
    def server_version(self) -> str:
        """Return an Enterprise Server's version; empty where no answer told one."""
        return self._server_version

    @property
    def quota(self) -> APIQuota:
        """Return what GitHub has told of its limits so far."""
        return self._gate.report()

    def send(self, call: Call) -> Answer:
        """Send a call that must not be done twice.

        It is sent again only where GitHub refused it for a limit, so did nothing.

        Raises:
            APIError: GitHub refuses it, or no answer came: then it may have been done.
        """
        return self._carry_out(call, is_safe=False)

    def read(self, call: Call) -> Answer:
        """Send something that is safe to repeat, and repeat it where that may help.

        Raises:
            APIError: As the last attempt's.
        """
        return self._carry_out(call, is_safe=True)

    def _carry_out(self, call: Call, *, is_safe: bool) -> Answer:
        self.bases.check_host(call.scope)
        # made before the loop, and repeated there by itself: attempts do not multiply
        self._authority.find_token(call.scope, call.need, self.exchange)
        return self._repeat(lambda: self._attempt(call), is_safe=is_safe)

    def _attempt(self, call: Call) -> Answer:
        token = self._authority.find_token(call.scope, call.need, self.exchange)
        try:
            return self._send_with(call, token)
        except AuthenticationError as error:
            refused = error.http_status == requests.codes.unauthorized
            if not refused or not self._authority.forget(call.scope, call.need, token):
                raise
        # what was refused for its token was not done: with another one it is sent anew
        token = self._authority.find_token(call.scope, call.need, self.exchange)
        return self._send_with(call, token)

    def exchange(
        self, method: str, path: str, operation: str, *, token: Secret, body: Any = None
    ) -> Answer:
        """Send a call with a token of its own; any answer but trouble is returned.

        Raises:
            APIError: No answer came, GitHub failed, or a limit holds for too long.
        """

        def attempt() -> Answer:
            answer = self._transmit(method, path, operation, token, body=body)
            told = read_limits(answer, wall_now=self._now())
            if told.refused or answer.status >= requests.codes.internal_server_error:
                check_answer(answer, Asked(operation=operation), told)
            return answer

        return self._repeat(attempt, is_safe=True)

    def download(self, download: Download) -> Iterator[bytes]:
        """Stream a package, without our token: it lies on another host.

        Raises:
            TransportError: No connection, or it was cut in the middle.
            NotFoundError: The package is not there.
        """
        auth = _Bearer(download.token) if download.token else _NoAuth()
        try:
            with self._http.get(
                download.url,
                auth=auth,
                stream=True,
                timeout=self._timeout_seconds,
                headers={"Accept": "application/octet-stream"},
            ) as response:
                head = Answer(
                    status=response.status_code, headers=response.headers, content=b""
                )
                asked = Asked(operation="download")
                check_answer(head, asked, read_limits(head, wall_now=self._now()))
                yield from response.iter_content(_CHUNK_BYTES)
        except requests.RequestException as error:
            raise _transport_error(error, "download", download.url) from error

    def _send_with(self, call: Call, token: Secret) -> Answer:
        kept = None
        if call.method == "GET" and not call.is_fresh:
            kept = self._cache.find(call.path)
        answer = self._transmit(
            call.method,
            call.path,
            call.operation,
            token,
            body=call.body,
            tag=kept.tag if kept else "",
        )
        if kept is not None and answer.status == requests.codes.not_modified:
            headers = {**answer.headers, "link": kept.link}
            return Answer(status=200, headers=headers, content=kept.content)
        asked = Asked(
            operation=call.operation,
            scope=call.scope,
            need=call.need,
            kind=self._authority.kind,
        )
        check_answer(answer, asked, read_limits(answer, wall_now=self._now()))
        if call.method == "GET" and (tag := answer.headers.get("etag")):
            link = answer.headers.get("link", "")
            self._cache.keep(
                call.path, Kept(tag=tag, content=answer.content, link=link)
            )
        return answer

    def _transmit(
        self,
        method: str,
        path: str,
        operation: str,
        token: Secret,
        *,
        body: Any = None,
        tag: str = "",
    ) -> Answer:
        """Send one request when it is its turn, and read the whole answer."""
        headers = {"If-None-Match": tag} if tag else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self._gate.admitted(
            operation,
            method,
            wait_seconds=self._rate_limit_wait_seconds,
            is_over=lambda: self._is_closed,
        ) as passage:
            deadline = time.monotonic() + self._timeout_seconds
            try:
                with self._http.request(
                    method,
                    self.bases.api_url + path,
                    data=None if body is None else encode(body),
                    headers=headers,
                    auth=_Bearer(token),
                    timeout=self._timeout_seconds,
                    # a redirected POST would silently become a GET
                    allow_redirects=method == "GET",
                    stream=True,
                ) as response:
                    answer = Answer(
                        status=response.status_code,
                        headers=response.headers,
                        content=_read_body(response, deadline),
                    )
            except (requests.RequestException, HTTPError, OSError) as error:
                raise _transport_error(error, operation, self.bases.api_url) from error
            passage.learn(read_limits(answer, wall_now=self._now()))
        self._note(answer, operation)
        return answer

    def _note(self, answer: Answer, operation: str) -> None:
        version = answer.headers.get("x-github-enterprise-version", "")
        self._server_version = version or self._server_version
        log.debug(
            "github_call_answered",
            operation=operation,
            http_status=answer.status,
            request_id=answer.request_id,
            remaining=answer.headers.get("x-ratelimit-remaining", ""),
        )

    def _repeat(self, attempt_once: Callable[[], Result], *, is_safe: bool) -> Result:
        def pause(error: Exception) -> bool | float:
            if isinstance(error, RateLimitedError):
                seconds = error.retry_after_seconds
                if seconds is None or seconds > self._rate_limit_wait_seconds:
                    return False
                # the gate does the waiting, for all threads alike
                return self._retry_wait_seconds
            if self._is_closed or not is_safe:
                return False
            return isinstance(error, TransportError | UnavailableError)

        apply_configuration()  # stamina tells of each retry through structlog
        for attempt in stamina.retry_context(
            on=pause,
            attempts=_ATTEMPTS,
            timeout=self._rate_limit_wait_seconds + _ATTEMPTS * self._timeout_seconds,
            wait_initial=self._retry_wait_seconds,
            wait_max=10 * self._retry_wait_seconds,
            wait_jitter=self._retry_wait_seconds,
        ):
            with attempt:
                result = attempt_once()
        return result


class _Bearer(requests.auth.AuthBase):
    """Send the token; being set explicitly it also keeps ~/.netrc out of it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _NoAuth(requests.auth.AuthBase):
    """Send no credential, not even one from ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _open_http() -> requests.Session:
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=MAX_CONCURRENT)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # the one thing in a session that threads would change under each other
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {
            "User-Agent": USER_AGENT,
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": API_VERSION,
        }
    )
    return session


def _read_body(response: requests.Response, deadline: float) -> bytes:
    """Return the whole body; a peer that drips or floods is cut off."""
    chunks, size = [], 0
    while chunk := response.raw.read1(_READ_BYTES, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise requests.exceptions.ContentDecodingError("the answer is too large")
        if time.monotonic() >= deadline:
            raise requests.exceptions.ReadTimeout("the answer did not end in time")
    return b"".join(chunks)


def _transport_error(error: Exception, operation: str, address: str) -> TransportError:
    host = urlsplit(address).netloc
    reason = "cannot be reached"
    if isinstance(error, requests.Timeout):
        reason = "timed out"
    elif not isinstance(error, requests.ConnectionError):
        reason = "broke off in the middle of its answer"
    return TransportError(
        f"GitHub at {host} {reason} ({operation})",
        service=SERVICE,
        operation=operation,
        hint="Check the network and GITHUB_API_URL, and repeat.",
    )
