"""Compare the simulator's REST v2 document with a fuller reference, where one lies.

    openapi_agreement.py REFERENCE.json

Every path, method, parameter, status and property the simulator serves must be in the
reference with the same type. Prints each difference; exits 1 when there is one.
"""

import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")
PLAIN = ("type", "enum", "format", "minimum", "maximum", "minLength", "pattern")
# Refusals the reference describes in prose alone.
DESCRIBED_IN_PROSE = {
    ("/v2/pods/{id}/action", "post", "409"),
    ("/v2/pods", "post", "402"),
}

Document = Mapping[str, Any]


def resolve(document: Document, value: Any) -> Any:
    """Follow a reference to where it leads."""
    while isinstance(value, Mapping) and "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def flatten(document: Document, schema: Any) -> dict[str, Any]:
    """Return a schema with its parts merged into one."""
    schema = resolve(document, schema)
    merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
    merged["properties"] = dict(schema.get("properties", {}))
    merged["required"] = list(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        flat = flatten(document, part)
        merged["properties"].update(flat["properties"])
        merged["required"] += flat["required"]
        for name in (*PLAIN, "items", "anyOf"):
            if name in flat:
                merged.setdefault(name, flat[name])
    return merged


class Comparison:
    """Walks both documents side by side and collects what differs."""

    def __init__(self, own: Document, reference: Document) -> None:
        self._own = own
        self._reference = reference
        self._seen: set[str] = set()
        self.found: list[str] = []

    def compare(self) -> list[str]:
        """Return every difference."""
        for path, item in self._own["paths"].items():
            if path not in self._reference["paths"]:
                self.found.append(f"{path}: not in the reference")
                continue
            for method in METHODS:
                if method in item:
                    self._operation(path, method)
        return sorted(self.found)

    def _operation(self, path: str, method: str) -> None:
        where = f"{method.upper()} {path}"
        own = self._own["paths"][path][method]
        reference = self._reference["paths"][path].get(method)
        if reference is None:
            self.found.append(f"{where}: not in the reference")
            return
        if own["operationId"] != reference["operationId"]:
            self.found.append(f"{where}: operationId is {reference['operationId']}")
        self._parameters(where, path, own, reference)
        if "requestBody" in own:
            self._content(where, own["requestBody"], reference.get("requestBody", {}))
        for status, response in own["responses"].items():
            theirs = resolve(self._reference, reference["responses"].get(status))
            if theirs is not None:
                self._content(f"{where} {status}", response, theirs)
            elif (path, method, status) not in DESCRIBED_IN_PROSE:
                self.found.append(f"{where} {status}: not in the reference")

    def _parameters(
        self, where: str, path: str, own: Document, reference: Document
    ) -> None:
        shared = self._reference["paths"][path].get("parameters", [])
        known = {
            (found["name"], found["in"])
            for parameter in [*reference.get("parameters", []), *shared]
            if (found := resolve(self._reference, parameter))
        }
        for parameter in own.get("parameters", []):
            if (parameter["name"], parameter["in"]) not in known:
                self.found.append(f"{where} {parameter['name']}: no such parameter")

    def _content(self, where: str, own: Document, reference: Document) -> None:
        theirs = resolve(self._reference, reference).get("content", {})
        for media_type, content in own.get("content", {}).items():
            if media_type not in theirs:
                self.found.append(f"{where}: {media_type} not in the reference")
            else:
                self._schema(where, content["schema"], theirs[media_type]["schema"])

    def _schema(self, where: str, own_raw: Any, reference_raw: Any) -> None:
        key = json.dumps([own_raw, reference_raw], sort_keys=True)
        if key in self._seen:
            return
        self._seen.add(key)
        own = flatten(self._own, own_raw)
        reference = flatten(self._reference, reference_raw)
        for name in PLAIN:
            if name in own and own[name] != reference.get(name):
                self.found.append(
                    f"{where} {name}: {own[name]}, not {reference.get(name)}"
                )
        for name, value in own["properties"].items():
            if name not in reference["properties"]:
                self.found.append(f"{where}.{name}: not in the reference")
            else:
                self._schema(f"{where}.{name}", value, reference["properties"][name])
        if set(own["required"]) - set(reference["required"]):
            self.found.append(f"{where}: requires more than the reference")
        if "items" in own and "items" in reference:
            self._schema(f"{where}[]", own["items"], reference["items"])
        for number, (ours, theirs) in enumerate(
            zip(own.get("anyOf", ()), reference.get("anyOf", ()), strict=False)
        ):
            self._schema(f"{where}|{number}", ours, theirs)


def main() -> int:
    """Compare and report."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a script
        return 2
    own = json.loads((resources.files("runpod_sim") / "openapi.json").read_text())
    reference = json.loads(Path(sys.argv[1]).read_text())
    found = Comparison(own, reference).compare()
    for line in found:
        print(line)  # noqa: T201 - a script
    operations = sum(len(methods) for methods in own["paths"].values())
    print(  # noqa: T201 - a script
        f"{operations} REST v2 operations, {len(found)} differences"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
