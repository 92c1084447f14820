"""The schema of the GitHub operations served here, and checks against it.

`data/github.json` is an OpenAPI description of exactly these operations; it must not
be needed to answer a call, only to refuse a wrong one.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


@cache
def load_schema() -> dict[str, Any]:
    """Read the package's own description of the served operations."""
    text = files("runpod_sim").joinpath("data/github.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def request_problems(path: str, method: str, body: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a request's body, one sentence per place."""
    described = _operation(path, method).get("requestBody")
    if described is None:
        return []
    return list(_problems(described["content"]["application/json"]["schema"], body))


def answer_problems(path: str, method: str, status: int, body: Any) -> list[str]:
    """Say what is wrong with an answer, one sentence per place.

    Args:
        body: The decoded body, or None where there was none.
    """
    answers = _operation(path, method).get("responses", {})
    if str(status) not in answers:
        return [f"status {status} is not described for {method} {path}"]
    answer = answers[str(status)]
    if "$ref" in answer:
        answer = load_schema()["components"]["responses"][str(status)]
    content = answer.get("content")
    if content is None:
        return [] if body is None else [f"{method} {path} has no body"]
    return list(_problems(content["application/json"]["schema"], body))


def _operation(path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = load_schema()["paths"].get(path, {}).get(method.lower(), {})
    return found


def _problems(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    whole = {**schema, "components": load_schema()["components"]}
    for error in Draft202012Validator(whole).iter_errors(value):
        where = "/".join(str(step) for step in error.absolute_path)
        yield f"For '{where or 'body'}': {error.message}"
