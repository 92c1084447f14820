"""One GraphQL call: document and variables out, data or the right error back.

It must not know what the operations are about.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import msgspec

from runpod_client import refusals
from runpod_client.dialects.graphql_documents import CAPABILITIES, DOCUMENTS
from runpod_client.errors import (
    CapabilityMissingError,
    NotFoundError,
    ProtocolError,
)
from runpod_client.model import Capability
from runpod_client.transport import Priority, Request, Transport
from runpod_client.wire import decode

Data = TypeVar("Data", bound=msgspec.Struct)


class _Envelope(msgspec.Struct, Generic[Data]):
    """What every answer is wrapped in."""

    data: Data | None = None
    errors: list[refusals.Refusal] | None = None


class _AnyData(msgspec.Struct):
    """The answer of a mutation whose effect is observed, not believed."""


class GraphQLCalls:
    """The three kinds of calls: queries, and mutations with and without an answer."""

    def __init__(self, transport: Transport, read_priority: Priority) -> None:
        self._transport = transport
        self._read_priority = read_priority

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def query(
        self,
        operation: str,
        data_type: type[Data],
        variables: dict[str, Any] | None = None,
    ) -> Data:
        """Return what a query asks for.

        Raises:
            ProtocolError: The answer holds no data.
        """
        request = replace(
            _request(operation, variables), is_read=True, priority=self._read_priority
        )
        data = self._send(request, data_type)
        if data is None:
            raise ProtocolError(
                f"RunPod's answer to {operation} holds no data", operation=operation
            )
        return data

    def mutate(
        self,
        operation: str,
        data_type: type[Data],
        variables: dict[str, Any],
    ) -> Data | None:
        """Change something, once, and return what the answer says of it."""
        return self._send(_request(operation, variables), data_type)

    def change(
        self,
        operation: str,
        variables: dict[str, Any],
        *,
        is_idempotent: bool = False,
        ends_spending: bool = False,
    ) -> None:
        """Change something whose effect is observed afterwards."""
        request = _request(
            operation,
            variables,
            is_idempotent=is_idempotent,
            ends_spending=ends_spending,
        )
        self._send(request, _AnyData)

    def _send(self, request: Request, data_type: type[Data]) -> Data | None:
        capability = CAPABILITIES.get(request.operation, Capability.PODS)
        try:
            return self._transport.send(request, _reader(request.operation, data_type))
        except NotFoundError as error:
            if error.http_status != 404:  # a pod that is not there comes with HTTP 200
                raise
            raise CapabilityMissingError(
                f"there is no GraphQL API for {request.operation} at this address "
                "(HTTP 404)",
                capability=capability,
                operation=request.operation,
                http_status=404,
                request_id=error.request_id,
                hint="Check RUNPOD_API_BASE_URL.",
            ) from error
        except CapabilityMissingError as error:
            error.capability = error.capability or capability
            raise


def _request(
    operation: str,
    variables: dict[str, Any] | None,
    *,
    is_idempotent: bool = False,
    ends_spending: bool = False,
) -> Request:
    body: dict[str, Any] = {"operationName": operation, "query": DOCUMENTS[operation]}
    if variables:
        body["variables"] = variables
    return Request(
        operation=operation,
        path="/graphql",
        body=body,
        is_idempotent=is_idempotent,
        ends_spending=ends_spending,
    )


def _reader(operation: str, data_type: type[Data]) -> Callable[[bytes], Data | None]:
    envelope_type = _Envelope[data_type]  # type: ignore[valid-type]  # msgspec reads the parameter at run time

    def parse(answer: bytes) -> Data | None:
        envelope = decode(answer, envelope_type, operation=operation)
        if envelope.errors:
            raise refusals.render_error(envelope.errors, operation=operation)
        return envelope.data

    return parse
