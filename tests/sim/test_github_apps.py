"""GitHub Apps and narrowed tokens at the simulated GitHub.

The statements are signed by hand, byte for byte: neither our client's library nor the
simulator's code has a part in it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from support.forge import REPOSITORY, RUNNERS, ServedForge, served_forge
from support.github_apps import (
    APP_ID,
    CLIENT_ID,
    key_pair,
    register_app,
    reinstall_app,
    signed_statement,
)

from .github_answers import checked

NOT_DECODED = "A JSON web token could not be decoded"
INSTALLATION = f"/repos/{REPOSITORY}/installation"


@pytest.fixture
def served() -> Iterator[ServedForge]:
    with served_forge() as served:
        yield served


def bearer(**changes: Any) -> str:
    return f"Bearer {signed_statement(**changes)}"


def mint(
    served: ServedForge, body: dict[str, Any] | None = None, *, status: int = 201
) -> dict[str, Any]:
    found = checked(served, "GET", INSTALLATION, token=bearer()).json()
    path = f"/app/installations/{found['id']}/access_tokens"
    answer = checked(served, "POST", path, body, token=bearer())
    assert answer.status_code == status, answer.text
    made: dict[str, Any] = answer.json()
    return made


def get(served: ServedForge, path: str, token: dict[str, Any]) -> requests.Response:
    return checked(served, "GET", path, token=f"Bearer {token['token']}")


@pytest.mark.parametrize("issuer", [str(APP_ID), APP_ID, CLIENT_ID])
def test_app_is_known_by_its_id_and_its_client_id(
    served: ServedForge, issuer: Any
) -> None:
    register_app(served)

    answer = checked(served, "GET", INSTALLATION, token=bearer(iss=issuer))

    assert answer.json()["app_id"] == APP_ID


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": 1}, NOT_DECODED),
        ({"alg": "HS256"}, NOT_DECODED),
        ({"alg": "none"}, NOT_DECODED),
        ({"issued_in": 30}, "'Issued at' claim"),
        ({"iat": "now"}, "'Issued at' claim"),
        ({"ends_in": -1}, "'Expiration time' claim ('exp') must be"),
        ({"exp": None}, "'Expiration time' claim ('exp') must be"),
        ({"ends_in": 630}, "too far in the future"),
    ],
)
def test_statement_that_does_not_hold_is_unauthorized(
    served: ServedForge, changes: dict[str, Any], said: str
) -> None:
    register_app(served)

    answer = checked(served, "GET", INSTALLATION, token=bearer(**changes))

    assert answer.status_code == 401
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer aaa.bbb.ccc",
        "Bearer x",
        "Bearer ghp_simulated",
        "Bearer a.b",
        "Bearer e30.e30.e30",
    ],
)
def test_what_is_no_statement_is_unauthorized(
    served: ServedForge, credential: str
) -> None:
    register_app(served)

    answer = checked(served, "GET", INSTALLATION, token=credential)

    assert (answer.status_code, answer.json()["message"]) == (401, NOT_DECODED)


def test_statement_must_be_sent_as_bearer(served: ServedForge) -> None:
    register_app(served)

    answer = checked(served, "GET", INSTALLATION, token=f"token {signed_statement()}")

    assert answer.status_code == 401


def test_app_nobody_registered_is_not_found(served: ServedForge) -> None:
    answer = checked(served, "GET", INSTALLATION, token=bearer())

    assert answer.json()["message"] == "Integration not found"


def test_statement_ends_by_the_simulated_clock(served: ServedForge) -> None:
    register_app(served)
    token = bearer()
    served.clock.advance(481)

    assert checked(served, "GET", INSTALLATION, token=token).status_code == 401


def test_token_has_all_the_apps_rights_unless_it_was_narrowed(
    served: ServedForge,
) -> None:
    register_app(served, permissions={"administration": "write", "actions": "read"})

    wide = mint(served)
    narrow = mint(served, {"permissions": {"actions": "read"}})

    runs = f"/repos/{REPOSITORY}/actions/runs"
    assert wide["permissions"] == {"administration": "write", "actions": "read"}
    assert get(served, RUNNERS, wide).status_code == 200
    assert get(served, runs, narrow).status_code == 200
    refused = get(served, RUNNERS, narrow)
    assert refused.status_code == 403
    assert refused.headers["x-accepted-github-permissions"] == "administration=write"


@pytest.mark.parametrize(
    "permissions", [{"administration": "write"}, {"actions": "write"}, {"new": "read"}]
)
def test_token_cannot_be_given_more_than_the_app_has(
    served: ServedForge, permissions: dict[str, str]
) -> None:
    register_app(served, permissions={"administration": "read", "actions": "read"})

    answer = mint(served, {"permissions": permissions}, status=422)

    assert "not granted to this installation" in answer["message"]


def test_token_is_good_for_its_repositories_and_account_alone(
    served: ServedForge,
) -> None:
    register_app(served)

    token = mint(served, {"repositories": ["Widgets"]})

    assert token["repository_selection"] == "selected"
    for path, status in [
        (RUNNERS, 200),
        ("/repos/acme/other/actions/runners", 404),
        ("/repos/stranger/widgets/actions/runners", 404),
        ("/orgs/stranger/actions/runners", 404),
        ("/enterprises/acme/actions/runners", 403),
    ]:
        assert get(served, path, token).status_code == status, path


def test_installation_sees_only_what_it_was_shown(served: ServedForge) -> None:
    register_app(served, accounts=["acme"], repositories=[REPOSITORY])

    for path, status in [
        (INSTALLATION, 200),
        ("/repos/acme/other/installation", 404),
        ("/orgs/stranger/installation", 404),
    ]:
        assert checked(served, "GET", path, token=bearer()).status_code == status
    assert mint(served, {"repositories": ["other"]}, status=422)


def test_installation_made_anew_has_another_id_and_the_old_one_is_gone(
    served: ServedForge,
) -> None:
    register_app(served)
    old = reinstall_app(served, "acme")

    new = reinstall_app(served, "acme")

    path = "/app/installations/{}/access_tokens"
    for installation_id, status in [(old, 404), (new, 201), (999999, 404)]:
        url = path.format(installation_id)
        answer = checked(served, "POST", url, {}, token=bearer())
        assert answer.status_code == status


def test_token_ends_after_an_hour_of_the_simulated_clock(served: ServedForge) -> None:
    register_app(served)
    token = mint(served)

    served.clock.advance(3599)
    before = get(served, RUNNERS, token).status_code
    served.clock.advance(2)

    assert (before, get(served, RUNNERS, token).status_code) == (200, 401)


def test_installation_token_nobody_minted_is_unauthorized(served: ServedForge) -> None:
    assert (
        checked(served, "GET", RUNNERS, token="Bearer ghs_invented").status_code == 401
    )


# --- personal tokens ------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (["repo"], RUNNERS, 200),
        (["repo"], "/orgs/acme/actions/runners", 403),
        (["admin:org"], "/orgs/acme/actions/runners", 200),
        (["admin:org"], "/enterprises/big/actions/runners", 403),
        (["manage_runners:enterprise"], "/enterprises/big/actions/runners", 200),
        ([], RUNNERS, 403),
    ],
)
def test_classic_token_may_what_its_scopes_say(
    served: ServedForge, scopes: list[str], path: str, status: int
) -> None:
    served.order("/tokens", {"token": "ghp_narrow", "scopes": scopes})

    answer = checked(served, "GET", path, token="Bearer ghp_narrow")

    assert answer.status_code == status
    if status == 403:
        assert answer.headers["x-oauth-scopes"] == ", ".join(scopes)


def test_fine_grained_token_may_what_it_was_given_where_it_was_given_it(
    served: ServedForge,
) -> None:
    body = {
        "token": "github_pat_narrow",
        "permissions": {"actions": "read"},
        "repositories": [REPOSITORY],
    }
    served.order("/tokens", body)

    for method, path, status in [
        ("GET", f"/repos/{REPOSITORY}/actions/runs", 200),
        ("POST", f"/repos/{REPOSITORY}/actions/runs/1/cancel", 403),
        ("GET", "/repos/acme/other/actions/runs", 404),
        ("GET", RUNNERS, 403),
    ]:
        answer = checked(served, method, path, token="Bearer github_pat_narrow")
        assert answer.status_code == status, path


def test_personal_token_ends_when_the_lever_said(served: ServedForge) -> None:
    body = {"token": "ghp_brief", "life_seconds": 60, "scopes": ["repo"]}
    served.order("/tokens", body)

    before = checked(served, "GET", RUNNERS, token="Bearer ghp_brief").status_code
    served.clock.advance(60)

    after = checked(served, "GET", RUNNERS, token="Bearer ghp_brief").status_code
    assert (before, after) == (200, 401)


@pytest.mark.parametrize(
    ("lever", "body"),
    [
        ("apps", {}),
        ("apps", {"app_id": 1, "public_key": "nonsense"}),
        ("apps", {"app_id": 1, "public_key": key_pair().public, "permissions": []}),
        ("apps", {"app_id": 1, "public_key": key_pair().public, "accounts": "acme"}),
        ("installations", {"account": "acme"}),
        ("tokens", {"token": "nonsense"}),
        ("limits", {"wait_seconds": -1}),
    ],
)
def test_order_that_is_none_is_refused(
    served: ServedForge, lever: str, body: dict[str, Any]
) -> None:
    url = f"{served.base_url}/_sim/github/{lever}"

    assert requests.post(url, json=body, timeout=10).status_code == 422
