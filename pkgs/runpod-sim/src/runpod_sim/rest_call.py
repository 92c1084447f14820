"""One REST v2 request on behalf of one account, and the two forms of answers.

What the handlers of all resources share; it knows none of them.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runpod_sim.gate import JSON, render_json
from runpod_sim.model import Account
from runpod_sim.rest_body import Problem, parse_json

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Call:
    """One request on behalf of one account.

    Args:
        names: Its operation id, its verb and its wire, which a fault may name.
    """

    request: Request
    account: Account
    names: tuple[str, ...]

    @property
    def subject_id(self) -> str:
        """Return the pod, volume, template or type the path names."""
        return str(self.request.path_params["id"])

    async def body(self) -> Any:
        """Return the JSON in the body."""
        return parse_json(await self.request.body())

    def text(self, name: str) -> str | None:
        """Return a query parameter, None when it is absent or empty."""
        return self.request.query_params.get(name) or None

    def listed(self, name: str) -> tuple[str, ...]:
        """Return the entries of a comma separated query parameter."""
        return tuple(part for part in (self.text(name) or "").split(",") if part)

    def chosen(self, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        """Return the entries of a query parameter of fixed words.

        Raises:
            Problem: One is none of them.
        """
        entries = self.listed(name)
        for entry in entries:
            if entry not in allowed:
                raise Problem(422, f"{name} is one of {', '.join(allowed)}")
        return entries

    def matching(self, name: str, pattern: str) -> tuple[str, ...]:
        """Return the entries of a query parameter of one form.

        Raises:
            Problem: One has another form.
        """
        entries = self.listed(name)
        for entry in entries:
            if not re.fullmatch(pattern, entry):
                raise Problem(422, f"{entry} is no value of {name}")
        return entries

    def number(self, name: str, default: int) -> int:
        """Return a whole number of 1 or more.

        Raises:
            Problem: It is none.
        """
        text = self.text(name) or str(default)
        if not text.isdigit() or int(text) < 1:
            raise Problem(422, f"{name} is a whole number, 1 or more")
        return int(text)


Handler = Callable[[Call], Awaitable[Response]]
# Path, method, operation id, the verb a fault may name, handler.
Row = tuple[str, str, str, str, Handler]


def answer_json(value: Any, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(render_json(value), status, media_type=JSON)


def problem_answer(
    status: int, detail: str, headers: dict[str, str], errors: tuple[str, ...] = ()
) -> Response:
    """Return a refusal in the form of RFC 9457."""
    body: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return Response(render_json(body), status, headers, PROBLEM)
