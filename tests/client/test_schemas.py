"""What is sent, and what the simulator answers to it, by the descriptions of both APIs.

The simulator's own descriptions are checked here; `.ci/run` checks the fuller ones
that they were taken from.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.sim import SimServer

SCRIPT = Path(__file__).resolve().parents[1] / "agreement" / "client_agreement.py"
SCHEMA = (resources.files("runpod_sim") / "schema.graphql").read_text()
OPENAPI = json.loads((resources.files("runpod_sim") / "openapi.json").read_text())
CREATE = {
    "name": "x",
    "image": "runpod/base",
    "gpu": {"id": "NVIDIA L4", "count": 1},
    "ports": ["22/tcp"],
    "mounts": {"persistent": {"size": 10, "path": "/workspace"}},
}


def compare(folder: Path, sdl: str, openapi: Any) -> tuple[int, list[str]]:
    """Return exit status and lines of the comparison with these descriptions."""
    (folder / "sdl").write_text(sdl)
    (folder / "openapi").write_text(json.dumps(openapi))
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "sdl"), str(folder / "openapi")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines()


def without(document: Any, *path: str) -> Any:
    """Return a copy of a JSON document without one of its entries."""
    copy = json.loads(json.dumps(document))
    at = copy
    for name in path[:-1]:
        at = at[name]
    del at[path[-1]]
    return copy


def test_everything_sent_is_in_both_descriptions(tmp_path: Path) -> None:
    status, lines = compare(tmp_path, SCHEMA, OPENAPI)

    assert (status, len(lines)) == (0, 1), lines
    assert lines[0].endswith("0 differences")


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("  podEditName(input: PodEditNameInput!): Pod\n", "renamePod: Cannot query"),
        ("  machineId: String!\n", "Cannot query field 'machineId'"),
    ],
)
def test_document_that_the_schema_lacks_is_named(
    tmp_path: Path, removed: str, expected: str
) -> None:
    assert removed in SCHEMA

    status, lines = compare(tmp_path, SCHEMA.replace(removed, ""), OPENAPI)

    assert status == 1
    assert any(expected in line for line in lines), lines


def test_input_that_the_schema_lacks_is_named(tmp_path: Path) -> None:
    other = SCHEMA.replace("  supportPublicIp: Boolean\n", "")

    status, lines = compare(tmp_path, other, OPENAPI)

    assert status == 1
    assert any("supportPublicIp" in line for line in lines), lines


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("paths", "/v2/pods/{id}/logs"), "GET /v2/pods/50qynxzilsxoey/logs: no such"),
        (("paths", "/v2/pods/{id}", "patch"), "PATCH /v2/pods/50qynxzilsxoey: no such"),
        (
            ("components", "schemas", "PodActionRequest", "properties", "action"),
            "POST /v2/pods/50qynxzilsxoey/action: $",
        ),
    ],
)
def test_call_that_the_document_lacks_is_named(
    tmp_path: Path, path: tuple[str, ...], expected: str
) -> None:
    status, lines = compare(tmp_path, SCHEMA, without(OPENAPI, *path))

    assert status == 1
    assert any(expected in line for line in lines), lines


def violations(schema: Mapping[str, Any], value: Any) -> list[str]:
    root = {**schema, "components": OPENAPI["components"]}
    return [error.message for error in Draft202012Validator(root).iter_errors(value)]


def answer_schema(path: str, method: str, status: int) -> Mapping[str, Any]:
    described = OPENAPI["paths"][path][method.lower()]["responses"][str(status)]
    schema = described["content"]["application/json"]["schema"]
    assert isinstance(schema, dict)
    return schema


# path of the document, and as it is asked; {id} is a pod's
READS = [
    ("/v2/pods", "pods"),
    ("/v2/pods/{id}", "pods/{id}"),
    (
        "/v2/catalog/gpus",
        "catalog/gpus?include=AVAILABILITY&product=POD&count=1&cloud=SECURE",
    ),
    ("/v2/catalog/cpus", "catalog/cpus?include=AVAILABILITY&product=POD"),
    ("/v2/catalog/datacenters", "catalog/datacenters?include=GPU_AVAILABILITY"),
    ("/v2/account/ssh-keys", "account/ssh-keys"),
    ("/v2/network-volumes", "network-volumes"),
    ("/v2/templates", "templates"),
]


@pytest.mark.parametrize(("path", "asked"), READS)
def test_answers_to_reads_fit_their_schemas(
    module_sim: SimServer, path: str, asked: str
) -> None:
    sim = module_sim.with_key("rpa_schemas")
    made = sim.rest("POST", "pods", CREATE)[1]

    status, answer = sim.rest("GET", asked.replace("{id}", made["id"]))

    assert status == 200
    assert violations(answer_schema(path, "GET", 200), answer) == []
    sim.rest("DELETE", f"pods/{made['id']}")


def test_answers_to_changes_fit_their_schemas(module_sim: SimServer) -> None:
    sim = module_sim.with_key("rpa_schemas")
    volume = {"name": "x", "size": 10, "dataCenter": "EU-RO-1"}
    template = {"name": "x", "image": "y"}
    made = {
        path: sim.rest("POST", path, body)
        for path, body in (
            ("pods", CREATE),
            ("network-volumes", volume),
            ("templates", template),
        )
    }
    pod_id = made["pods"][1]["id"]
    stopped = sim.rest("POST", f"pods/{pod_id}/action", {"action": "stop"})

    found = [
        problem
        for path, (status, answer) in made.items()
        for problem in violations(answer_schema(f"/v2/{path}", "POST", status), answer)
    ]
    found += violations(
        answer_schema("/v2/pods/{id}/action", "POST", stopped[0]), stopped[1]
    )

    assert {status for status, _ in made.values()} == {201}
    assert found == []
    sim.rest("DELETE", f"pods/{pod_id}")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "pods/zzzzzzzzzzzzzz", None, 404),
        ("POST", "pods", {"name": "x", "bogus": 1}, 422),
        ("POST", "pods", CREATE | {"gpu": {"id": "NVIDIA Abacus"}}, 400),
    ],
)
def test_refusals_are_problems(
    module_sim: SimServer, method: str, path: str, body: Any, status: int
) -> None:
    found, answer = module_sim.with_key("rpa_schemas").rest(method, path, body)

    assert found == status
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    assert violations(schema, answer) == []
