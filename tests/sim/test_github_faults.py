"""Trouble that can be ordered for calls of the simulated GitHub."""

from collections.abc import Iterator

import pytest
import requests

from support.forge import RUNNERS, ServedForge, served_forge


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


def order(served: ServedForge, kind: str, operation: str = "list_runners") -> None:
    served.order("/faults", {"operation": operation, "kind": kind, "wait_seconds": 2})


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("error_500", 500),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
    ],
)
def test_refusal_comes_once_and_only_for_its_operation(
    served: ServedForge, kind: str, status: int
) -> None:
    order(served, kind)

    assert served.call("GET", f"{RUNNERS}/downloads").status_code == 200
    assert served.call("GET", RUNNERS).status_code == status
    assert served.call("GET", RUNNERS).status_code == 200


def test_primary_limit_says_when_it_ends(served: ServedForge) -> None:
    order(served, "rate_limited_primary")

    answer = served.call("GET", RUNNERS)

    assert answer.status_code == 403
    assert answer.headers["x-ratelimit-remaining"] == "0"
    wait = int(answer.headers["x-ratelimit-reset"]) - served.clock.now().timestamp()
    assert 0 < wait <= 3
    assert "retry-after" not in answer.headers


def test_secondary_limit_says_how_long_to_wait(served: ServedForge) -> None:
    order(served, "rate_limited_secondary")

    answer = served.call("GET", RUNNERS)

    assert (answer.status_code, answer.headers["retry-after"]) == (403, "2")
    assert "secondary rate limit" in answer.json()["message"]


@pytest.mark.parametrize("kind", ["lost_answer", "truncated"])
def test_answer_that_breaks_off_has_had_its_effect(
    served: ServedForge, kind: str
) -> None:
    order(served, kind, "generate_jitconfig")
    body = {"name": "ghost", "runner_group_id": 1, "labels": ["gpu"]}

    with pytest.raises(requests.RequestException):
        served.call("POST", f"{RUNNERS}/generate-jitconfig", body)

    assert served.runner("ghost") is not None


def test_real_limit_is_reached_and_ends_with_the_hour(served: ServedForge) -> None:
    limit = 60
    for _ in range(limit):
        anonymous = served.call("GET", "/nothing", token="")
    assert anonymous.headers["x-ratelimit-remaining"] == "0"

    refused = served.call("GET", "/nothing", token="")
    served.clock.advance(3600)
    allowed = served.call("GET", "/nothing", token="")

    assert (refused.status_code, allowed.status_code) == (403, 404)


def test_orders_are_shown_and_called_off(served: ServedForge) -> None:
    order(served, "error_500")
    url = f"{served.base_url}/_sim/github/faults"

    shown = requests.get(url, timeout=10).json()
    requests.delete(url, timeout=10)

    assert [x["kind"] for x in shown] == ["error_500"]
    assert requests.get(url, timeout=10).json() == []


@pytest.mark.parametrize(
    "body", [{"kind": "nonsense"}, {"kind": "error_500", "times": 0}, {}]
)
def test_order_that_is_none_is_refused(
    served: ServedForge, body: dict[str, object]
) -> None:
    url = f"{served.base_url}/_sim/github/faults"

    assert requests.post(url, json=body, timeout=10).status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example", "Content-Type": "application/json"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_levers_refuse_what_a_page_in_a_browser_may_send(
    served: ServedForge, headers: dict[str, str], status: int
) -> None:
    url = f"{served.base_url}/_sim/github/jobs"

    answer = requests.post(url, data="{}", headers=headers, timeout=10)

    assert answer.status_code == status


def limits_of(served: ServedForge) -> dict[str, float]:
    url = f"{served.base_url}/_sim/github/state"
    found: dict[str, float] = requests.get(url, timeout=10).json()["limits"]
    return found


def test_secondary_limit_holds_for_its_time_and_counts_who_comes_early(
    served: ServedForge,
) -> None:
    served.order("/limits", {"calls_per_minute": 2, "wait_seconds": 30})

    statuses = [served.call("GET", RUNNERS).status_code for _ in range(2)]
    refused = served.call("GET", RUNNERS)
    served.clock.advance(10)
    early = served.call("GET", RUNNERS)
    served.clock.advance(30)

    assert statuses == [200, 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (403, "30")
    assert (early.status_code, early.headers["retry-after"]) == (403, "20")
    assert served.call("GET", RUNNERS).status_code == 200
    found = limits_of(served)
    assert (found["refused"], found["early"]) == (1, 1)
    assert 10 <= found["latest_early_seconds"] < 11


def test_creations_have_a_limit_of_their_own_per_credential(
    served: ServedForge,
) -> None:
    served.order("/limits", {"creations_per_minute": 1, "tells": False})
    path = f"{RUNNERS}/registration-token"

    first = served.call("POST", path)
    second = served.call("POST", path)
    other = served.call("POST", path, token="Bearer ghp_another")

    assert (first.status_code, second.status_code) == (201, 403)
    assert "retry-after" not in second.headers
    assert "secondary rate limit" in second.json()["message"]
    assert other.status_code == 201
