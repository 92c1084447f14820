"""The GraphQL face: POST /graphql.

It turns documents into operations of the service and refusals into errors, with the
shapes and statuses RunPod uses. It decides nothing about pods.
"""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib import resources
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    parse,
    specified_rules,
    validate,
)
from graphql.language import FieldNode, FragmentDefinitionNode, SelectionSetNode
from starlette.requests import Request
from starlette.responses import Response

from runpod_sim.gate import (
    JSON,
    Gate,
    KeyBook,
    blocked,
    find_key,
    is_blocked,
    render_json,
)
from runpod_sim.graphql_execution import QuickExecution
from runpod_sim.graphql_operations import VERBS, Operations
from runpod_sim.model import Account, DeclinedError
from runpod_sim.service import NullResult, Service

# rule SIM-AUTH-2
PUBLIC_FIELDS = frozenset(
    {"gpuTypes", "cpuTypes", "cpuFlavors", "dataCenters", "__typename", "__schema"}
)
WIRE = "graphql"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

Endpoint = Callable[[Request], Awaitable[Response]]


def parse_datetime(value: Any) -> str:
    """Return an instant given as RFC 3339 text.

    Raises:
        GraphQLError: It is anything else, a duration for instance.
    """
    if isinstance(value, str) and RFC3339.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return value
    raise GraphQLError(
        f"DateTime cannot represent an invalid date-time-string {value}."
    )


def load_schema() -> GraphQLSchema:
    """Return the schema the simulator serves."""
    text = (resources.files("runpod_sim") / "schema.graphql").read_text()
    schema = build_schema(text)
    instant = schema.type_map["DateTime"]
    if isinstance(instant, GraphQLScalarType):
        instant.parse_value = parse_datetime  # type: ignore[method-assign]  # how graphql-core attaches a scalar's rules to an SDL
    return schema


class Refused(Exception):  # noqa: N818 - a request turned away, with its answer
    """A request is answered without being executed."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def error_answer(
    status: int,
    message: str,
    headers: dict[str, str],
    *,
    code: str | None = None,
) -> Response:
    """Return an error that is no resolver's."""
    error: dict[str, Any] = {"message": message}
    if code is not None:
        error["extensions"] = {"code": code}
    body = render_json({"errors": [error]})
    return Response(body, status, headers, JSON)


def double_quoted(message: str) -> str:
    """Return a validation message with the quotation marks RunPod's server uses."""
    return re.sub(r"'([^']*)'", r'"\1"', message)


def parse_document(
    schema: GraphQLSchema, text: str, *, introspection: bool
) -> DocumentNode:
    """Return a valid document.

    Raises:
        Refused: It does not parse or validate; RunPod answers 400.
    """
    try:
        document = parse(text)
    except GraphQLError as error:
        raise Refused(
            error_answer(400, error.message, {}, code="GRAPHQL_PARSE_FAILED")
        ) from error
    rules = list(specified_rules)
    if not introspection:
        rules.append(NoSchemaIntrospectionCustomRule)
    errors = validate(schema, document, rules)
    if errors:
        # rule SIM-ERR-2
        rows = [
            {
                "message": double_quoted(error.message),
                "locations": [
                    {"line": place.line, "column": place.column}
                    for place in error.locations or ()
                ],
                "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
            }
            for error in errors
        ]
        raise Refused(Response(render_json({"errors": rows}), 400, media_type=JSON))
    return document


def root_fields(document: DocumentNode, operation_name: str | None) -> list[str]:
    """Return the names of the fields the operation asks for at its root."""
    fragments = {
        node.name.value: node.selection_set
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }

    def walk(selections: SelectionSetNode) -> list[str]:
        names: list[str] = []
        for node in selections.selections:
            if isinstance(node, FieldNode):
                names.append(node.name.value)
            elif getattr(node, "selection_set", None):
                names += walk(node.selection_set)  # type: ignore[attr-defined]  # an inline fragment
            else:
                names += walk(fragments[node.name.value])  # type: ignore[attr-defined]  # a fragment spread
        return names

    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            name = node.name.value if node.name else None
            if operation_name in {None, name}:
                return walk(node.selection_set)
    return []


def render_result(result: ExecutionResult, account: Account | None) -> dict[str, Any]:
    """Return a result as RunPod writes it: errors stand before data."""
    if not result.errors:
        return {"data": result.data}
    rows = []
    for error in result.errors:
        original = error.original_error
        code = original.refusal.code if isinstance(original, DeclinedError) else None
        extensions: dict[str, Any] = {"code": code or "INTERNAL_SERVER_ERROR"}
        if account is not None:
            extensions["userId"] = account.id
        rows.append(
            {"message": error.message, "path": error.path, "extensions": extensions}
        )
    return {"errors": rows, "data": result.data}


def find_fault(result: ExecutionResult) -> BaseException | None:
    """Return a resolver's error that is a bug and no refusal, None if none is."""
    for error in result.errors or ():
        original = error.original_error
        if original is not None and not isinstance(
            original, DeclinedError | NullResult | GraphQLError
        ):
            return original
    return None


class GraphQLFace:
    """Answers /graphql."""

    def __init__(self, service: Service, keys: KeyBook, *, introspection: bool) -> None:
        self._service = service
        self._keys = keys
        self._introspection = introspection
        self._schema = load_schema()
        self._gate = Gate(service.faults, error_answer)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if is_blocked(request):
            return blocked()
        retired = self._gate.retired(WIRE)
        if retired is not None:
            return retired
        try:
            body = await self._parse_body(request)
            document = parse_document(
                self._schema, body["query"], introspection=self._introspection
            )
            fields = root_fields(document, body.get("operationName"))
            account = self._authenticate(request, body, fields)
        except Refused as refused:
            return refused.response
        names = {WIRE, *fields, *(VERBS[field] for field in fields if field in VERBS)}

        async def perform() -> Response:
            return self._execute(document, body, account)

        return await self._gate.pass_through(request, names, perform)

    async def _parse_body(self, request: Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise Refused(
                error_answer(400, "the body is not JSON", {}, code="BAD_REQUEST")
            ) from error
        variables = body.get("variables") if isinstance(body, dict) else None
        if (
            not isinstance(body, dict)
            or not isinstance(body.get("query"), str)
            or not isinstance(variables, dict | None)
        ):
            raise Refused(
                error_answer(
                    400,
                    "the body needs a query and no other shape",
                    {},
                    code="BAD_REQUEST",
                )
            )
        return body

    def _authenticate(
        self, request: Request, body: dict[str, Any], fields: list[str]
    ) -> Account | None:
        key = find_key(request, in_query=True)
        if key is not None and self._keys.accepts(key):
            if not self._keys.may_use(key, WIRE):
                raise Refused(error_answer(403, "Forbidden", {}, code="FORBIDDEN"))
            return self._service.open_account(key)
        is_public = set(fields) <= PUBLIC_FIELDS and not body.get("variables")
        if key is None and is_public:
            return None
        raise Refused(error_answer(401, "Unauthorized", {}, code="UNAUTHENTICATED"))

    def _execute(
        self, document: DocumentNode, body: dict[str, Any], account: Account | None
    ) -> Response:
        result = execute_sync(
            self._schema,
            document,
            root_value=Operations(self._service, account),
            variable_values=body.get("variables"),
            operation_name=body.get("operationName"),
            execution_context_class=QuickExecution,
        )
        fault = find_fault(result)
        if fault is not None:
            raise fault
        if result.data is None and result.errors and not result.errors[0].path:
            message = double_quoted(result.errors[0].message)
            return error_answer(400, message, {}, code="BAD_USER_INPUT")
        silent = [
            error
            for error in result.errors or ()
            if isinstance(error.original_error, NullResult)
        ]
        if silent and result.errors is not None:
            result.errors = [e for e in result.errors if e not in silent]
        return Response(render_json(render_result(result, account)), media_type=JSON)
