"""Calls of the simulated GitHub whose answers are held against its description."""

from typing import Any

import requests

from runpod_sim.github_schema import answer_problems, load_schema
from support.forge import ServedForge


def template_of(path: str) -> tuple[str, int]:
    """Return the described path that fits best, and how many literal parts fit."""
    parts = path.partition("?")[0].split("/")
    fitting = []
    for template in load_schema()["paths"]:
        wanted = template.split("/")
        pairs = list(zip(wanted, parts, strict=False))
        if len(wanted) == len(parts) and all(
            a == b or a.startswith("{") for a, b in pairs
        ):
            fitting.append((sum(a == b for a, b in pairs), template))
    literal, template = max(fitting)
    return template, literal


def checked(
    served: ServedForge, method: str, path: str, body: Any = None, **rest: Any
) -> requests.Response:
    """Send a call and hold its answer against the description."""
    answer = served.call(method, path, body, **rest)
    decoded = answer.json() if answer.content else None
    template, _ = template_of(path)
    problems = answer_problems(template, method, answer.status_code, decoded)
    assert problems == [], answer.text
    return answer
