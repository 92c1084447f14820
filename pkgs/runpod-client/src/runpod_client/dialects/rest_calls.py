"""One call of REST v2: path and body out, a record or the right error back.

It must not know what the operations are about, but for which of them are about pods.

    404 of a list                the route is not there: CapabilityMissingError
    404 that says "pod not..."   NotFoundError
    404 of anything else         NotFoundError, once a list of pods proves that the
                                 API is there at all
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import quote

from runpod_client.dialects.rest_records import RestPods
from runpod_client.errors import CapabilityMissingError, NotFoundError
from runpod_client.transport import Priority, Request, Transport
from runpod_client.wire import decode

Record = TypeVar("Record")

ROOT = "/v2"
_NO_SUCH_POD = re.compile(r"pod\b.*\bnot found|no such pod", re.IGNORECASE)


class RestCalls:
    """The kinds of calls: reads, and changes with and without an answer."""

    def __init__(self, transport: Transport, read_priority: Priority) -> None:
        self._transport = transport
        self._read_priority = read_priority

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def read(
        self,
        operation: str,
        path: str,
        record: type[Record],
        query: Mapping[str, str] | None = None,
    ) -> Record:
        """Return a list of something, which is there even when it is empty.

        Raises:
            CapabilityMissingError: RunPod has no such path.
        """
        request = Request(
            operation=operation,
            method="GET",
            path=ROOT + path,
            query=query or {},
            priority=self._read_priority,
            is_read=True,
        )
        try:
            return self._transport.send(request, _reader(record, operation))
        except NotFoundError as error:
            raise CapabilityMissingError(
                f"there is no REST v2 API for {operation} at this address (HTTP 404)",
                operation=operation,
                http_status=404,
                request_id=error.request_id,
                hint="Check RUNPOD_API_BASE_URL.",
            ) from error

    def find(self, operation: str, path: str, record: type[Record]) -> Record | None:
        """Return one thing, None when there is none."""
        request = Request(
            operation=operation,
            method="GET",
            path=ROOT + path,
            priority=self._read_priority,
            is_read=True,
        )
        try:
            return self._transport.send(request, _reader(record, operation))
        except NotFoundError as error:
            self._check_presence(error)
            return None

    def make(
        self, operation: str, path: str, record: type[Record], body: Mapping[str, Any]
    ) -> Record:
        """Make something, once, and return what the answer says of it."""
        request = Request(operation=operation, path=ROOT + path, body=body)
        return self._transport.send(request, _reader(record, operation))

    def change(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        is_idempotent: bool = False,
        ends_spending: bool = False,
    ) -> None:
        """Change something whose effect is observed afterwards.

        Raises:
            NotFoundError: It is not there, though the API is.
        """
        request = Request(
            operation=operation,
            method=method,
            path=ROOT + path,
            body=body,
            is_idempotent=is_idempotent or ends_spending,
            ends_spending=ends_spending,
        )
        try:
            self._transport.send(request, _ignore)
        except NotFoundError as error:
            self._check_presence(error)
            raise

    def follow(
        self, operation: str, path: str, query: Mapping[str, str], *, seconds: float
    ) -> AbstractContextManager[Iterator[str]]:
        """Give the lines of an answer that has no end, for so many seconds."""
        request = Request(
            operation=operation,
            method="GET",
            path=ROOT + path,
            query=query,
            priority=Priority.TELEMETRY,
            is_read=True,
        )
        return self._transport.stream_lines(request, deadline_seconds=seconds)

    def _check_presence(self, error: NotFoundError) -> None:
        """Raise if a 404 may speak of the API and not of a thing behind it."""
        if not _NO_SUCH_POD.search(error.message):
            self.read("listPods", "/pods", RestPods)


def quoted(name: str) -> str:
    """Return an id as it stands in a path."""
    return quote(name, safe="")


def _reader(record: type[Record], operation: str) -> Callable[[bytes], Record]:
    return lambda answer: decode(answer, record, operation=operation)


def _ignore(_answer: bytes) -> None:
    """Read nothing: the effect is observed, not believed."""
