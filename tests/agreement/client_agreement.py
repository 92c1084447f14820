"""Compare what runpod-client sends with the descriptions of RunPod's two APIs.

    client_agreement.py SCHEMA.graphql OPENAPI.json

Every GraphQL document must be valid in the schema, every input that is sent must fit
its type, and every call of REST v2 must be there with its path, method, query and body.
Prints each difference; exits 1 when there is one.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import graphql
from graphql.execution.values import get_variable_values
from jsonschema import Draft202012Validator

from runpod_client import (
    Cloud,
    CloudType,
    Constraints,
    Error,
    Placement,
    Pod,
    PodEdit,
    PodSpec,
    PodStatus,
    Secret,
    Template,
)
from runpod_client.dialects.graphql import DOCUMENTS, GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.transport import Transport

Document = Mapping[str, Any]

SPEC = PodSpec(
    name="agreement [3f9a2c1d 2026-11-22T14:05Z]",
    place=Constraints(),
    image="runpod/base",
    volume_gb=20,
    ports=("22/tcp", "8188/http"),
    env={"A": "1", "EMPTY": ""},
    start_command="sleep infinity",
    lease=timedelta(hours=2),
)
PLACE = Placement(
    gpu_type="NVIDIA L4",
    gpu_count=2,
    cloud_type=CloudType.SECURE,
    data_center_ids=("EU-RO-1",),
    min_cuda="12.8",
    price_usd_per_hour=Decimal("0.98"),
)
SPOT = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.25"))
POD = Pod(
    pod_id="50qynxzilsxoey",
    name="agreement",
    status=PodStatus.STOPPED,
    gpu_type="NVIDIA L4",
    gpu_count=2,
    image="runpod/base",
    price_usd_per_hour=Decimal("0.98"),
    container_disk_gb=20,
    asked_ports=("22/tcp",),
    env={"A": "1"},
)
EDIT = PodEdit(
    image="runpod/newer",
    env={"B": "2"},
    ports=("22/tcp",),
    container_disk_gb=30,
    volume_gb=30,
    start_command="sleep 60",
)
TEMPLATE = Template(
    template_id="",
    name="torch",
    image="runpod/pytorch",
    container_disk_gb=30,
    volume_gb=20,
    ports=("22/tcp",),
    env={"A": "1"},
    start_command="sleep infinity",
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILXGDN/SclOozk1xsDztpmhGiKkkrfQB9SKoO8 me"


@dataclass(frozen=True)
class Sent:
    """One request as it stood on the wire."""

    method: str
    path: str
    body: Any


def list_calls(cloud: Cloud) -> list[Callable[[], object]]:
    """Return every call a wire can be asked for, in each shape it takes."""
    on_network = replace(SPEC, network_volume_id="v1", template_id="t1", image="")
    bare = replace(SPEC, volume_gb=0, ports=(), env={}, start_command=None)
    community = replace(
        PLACE, cloud_type=CloudType.COMMUNITY, data_center_ids=(), min_cuda=""
    )
    return [
        lambda: cloud.create_pod(SPEC, PLACE),
        lambda: cloud.create_pod(on_network, PLACE),
        lambda: cloud.create_pod(bare, community),
        lambda: cloud.create_pod(SPEC, replace(PLACE, min_cuda="12")),
        lambda: cloud.create_pod(SPEC, SPOT),
        cloud.list_pods,
        lambda: cloud.find_pod(POD.pod_id),
        lambda: cloud.start_pod(POD),
        lambda: cloud.start_pod(replace(POD, is_spot=True)),
        lambda: cloud.start_pod_without_gpus(POD.pod_id),
        lambda: cloud.restart_pod(POD.pod_id),
        lambda: cloud.stop_pod(POD.pod_id),
        lambda: cloud.terminate_pod(POD.pod_id),
        lambda: cloud.rename_pod(POD.pod_id, "new"),
        lambda: cloud.edit_pod(POD, EDIT),
        lambda: cloud.edit_pod(POD, PodEdit(image="runpod/newer")),
        lambda: cloud.read_logs(POD.pod_id, is_system=True, tail=5),
        lambda: cloud.read_logs(POD.pod_id, is_system=False),
        lambda: cloud.list_gpu_offers(gpu_count=2),
        cloud.list_cpu_types,
        cloud.list_data_centers,
        cloud.get_account,
        cloud.list_account_keys,
        lambda: cloud.replace_account_keys([KEY]),
        lambda: cloud.replace_account_keys([]),
        cloud.list_network_volumes,
        lambda: cloud.create_network_volume(
            name="data", size_gb=20, data_center_id="EU-RO-1"
        ),
        lambda: cloud.delete_network_volume("v1"),
        cloud.list_templates,
        lambda: cloud.create_template(TEMPLATE),
        lambda: cloud.create_template(Template(template_id="", name="x", image="y")),
        lambda: cloud.delete_template("t1"),
    ]


def record(open_cloud: Callable[[Transport], Cloud], answer: bytes) -> list[Sent]:
    """Return the requests that all calls of a wire lead to."""
    with _recorder(answer) as (base_url, sent):
        cloud = open_cloud(
            Transport(
                base_url=base_url, api_key=Secret("rpa_agreement"), timeout_seconds=5
            )
        )
        for call in list_calls(cloud):
            # what is not to be had on this wire, or what the answer says, is no matter
            with suppress(Error):
                call()
        cloud.close()
    return sent


def record_rest() -> list[Sent]:
    """Return every request REST v2 is sent."""
    mounts = {"persistent": {"size": 10, "path": "/workspace"}}
    answer = {"id": "x", "status": "RUNNING", "keys": [], "mounts": mounts, "gpus": []}
    return record(
        lambda transport: RestV2Cloud(transport, log_seconds=1),
        json.dumps(answer).encode(),
    )


def record_graphql() -> list[Sent]:
    """Return every request GraphQL is sent."""
    myself = {"id": "u", "podTemplates": [{"id": "t1", "name": "torch"}]}
    return record(GraphQLCloud, json.dumps({"data": {"myself": myself}}).encode())


@contextmanager
def _recorder(answer: bytes) -> Iterator[tuple[str, list[Sent]]]:
    """Serve one answer to everything, and keep what was asked."""
    sent: list[Sent] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes

        def answer_any(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            sent.append(Sent(self.command, self.path, json.loads(body or b"null")))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer_any  # noqa: N815  # the base class names them so

        def log_message(self, *_arguments: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


def compare_graphql(sdl: str) -> list[str]:
    """Return where a document, or what is sent with it, does not fit the schema."""
    schema = graphql.build_schema(sdl)
    found = []
    for name, text in DOCUMENTS.items():
        document = graphql.parse(text)
        errors = graphql.validate(schema, document)
        found += [f"{name}: {error.message}" for error in errors]
        if graphql.get_operation_ast(document, name) is None:
            found.append(f"{name}: names no operation of its document")
    if found:
        return found
    sent = record_graphql()
    unsent = set(DOCUMENTS) - {request.body["operationName"] for request in sent}
    found += [f"{name}: is never sent" for name in sorted(unsent)]
    for request in sent:
        found += _compare_variables(schema, request.body)
    return found


def _compare_variables(schema: graphql.GraphQLSchema, body: Document) -> list[str]:
    operation = graphql.get_operation_ast(
        graphql.parse(body["query"]), body["operationName"]
    )
    assert operation is not None
    values = get_variable_values(
        schema, operation.variable_definitions, body.get("variables", {})
    )
    if isinstance(values, list):
        return [f"{body['operationName']}: {error.message}" for error in values]
    return []


def compare_openapi(document: Document, sent: Sequence[Sent]) -> list[str]:
    """Return where a request of REST v2 is not in the document."""
    return [line for one in sent for line in compare_request(document, one)]


def compare_request(document: Document, request: Sent) -> list[str]:
    """Return where one request is not in the document."""
    parts = urlsplit(request.path)
    where = f"{request.method} {parts.path}"
    template = find_template(document, parts.path)
    if template is None:
        return [f"{where}: no such path"]
    described = document["paths"][template].get(request.method.lower())
    if described is None:
        return [f"{where}: no such method"]
    found = _compare_query(document, described, parse_qsl(parts.query), where)
    return found + _compare_body(document, described, request.body, where)


def find_template(document: Document, path: str) -> str | None:
    """Return the path of the document that a path is of."""
    wanted = path.split("/")
    for template in document["paths"]:
        parts = template.split("/")
        if len(parts) == len(wanted) and all(
            part == unquote(own) or part.startswith("{")
            for part, own in zip(parts, wanted, strict=True)
        ):
            return str(template)
    return None


def resolve(document: Document, value: Any) -> Any:
    """Follow a reference to where it leads."""
    while isinstance(value, Mapping) and "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _compare_query(
    document: Document, described: Document, query: list[tuple[str, str]], where: str
) -> list[str]:
    known = {
        parameter["name"]: parameter["schema"]
        for given in described.get("parameters", ())
        if (parameter := resolve(document, given))["in"] == "query"
    }
    found = []
    for name, text in query:
        if name not in known:
            found.append(f"{where}: no query parameter {name}")
            continue
        schema = resolve(document, known[name])
        value: Any = text.split(",") if schema.get("type") == "array" else text
        if schema.get("type") == "integer":
            value = int(text)
        found += [f"{where}?{name}: {e}" for e in violations(document, schema, value)]
    return found


def _compare_body(
    document: Document, described: Document, body: Any, where: str
) -> list[str]:
    if "requestBody" not in described:
        return [] if body is None else [f"{where}: takes no body"]
    content = resolve(document, described["requestBody"])["content"]
    schema = content["application/json"]["schema"]
    return [f"{where}: {error}" for error in violations(document, schema, body)]


def violations(document: Document, schema: Any, value: Any) -> list[str]:
    """Return where a value does not fit a schema of the document."""
    root = {**schema, "components": document["components"]}
    errors = Draft202012Validator(root).iter_errors(value)
    return [f"{error.json_path} {error.message}" for error in errors]


def main() -> int:
    """Compare and report."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a script
        return 2
    sdl, openapi = (Path(name).read_text() for name in sys.argv[1:])
    sent = record_rest()
    found = compare_graphql(sdl) + compare_openapi(json.loads(openapi), sent)
    for line in found:
        print(line)  # noqa: T201 - a script
    print(  # noqa: T201 - a script
        f"{len(DOCUMENTS)} GraphQL documents and {len(sent)} REST v2 calls, "
        f"{len(found)} differences"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
