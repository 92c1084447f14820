"""GitHub's REST API as served, over real HTTP, held against its own description."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from runpod_sim.github_operations import OPERATIONS
from runpod_sim.github_schema import load_schema
from support.forge import REPOSITORY, RUNNERS, ServedForge, served_forge
from support.github_apps import register_app, signed_statement
from support.waiting import wait_for

from .github_answers import checked, template_of

JIT_BODY = {"name": "one", "runner_group_id": 1, "labels": ["gpu"]}
SCOPES = ["/repos/acme/widgets", "/orgs/acme", "/enterprises/big"]


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


def test_every_served_operation_is_described_and_every_described_one_served() -> None:
    described = {
        (method.upper(), path)
        for path, methods in load_schema()["paths"].items()
        for method in methods
    }

    served = {(x.method, x.path) for x in OPERATIONS}

    assert served | {("GET", "/rate_limit")} == described


def test_every_operation_has_been_held_against_its_description(
    served: ServedForge,
) -> None:
    """Call each served operation once with success, and check the answer's shape."""
    register_app(served)
    app_token = f"Bearer {signed_statement()}"
    job_id = served.queue("true")
    hook = {"scope": REPOSITORY, "url": "http://127.0.0.1:9/", "secret": "s"}
    hook_ids = {
        "/repos/acme/widgets": served.order("/hooks", hook)["id"],
        "/orgs/acme": served.order("/hooks", {**hook, "scope": "acme"})["id"],
    }
    served.queue("true")
    done: set[tuple[str, str]] = set()

    def call(method: str, path: str, body: Any = None, **rest: Any) -> Any:
        answer = checked(served, method, path, body, **rest)
        assert answer.ok, (method, path, answer.text)
        done.add((method, template_of(path)[0]))
        return answer.json() if answer.content else None

    for scope in SCOPES:
        call_runner_operations(call, scope)
        call("GET", f"{scope}/installation", token=app_token)
        if scope in hook_ids:
            call_hook_operations(call, f"{scope}/hooks/{hook_ids[scope]}/deliveries")
    for scope in SCOPES[1:]:
        call_group_operations(call, scope)
    call_run_operations(call, f"/repos/{REPOSITORY}/actions", job_id)
    installed = call("GET", "/repos/acme/widgets/installation", token=app_token)
    path = f"/app/installations/{installed['id']}/access_tokens"
    call("POST", path, {}, token=app_token)
    call("GET", "/rate_limit")

    assert {(x.method, x.path) for x in OPERATIONS} - done == set()


def call_runner_operations(call: Any, scope: str) -> None:
    root = f"{scope}/actions/runners"
    created = call("POST", f"{root}/generate-jitconfig", JIT_BODY)
    one = f"{root}/{created['runner']['id']}"
    for path in (root, one, f"{one}/labels", f"{root}/downloads"):
        call("GET", path)
    call("GET", f"{root}/deprecations/2.300.0")
    call("POST", f"{root}/registration-token")
    call("POST", f"{root}/remove-token")
    call("POST", f"{one}/labels", {"labels": ["fast"]})
    call("DELETE", f"{one}/labels/fast")
    call("PUT", f"{one}/labels", {"labels": ["slow"]})
    call("DELETE", f"{one}/labels")
    call("DELETE", one)


def call_group_operations(call: Any, scope: str) -> None:
    root = f"{scope}/actions/runner-groups"
    created = call("POST", f"{scope}/actions/runners/generate-jitconfig", JIT_BODY)
    one = f"{root}/{call('POST', root, {'name': 'dear'})['id']}"
    call("GET", root)
    call("GET", one)
    call("PATCH", one, {"name": "dearer"})
    call("PUT", f"{one}/runners/{created['runner']['id']}")
    call("GET", f"{one}/runners")
    call("DELETE", one)


def call_hook_operations(call: Any, root: str) -> None:
    delivery = wait_for(lambda: call("GET", root), what="a delivery")[0]
    call("GET", f"{root}/{delivery['id']}")
    call("POST", f"{root}/{delivery['id']}/attempts")


def call_run_operations(call: Any, root: str, job_id: int) -> None:
    run = f"{root}/runs/{call('GET', f'{root}/jobs/{job_id}')['run_id']}"
    for path in (f"{root}/runs", run, f"{run}/jobs", f"{run}/attempts/1/jobs"):
        call("GET", path)
    for again in ("rerun", "rerun-failed-jobs"):
        call("POST", f"{run}/cancel")
        call("POST", f"{run}/{again}")
    call("POST", f"{run}/force-cancel")
    newest = call("GET", f"{run}/jobs")["jobs"][0]["id"]
    call("POST", f"{root}/jobs/{newest}/rerun")


@pytest.mark.parametrize("scope", SCOPES)
def test_whole_life_of_a_registration_in_each_scope(
    served: ServedForge, scope: str
) -> None:
    root = f"{scope}/actions/runners"

    created = checked(served, "POST", f"{root}/generate-jitconfig", JIT_BODY)
    runner_id = created.json()["runner"]["id"]
    one = f"{root}/{runner_id}"

    assert created.status_code == 201
    assert checked(served, "GET", root).json()["total_count"] == 1
    assert checked(served, "GET", one).json() == created.json()["runner"]
    labelled = checked(served, "POST", f"{one}/labels", {"labels": ["fast"]})
    assert [x["name"] for x in labelled.json()["labels"]] == ["gpu", "fast"]
    replaced = checked(served, "PUT", f"{one}/labels", {"labels": ["slow"]})
    assert [x["name"] for x in replaced.json()["labels"]] == ["slow"]
    assert checked(served, "DELETE", f"{one}/labels/slow").json()["total_count"] == 0
    assert checked(served, "DELETE", f"{one}/labels/slow").status_code == 404
    assert checked(served, "DELETE", f"{one}/labels").status_code == 200
    assert checked(served, "GET", f"{one}/labels").json()["labels"] == []
    assert checked(served, "DELETE", one).status_code == 204
    assert checked(served, "GET", one).status_code == 404
    assert checked(served, "DELETE", one).status_code == 404


@pytest.mark.parametrize("scope", SCOPES)
def test_tokens_downloads_and_deprecations_in_each_scope(
    served: ServedForge, scope: str
) -> None:
    root = f"{scope}/actions/runners"

    for name in ("registration-token", "remove-token"):
        assert checked(served, "POST", f"{root}/{name}").status_code == 201
    downloads = checked(served, "GET", f"{root}/downloads").json()
    schedule = checked(served, "GET", f"{root}/deprecations/2.300.0").json()

    assert [x["architecture"] for x in downloads] == ["x64", "arm64"]
    assert schedule == {"runner_version": "2.300.0"}


@pytest.mark.parametrize("scope", SCOPES[1:])
def test_runner_groups_are_created_changed_filled_and_deleted(
    served: ServedForge, scope: str
) -> None:
    root = f"{scope}/actions/runner-groups"
    jitconfig = f"{scope}/actions/runners/generate-jitconfig"
    runner_id = checked(served, "POST", jitconfig, JIT_BODY).json()["runner"]["id"]

    group = checked(served, "POST", root, {"name": "dear"}).json()
    one = f"{root}/{group['id']}"

    assert checked(served, "POST", root, {"name": "dear"}).status_code == 409
    assert checked(served, "PATCH", one, {"name": "dearer"}).json()["name"] == "dearer"
    assert checked(served, "GET", one).json()["name"] == "dearer"
    assert checked(served, "PUT", f"{one}/runners/{runner_id}").status_code == 204
    assert checked(served, "GET", f"{one}/runners").json()["total_count"] == 1
    assert checked(served, "DELETE", one).status_code == 204
    assert checked(served, "GET", root).json()["total_count"] == 1
    default = checked(served, "GET", f"{root}/1")
    assert default.json()["default"] is True
    assert checked(served, "DELETE", f"{root}/1").status_code == 422


def test_list_is_paged_with_links_and_filtered_by_exact_name(
    served: ServedForge,
) -> None:
    for number in range(101):
        served.jit(f"runner-{number}")

    first = checked(served, "GET", f"{RUNNERS}?per_page=100")
    second = served.session_get(first.links["next"]["url"])
    named = checked(served, "GET", f"{RUNNERS}?name=runner-1").json()

    assert first.json()["total_count"] == 101
    assert len(first.json()["runners"]) == 100
    assert first.links.keys() == {"next", "last"}
    assert [x["name"] for x in second.json()["runners"]] == ["runner-100"]
    assert second.links.keys() == {"prev", "first"}
    assert [x["name"] for x in named["runners"]] == ["runner-1"]
    assert len(checked(served, "GET", RUNNERS).json()["runners"]) == 30


def test_name_that_is_taken_is_a_conflict(served: ServedForge) -> None:
    served.jit("one")

    answer = checked(served, "POST", f"{RUNNERS}/generate-jitconfig", JIT_BODY)

    assert answer.status_code == 409
    assert "Already exists" in answer.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "one", "runner_group_id": 1},
        {**JIT_BODY, "labels": []},
        {**JIT_BODY, "name": 7},
        {**JIT_BODY, "runner_group_id": "1"},
    ],
)
def test_jit_request_that_does_not_fit_is_refused(
    served: ServedForge, body: dict[str, Any]
) -> None:
    answer = checked(served, "POST", f"{RUNNERS}/generate-jitconfig", body)

    assert answer.status_code == 422


def test_jit_config_carries_the_three_files(served: ServedForge) -> None:
    config = served.jit("one")["encoded_jit_config"]

    packed = json.loads(base64.b64decode(config))
    files = {name: json.loads(base64.b64decode(x)) for name, x in packed.items()}

    assert files.keys() == {".runner", ".credentials", ".credentials_rsaparams"}
    assert files[".runner"]["ephemeral"] is True
    assert "gitHubUrl" not in files[".runner"]


def test_jobs_and_runs_are_shown_cancelled_and_run_again(served: ServedForge) -> None:
    job_id = served.queue("true")
    root = f"/repos/{REPOSITORY}/actions"

    job = checked(served, "GET", f"{root}/jobs/{job_id}").json()
    run = f"{root}/runs/{job['run_id']}"

    assert (job["status"], job["labels"], job["runner_id"]) == ("queued", ["gpu"], None)
    queued = checked(served, "GET", f"{root}/runs?status=queued").json()
    assert queued["total_count"] == 1
    assert (
        checked(served, "GET", f"{root}/runs?status=completed").json()["workflow_runs"]
        == []
    )
    assert checked(served, "POST", f"{run}/rerun").status_code == 403
    assert checked(served, "POST", f"{run}/cancel").status_code == 202
    assert checked(served, "POST", f"{run}/cancel").status_code == 409
    assert checked(served, "GET", run).json()["conclusion"] == "cancelled"
    assert checked(served, "POST", f"{run}/rerun-failed-jobs").status_code == 201
    assert checked(served, "GET", f"{run}/jobs").json()["total_count"] == 1
    assert checked(served, "GET", f"{run}/jobs?filter=all").json()["total_count"] == 2
    assert checked(served, "GET", f"{run}/attempts/2/jobs").json()["total_count"] == 1
    assert checked(served, "GET", f"{run}/attempts/3/jobs").status_code == 404
    assert checked(served, "POST", f"{run}/force-cancel").status_code == 202


@pytest.mark.parametrize("token", ["Bearer nonsense", "Basic eDp5", "Bearer ghp_"])
def test_unknown_credential_is_unauthorized(served: ServedForge, token: str) -> None:
    answer = checked(served, "GET", RUNNERS, token=token)

    assert answer.status_code == 401
    assert answer.json()["message"] == "Bad credentials"


def test_both_words_for_a_token_are_accepted(served: ServedForge) -> None:
    for scheme in ("Bearer", "token"):
        answer = checked(served, "GET", RUNNERS, token=f"{scheme} ghp_simulated")
        assert answer.status_code == 200


def test_call_without_user_agent_is_forbidden(served: ServedForge) -> None:
    answer = checked(served, "GET", RUNNERS, headers={"User-Agent": ""})

    assert answer.status_code == 403
    assert "User-Agent" in answer.json()["message"]


def test_unknown_api_version_is_refused(served: ServedForge) -> None:
    headers = {"X-GitHub-Api-Version": "2026-03-10"}

    assert checked(served, "GET", RUNNERS, headers=headers).status_code == 400


def test_answers_carry_limits_and_a_request_id(served: ServedForge) -> None:
    first = served.call("GET", RUNNERS).headers
    second = served.call("GET", RUNNERS).headers

    assert first["x-ratelimit-limit"] == "5000"
    assert (first["x-ratelimit-used"], second["x-ratelimit-used"]) == ("1", "2")
    assert second["x-ratelimit-remaining"] == "4998"
    assert second["x-ratelimit-resource"] == "core"
    assert first["x-github-request-id"] != second["x-github-request-id"]
    shown = checked(served, "GET", "/rate_limit").json()["resources"]["core"]
    assert shown["used"] == 2


def test_unchanged_list_is_not_sent_nor_counted_again(served: ServedForge) -> None:
    first = served.call("GET", RUNNERS)
    tag = {"If-None-Match": first.headers["etag"]}

    same = served.call("GET", RUNNERS, headers=tag)
    served.jit("one")
    changed = served.call("GET", RUNNERS, headers=tag)

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["x-ratelimit-used"] == "1"
    assert changed.status_code == 200


def test_enterprise_takes_classic_tokens_only(served: ServedForge) -> None:
    path = "/enterprises/big/actions/runners"

    answer = checked(served, "GET", path, token="Bearer github_pat_simulated")

    assert answer.status_code == 403


def test_what_is_not_served_is_not_found(served: ServedForge) -> None:
    assert served.call("GET", "/repos/acme/widgets/nothing").status_code == 404
    assert served.call("GET", f"{RUNNERS}/abc").status_code == 404
