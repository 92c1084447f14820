"""The way to RunPod and back: one `send`, on which everything else here hangs.

Key, time limit, quota, circuit breaker, bounded repetition, and every failure below
turned into an error of ours: `failures` has the libraries' table, `answers` HTTP's. It
must not know what a pod is: the caller names the operation, gives the body and reads
the answer.

What is sent again: reads, and changes that say they may be (`is_idempotent`). A call
that ends spending is held back by nothing here: neither quota nor breaker stops it.
"""

import importlib.metadata
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import requests
from requests.auth import AuthBase

from runpod_client.answers import check_status, parse_retry_after
from runpod_client.bodies import read_body, read_lines
from runpod_client.breakers import Breakers, is_outage
from runpod_client.credentials import check_base_url, check_key
from runpod_client.deadlines import DeadlineAdapter, head_until
from runpod_client.errors import UnavailableError
from runpod_client.failures import translated
from runpod_client.logs import get_logger
from runpod_client.model import Secret
from runpod_client.quota import (
    UNTOLD_PAUSE_SECONDS,
    Passage,
    Priority,
    QuotaGate,
    find_read_priority,
)
from runpod_client.repetition import Repetition, repeat

__all__ = ["Priority", "Repetition", "Request", "Transport"]

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_SECONDS = 10.0

_log = get_logger(__name__)
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call.

    Attributes:
        operation: Its name in errors and logs, for instance `podStop`.
        path: From the root; what stands in it from outside is already quoted.
        query: Is encoded here; a list gives its name several times.
        priority: None means CONTROL for a change, for a read what `reading_as` says.
        is_read: It changes nothing, so it may be sent again.
        is_idempotent: It changes something, and a second time nothing more.
        ends_spending: It stops or terminates: neither quota nor breaker holds it back.
        accept_statuses: Beyond 2xx, those whose answer `parse` wants to see.
    """

    operation: str
    path: str
    method: str = "POST"
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    body: Any = None
    priority: Priority | None = None
    is_read: bool = False
    is_idempotent: bool = False
    ends_spending: bool = False
    accept_statuses: frozenset[int] = frozenset()

    @property
    def target(self) -> str:
        """Return path and query as they stand on the wire."""
        if not self.query:
            return self.path
        return f"{self.path}?{urlencode(self.query, doseq=True)}"

    @property
    def circuit(self) -> str:
        """Return the name of its circuit breaker: one per API and priority."""
        api = self.path.strip("/").partition("/")[0]
        return f"{api}:{self.turn.name.lower()}"

    @property
    def turn(self) -> Priority:
        """Return the priority it is sent with."""
        if self.priority is not None:
            return self.priority
        return find_read_priority() if self.is_read else Priority.CONTROL

    def says_outage(self, error: BaseException) -> bool:
        """Return whether a failure of this call means that the service is down.

        GraphQL answers 200 to a change it fails at, for reasons of one pod alone; that
        pod must not keep all others from being changed.
        """
        if isinstance(error, UnavailableError) and not self.is_read:
            return error.http_status is not None and error.http_status >= 500
        return is_outage(error)


class Transport:
    """A connection pool to one base URL with one key; safe to share between threads."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret,
        timeout_seconds: float,
        repetition: Repetition | None = None,
        quota: QuotaGate | None = None,
        breakers: Breakers | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._repetition = repetition or Repetition()
        self._quota = quota or QuotaGate()
        self._breakers = breakers or Breakers()
        # for pauses between attempts, which hide nothing
        self._rng = rng or random.Random()  # noqa: S311
        is_loopback = check_base_url(base_url)
        check_key(api_key)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter())
        # a proxy from the environment has no business on the way to loopback
        self._session.trust_env = not is_loopback
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.auth = _BearerAuth(api_key)
        version = importlib.metadata.version("runpod-client")
        self._session.headers["User-Agent"] = f"runpod-client/{version}"

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def send(self, request: Request, parse: Callable[[bytes], Answer]) -> Answer:
        """Send a request and return its answer as `parse` reads it.

        What may be sent again is, after failures that pass and never beyond the time
        limit; anything else is sent exactly once.

        Raises:
            APIError: By the tables of `answers` and `failures`, or from `parse`.
            RateLimitedError: RunPod's quota has no room within the time limit.
            CircuitOpenError: RunPod has been failing; nothing was sent.
        """
        deadline = time.monotonic() + self._timeout_seconds

        def attempt() -> Answer:
            with self._let_through(request, deadline) as passage:
                return parse(self._exchange(request, deadline, passage))

        if not (request.is_read or request.is_idempotent):
            return attempt()
        with self._translated(request, self._timeout_seconds):
            return repeat(
                attempt,
                repetition=self._repetition,
                deadline=deadline,
                clock=time.monotonic,
                rng=self._rng,
                # the failure itself tells more than the breaker would
                is_hopeless=lambda: (
                    not request.ends_spending
                    and self._breakers.is_open(request.circuit)
                ),
            )

    @contextmanager
    def stream_lines(
        self, request: Request, *, deadline_seconds: float
    ) -> Iterator[Iterator[str]]:
        """Give the lines of an answer as they arrive, for at most so many seconds.

        They end with the answer, or quietly with the time: a log has no end of its own.
        The request is sent once; leaving the context closes the connection.

        Raises:
            APIError: As for `send`; while reading, `TransportError` for a connection
                that was cut and `ProtocolError` for lines or answers too large.
        """
        deadline = time.monotonic() + deadline_seconds
        with (
            self._let_through(request, deadline) as passage,
            self._translated(request, deadline_seconds),
        ):
            response = self._open(
                request, deadline, passage, accept="text/event-stream"
            )
            if not _is_accepted(response, request):
                with response:
                    body = read_body(response, deadline)
                _check(response, body, request)
        # never back to the pool: the answer may still be under way
        lines = self._read_lines(request, response, deadline, deadline_seconds)
        with response, closing(lines):
            yield lines

    @contextmanager
    def _let_through(self, request: Request, deadline: float) -> Iterator[Passage]:
        """Pass quota and breaker, or raise their word against it."""
        with (
            self._quota.admitted(
                request.turn,
                operation=request.operation,
                deadline=deadline,
                ends_spending=request.ends_spending,
            ) as passage,
            self._breakers.guard(
                request.circuit,
                operation=request.operation,
                ends_spending=request.ends_spending,
                counts=request.says_outage,
            ),
        ):
            yield passage

    def _exchange(self, request: Request, deadline: float, passage: Passage) -> bytes:
        started = time.monotonic()
        with (
            self._translated(request, self._timeout_seconds),
            self._open(request, deadline, passage) as response,
        ):
            body = read_body(response, deadline)
        _log.debug(
            "api_call_finished",
            operation=request.operation,
            http_status=response.status_code,
            elapsed_seconds=round(time.monotonic() - started, 3),
        )
        _check(response, body, request)
        return body

    def _open(
        self,
        request: Request,
        deadline: float,
        passage: Passage,
        *,
        accept: str = "application/json",
    ) -> requests.Response:
        """Send the request and return once the head of the answer is there."""
        remaining = max(deadline - time.monotonic(), 0.1)
        headers = {"Accept": accept}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        with head_until(deadline):
            response = self._session.request(
                request.method,
                self._base_url + request.target,
                data=None if request.body is None else _encode(request.body),
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_SECONDS, remaining), remaining),
                allow_redirects=False,
                stream=True,
            )
        refused_for = None
        if response.status_code == 429:
            told = parse_retry_after(response.headers.get("Retry-After"))
            refused_for = UNTOLD_PAUSE_SECONDS if told is None else told
        passage.learn(response.headers, refused_for_seconds=refused_for)
        return response

    def _read_lines(
        self,
        request: Request,
        response: requests.Response,
        deadline: float,
        deadline_seconds: float,
    ) -> Generator[str, None, None]:
        with self._translated(request, deadline_seconds):
            yield from read_lines(response, deadline)

    def _translated(
        self, request: Request, timeout_seconds: float
    ) -> AbstractContextManager[None]:
        return translated(
            operation=request.operation,
            base_url=self._base_url,
            timeout_seconds=timeout_seconds,
        )


class _BearerAuth(AuthBase):
    """Put the key on a request; its repr shows nothing.

    An auth object and not a header, since a .netrc entry would replace a header.
    """

    def __init__(self, api_key: Secret) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _is_accepted(response: requests.Response, request: Request) -> bool:
    status = response.status_code
    return 200 <= status < 300 or status in request.accept_statuses


def _check(response: requests.Response, body: bytes, request: Request) -> None:
    if not _is_accepted(response, request):
        check_status(response.status_code, response.headers, body, request.operation)
