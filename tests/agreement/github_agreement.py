"""Compare the GitHub operations the simulator serves with GitHub's own description.

    python tests/agreement/github_agreement.py REFERENCE

REFERENCE is an OpenAPI document of GitHub's REST API, or an extract of it. Each thing
that is served otherwise than described there is named on a line of its own, and the
exit status is then 1. Parts marked `x-outside-extract` or `x-undocumented` in the
simulator's description are deliberate, and only counted.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OURS = Path(__file__).parents[2] / "pkgs/runpod-sim/src/runpod_sim/data/github.json"
# GitHub's description names these on few operations, though any may answer so.
ANYWHERE = {"304", "400", "401", "403", "404"}

Document = dict[str, Any]


def resolve(document: Document, value: Any) -> Any:
    """Follow references within a document."""
    while isinstance(value, dict) and "$ref" in value:
        found: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def types_of(schema: Document) -> set[str]:
    """Return the JSON types a schema allows, in OpenAPI 3.0's or 3.1's manner."""
    found = schema.get("type", [])
    types = set(found if isinstance(found, list) else [found])
    if schema.get("nullable"):
        types.add("null")
    for name in ("oneOf", "anyOf", "allOf"):
        for part in schema.get(name, []):
            types |= types_of(part) if "$ref" not in part else {"object"}
    if "properties" in schema:
        types.add("object")
    return types


class Comparison:
    """Walks both documents side by side."""

    def __init__(self, ours: Document, theirs: Document) -> None:
        self.ours = ours
        self.theirs = theirs
        self.deliberate = 0

    def differences(self) -> Iterator[str]:
        """Name every difference."""
        for path, methods in self.ours["paths"].items():
            for method, operation in methods.items():
                where = f"{method.upper()} {path}"
                if "x-outside-extract" in operation:
                    self.deliberate += 1
                    continue
                described = self.theirs["paths"].get(path, {}).get(method)
                if described is None:
                    yield f"{where}: not in the reference"
                    continue
                yield from self._parameters(where, operation, described)
                yield from self._request(where, operation, described)
                yield from self._responses(where, operation, described)

    def _parameters(
        self, where: str, ours: Document, theirs: Document
    ) -> Iterator[str]:
        known = {
            found["name"]
            for found in (resolve(self.theirs, x) for x in theirs.get("parameters", []))
        }
        for parameter in ours.get("parameters", []):
            if parameter["name"] not in known:
                yield f"{where}: query parameter {parameter['name']!r} is unknown"

    def _request(self, where: str, ours: Document, theirs: Document) -> Iterator[str]:
        if "requestBody" not in ours:
            return
        body = resolve(self.theirs, theirs.get("requestBody"))
        if body is None:
            yield f"{where}: the reference has no request body"
            return
        mine = ours["requestBody"]["content"]["application/json"]["schema"]
        known = self._schema_of(body)
        required = set(mine.get("required", []))
        their_required = set(known.get("required", []))
        if required != their_required:
            yield (
                f"{where}: request requires {sorted(required)}, "
                f"the reference {sorted(their_required)}"
            )
        yield from self._schema(f"{where} request", mine, known)

    def _responses(self, where: str, ours: Document, theirs: Document) -> Iterator[str]:
        for status, answer in ours["responses"].items():
            described = theirs["responses"].get(status)
            if described is None:
                if "x-undocumented" in answer:
                    self.deliberate += 1
                elif status not in ANYWHERE:
                    yield f"{where}: status {status} is not in the reference"
                continue
            mine = resolve(self.ours, answer).get("content")
            known = resolve(self.theirs, described)
            if mine is None or status[0] != "2":
                continue
            if "content" not in known:
                yield f"{where} {status}: the reference has no body"
                continue
            schema = mine["application/json"]["schema"]
            yield from self._schema(f"{where} {status}", schema, self._schema_of(known))

    def _schema_of(self, body: Document) -> Document:
        found: Document = resolve(
            self.theirs, body["content"]["application/json"]["schema"]
        )
        return found

    def _schema(self, where: str, ours: Any, theirs: Any) -> Iterator[str]:
        mine, known = resolve(self.ours, ours), resolve(self.theirs, theirs)
        allowed = types_of(known)
        extra = types_of(mine) - allowed
        if allowed and extra - ({"integer"} if "number" in allowed else set()):
            yield f"{where}: type {sorted(extra)} where {sorted(allowed)} is allowed"
            return
        if mine.get("items") is not None and known.get("items") is not None:
            yield from self._schema(f"{where}[]", mine["items"], known["items"])
        if "enum" in mine and "enum" in known:
            for value in set(mine["enum"]) - {*known["enum"], None}:
                yield f"{where}: value {value!r} is not in the reference"
        properties = self._properties(known)
        if not properties:
            return
        for name, schema in mine.get("properties", {}).items():
            if name not in properties:
                yield f"{where}.{name}: not in the reference"
            else:
                yield from self._schema(f"{where}.{name}", schema, properties[name])

    def _properties(self, schema: Document) -> Document:
        found: Document = dict(schema.get("properties", {}))
        for name in ("oneOf", "anyOf", "allOf"):
            for part in schema.get(name, []):
                found |= self._properties(resolve(self.theirs, part))
        return found


def main(arguments: list[str]) -> int:
    """Compare and report; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: github_agreement.py REFERENCE\n")
        return 2
    ours = json.loads(OURS.read_text("utf-8"))
    theirs = json.loads(Path(arguments[0]).read_text("utf-8"))
    comparison = Comparison(ours, theirs)
    differences = list(comparison.differences())
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    operations = sum(len(methods) for methods in ours["paths"].values())
    sys.stdout.write(
        f"{operations} operations, {len(differences)} differences, "
        f"{comparison.deliberate} deliberate departures\n"
    )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
