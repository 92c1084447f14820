import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "agreement"
SCHEMA = (resources.files("runpod_sim") / "schema.graphql").read_text()
OPENAPI = json.loads((resources.files("runpod_sim") / "openapi.json").read_text())


def compare(script: str, reference: str, folder: Path) -> tuple[int, list[str]]:
    path = folder / "reference"
    path.write_text(reference)
    ended = subprocess.run(
        [sys.executable, str(SCRIPTS / script), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines()


def test_schema_agrees_with_itself_and_differences_are_named(tmp_path: Path) -> None:
    other = SCHEMA.replace("gpuCount: Int!", "gpuCount: Int")
    other = other.replace("  volumeKey: String\n", "")

    agreed, summary = compare("graphql_agreement.py", SCHEMA, tmp_path)
    status, lines = compare("graphql_agreement.py", other, tmp_path)

    assert agreed == 0
    assert summary[0].endswith("0 differences")
    assert status == 1
    assert "Pod.gpuCount: Int!, not Int" in lines
    assert "PodFindAndDeployOnDemandInput.volumeKey: not in the reference" in lines


def test_document_agrees_with_itself_and_differences_are_named(tmp_path: Path) -> None:
    other: dict[str, Any] = json.loads(json.dumps(OPENAPI))
    del other["paths"]["/v2/pods/{id}"]["patch"]
    other["components"]["schemas"]["PodRuntime"]["properties"]["uptime"] = {
        "type": "string"
    }

    agreed, summary = compare("openapi_agreement.py", json.dumps(OPENAPI), tmp_path)
    status, lines = compare("openapi_agreement.py", json.dumps(other), tmp_path)

    assert agreed == 0
    assert summary[0].endswith("0 differences")
    assert status == 1
    assert "PATCH /v2/pods/{id}: not in the reference" in lines
    assert any("runtime" in line and "integer, not string" in line for line in lines)
