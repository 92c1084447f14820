from collections.abc import Iterator

import pytest

from runpod_client import Error
from runpod_hub.api.problems import HTTP_STATUSES, http_status, render_problem


def descendants(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from descendants(child)


@pytest.mark.parametrize("kind", list(descendants(Error)))
def test_every_error_has_an_http_status(kind: type[Error]) -> None:
    error = kind.__new__(kind)

    assert 400 <= http_status(error) < 600
    assert any(base in HTTP_STATUSES for base in kind.__mro__)


def test_a_problem_never_carries_a_credential() -> None:
    problem = render_problem(500, "key rpa_planted0secret0value was refused")

    assert b"planted" not in problem.body
    assert problem.media_type == "application/problem+json"
