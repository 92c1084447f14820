"""Credentials: tokens of three kinds and an App, against the simulator."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from runner_installer import GitHub, GitHubSettings, open_github, parse_scope
from runner_installer.github_auth import Authority, TokenAuthority
from runner_installer.github_settings import make_authority
from runpod_client import (
    AuthenticationError,
    ConfigError,
    NotFoundError,
    RateLimitedError,
    Secret,
    UnavailableError,
)
from support.forge import REPOSITORY, ServedForge
from support.github_apps import (
    APP_ID,
    CLIENT_ID,
    app_authority,
    key_pair,
    register_app,
    reinstall_app,
    traditional,
)
from support.github_script import Script, scripted

SCOPE = parse_scope(REPOSITORY)
ORGANIZATION = parse_scope("acme")


@contextmanager
def opened(
    forge: ServedForge, authority: Authority, *, wait_seconds: float = 2
) -> Iterator[GitHub]:
    with GitHub(
        api_url=f"{forge.base_url}/api/v3",
        authority=authority,
        timeout_seconds=10,
        rate_limit_wait_seconds=wait_seconds,
        retry_wait_seconds=0.01,
    ) as github:
        yield github


def minted(forge: ServedForge) -> list[tuple[dict[str, str], tuple[str, ...]]]:
    """Return what the tokens were narrowed to that the forge has minted."""
    tokens = forge.forge._installation_tokens.values()
    return [(dict(x.permissions), x.repositories) for x in tokens]


# --- tokens ---------------------------------------------------------------------


def test_fine_grained_token_without_the_right_is_told_which_one_it_lacks(
    forge: ServedForge,
) -> None:
    forge.order(
        "/tokens", {"token": "github_pat_short", "permissions": {"actions": "read"}}
    )

    with (
        opened(forge, TokenAuthority(Secret("github_pat_short"))) as github,
        pytest.raises(AuthenticationError, match="needs Administration: write") as at,
    ):
        github.list_runners(SCOPE)

    assert "administration=write" in at.value.hint
    assert "github_pat_short" not in f"{at.value}{at.value.hint}"


def test_classic_token_without_the_scope_is_told_both(forge: ServedForge) -> None:
    forge.order("/tokens", {"token": "ghp_narrow", "scopes": ["repo"]})

    with opened(forge, TokenAuthority(Secret("ghp_narrow"))) as github:
        assert github.list_runners(SCOPE) == []
        with pytest.raises(AuthenticationError) as caught:
            github.list_runners(ORGANIZATION)

    assert "admin:org" in caught.value.hint
    assert "it has repo" in caught.value.hint


def test_enterprise_tells_a_fine_grained_token_that_it_needs_a_classic_one(
    forge: ServedForge,
) -> None:
    with (
        opened(forge, TokenAuthority(Secret("github_pat_any"))) as github,
        pytest.raises(AuthenticationError) as caught,
    ):
        github.list_runners(parse_scope("enterprises/big"))

    assert "manage_runners:enterprise" in caught.value.hint
    assert "this is a fine-grained token" in caught.value.hint


def test_token_that_ended_is_refused_without_repeating(forge: ServedForge) -> None:
    body = {"token": "ghp_brief", "life_seconds": 60, "scopes": ["repo"]}
    forge.order("/tokens", body)
    forge.clock.advance(61)

    with (
        opened(forge, TokenAuthority(Secret("ghp_brief"))) as github,
        pytest.raises(AuthenticationError, match="Bad credentials"),
    ):
        github.list_runners(SCOPE)

    assert github.quota.calls == 1


@pytest.mark.parametrize("token", ["ghp_a b", "ghp_a\nX-Evil: 1", "ghp_é", ""])
def test_text_that_can_be_no_token_is_refused_unseen(token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenAuthority(Secret(token))

    assert not token or token not in str(caught.value)


# --- Apps -----------------------------------------------------------------------


def test_app_acts_with_a_token_of_one_permission_and_one_repository(
    forge: ServedForge,
) -> None:
    register_app(forge)

    with opened(forge, app_authority()) as github:
        assert github.list_runners(SCOPE) == []
        assert github.list_runners(SCOPE) == []
        assert github.list_queued_jobs(SCOPE) == ()
        assert github.list_runners(ORGANIZATION) == []

    assert minted(forge) == [
        ({"administration": "write"}, ("widgets",)),
        ({"actions": "read"}, ("widgets",)),
        ({"organization_self_hosted_runners": "write"}, ()),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"app_id": CLIENT_ID},
        {"private_key": Secret(traditional(key_pair().private))},
        {"private_key": Secret(key_pair().private.replace("\n", "\\n"))},
    ],
    ids=["client id", "key as GitHub gives it", "key in one line"],
)
def test_app_is_known_by_either_id_and_its_key_in_any_form(
    forge: ServedForge, changes: dict[str, Any]
) -> None:
    register_app(forge)

    with opened(forge, app_authority(**changes)) as github:
        assert github.list_runners(SCOPE) == []


def test_threads_that_need_a_token_at_once_get_the_same_one(
    forge: ServedForge,
) -> None:
    register_app(forge)

    with (
        opened(forge, app_authority()) as github,
        ThreadPoolExecutor(20) as pool,
    ):
        list(pool.map(lambda _: github.list_runners(SCOPE), range(40)))

    assert len(minted(forge)) == 1


def test_token_is_renewed_before_its_end(forge: ServedForge) -> None:
    register_app(forge)
    clock = [time.time()]

    with opened(forge, app_authority(now=lambda: clock[0])) as github:
        github.list_runners(SCOPE)
        for seconds in (3200, 200):
            forge.clock.advance(seconds)
            clock[0] += seconds
            github.list_runners(SCOPE)

    assert len(minted(forge)) == 2


def test_token_that_github_took_back_is_replaced_once(forge: ServedForge) -> None:
    register_app(forge)

    with opened(forge, app_authority()) as github:
        github.list_runners(SCOPE)
        forge.forge._installation_tokens.clear()

        assert github.list_runners(SCOPE) == []

    assert len(minted(forge)) == 1


def test_outage_while_renewing_goes_on_with_the_token_there_is(
    forge: ServedForge,
) -> None:
    register_app(forge)
    clock = [time.time()]
    with opened(forge, app_authority(now=lambda: clock[0])) as github:
        github.list_runners(SCOPE)
        clock[0] += 3400
        forge.clock.advance(3400)
        order = {"operation": "create_installation_token", "kind": "error_500"}
        forge.order("/faults", {**order, "times": 4})

        assert github.list_runners(SCOPE) == []

        clock[0] += 300
        forge.clock.advance(300)
        forge.order("/faults", {**order, "times": 4})
        with pytest.raises(UnavailableError):
            github.list_runners(SCOPE)


def test_threads_that_wait_for_a_token_share_its_failure(forge: ServedForge) -> None:
    register_app(forge)
    order = {"operation": "create_installation_token", "kind": "error_500"}
    forge.order("/faults", {**order, "times": 1000})

    with (
        opened(forge, app_authority(), wait_seconds=30) as github,
        ThreadPoolExecutor(20) as pool,
    ):
        asked = [pool.submit(github.list_runners, SCOPE) for _ in range(20)]
        failures = [future.exception(timeout=30) for future in asked]

    assert all(isinstance(failure, UnavailableError) for failure in failures)
    assert github.quota.calls <= 3 * 5


def test_installation_that_was_made_anew_is_found_again(forge: ServedForge) -> None:
    register_app(forge)
    old = reinstall_app(forge, "acme")
    reinstall_app(forge, "acme")

    with opened(forge, app_authority(installation_id=old)) as github:
        assert github.list_runners(SCOPE) == []


def test_app_that_is_not_installed_there_is_told_where_to_install_it(
    forge: ServedForge,
) -> None:
    register_app(forge, accounts=["other"])

    with (
        opened(forge, app_authority()) as github,
        pytest.raises(NotFoundError, match="not installed on acme/widgets") as caught,
    ):
        github.list_runners(SCOPE)

    assert "Administration: write" in caught.value.hint


def test_right_the_app_was_not_given_is_named(forge: ServedForge) -> None:
    register_app(forge, permissions={"actions": "read"})

    with (
        opened(forge, app_authority()) as github,
        pytest.raises(AuthenticationError, match="not granted") as caught,
    ):
        github.list_runners(SCOPE)

    assert "Administration: write" in caught.value.hint


def test_app_cannot_administer_an_enterprise_and_says_so(forge: ServedForge) -> None:
    with (
        opened(forge, app_authority()) as github,
        pytest.raises(ConfigError, match="enterprises/big") as caught,
    ):
        github.list_runners(parse_scope("enterprises/big"))

    assert "classic token" in caught.value.hint


@pytest.mark.parametrize("skew_seconds", [3600, -3600])
def test_wrong_clock_is_named_as_the_reason_of_a_refused_signature(
    forge: ServedForge, skew_seconds: int
) -> None:
    register_app(forge)

    with (
        opened(forge, app_authority(now=lambda: time.time() + skew_seconds)) as github,
        pytest.raises(AuthenticationError, match="refuses the App's signature") as at,
    ):
        github.list_runners(SCOPE)

    where = "ahead of" if skew_seconds > 0 else "behind"
    assert re.search(rf"clock is (3599|360\d) s {where} GitHub", at.value.hint)


@pytest.mark.parametrize("skew_seconds", [-45, 45])
def test_clock_that_is_a_little_wrong_does_no_harm(
    forge: ServedForge, skew_seconds: int
) -> None:
    register_app(forge)
    authority = app_authority(now=lambda: time.time() + skew_seconds)

    with opened(forge, authority) as github:
        assert github.list_runners(SCOPE) == []


def test_key_of_another_app_is_told_apart_from_a_wrong_clock(
    forge: ServedForge,
) -> None:
    register_app(forge)
    authority = app_authority(private_key=Secret(key_pair(1).private))

    with (
        opened(forge, authority) as github,
        pytest.raises(AuthenticationError) as caught,
    ):
        github.list_runners(SCOPE)

    assert "the key is this App" in caught.value.hint


def test_limit_met_while_a_token_is_made_is_a_limit(forge: ServedForge) -> None:
    register_app(forge)
    order = {"operation": "find_installation", "kind": "rate_limited_secondary"}
    forge.order("/faults", {**order, "wait_seconds": 600})

    with (
        opened(forge, app_authority()) as github,
        pytest.raises(RateLimitedError),
    ):
        github.list_runners(SCOPE)


@pytest.mark.parametrize("planted", ["planted-nonsense", "-----BEGIN planted-----"])
def test_text_that_is_no_key_is_refused_unseen(planted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        app_authority(private_key=Secret(planted))

    shown = f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    assert "planted" not in shown
    assert "GITHUB_APP_PRIVATE_KEY_FILE" in caught.value.hint


def test_app_shows_neither_its_key_nor_its_tokens(forge: ServedForge) -> None:
    register_app(forge)
    authority = app_authority()

    with opened(forge, authority) as github:
        github.list_runners(SCOPE)

    shown = f"{authority!r} {vars(github._session)!r} {[x.minted for x in authority._purposes.values()]!r}"
    assert "PRIVATE KEY" not in shown
    assert not any(token in shown for token in forge.forge._installation_tokens)


# --- settings -------------------------------------------------------------------


def test_settings_of_an_app_go_before_a_token(forge: ServedForge) -> None:
    register_app(forge)
    settings = GitHubSettings(
        api_url=f"{forge.base_url}/api/v3",
        token=Secret("ghs_of_the_workflow"),
        app_id=str(APP_ID),
        app_private_key=Secret(key_pair().private),
    )

    with open_github(settings) as github:
        assert github.list_runners(SCOPE) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (GitHubSettings(), "GITHUB_TOKEN"),
        (GitHubSettings(app_id="7"), "GITHUB_APP_PRIVATE_KEY"),
        (
            GitHubSettings(
                app_id="7",
                app_private_key=Secret(key_pair().private),
                app_installation_id="acme",
            ),
            "GITHUB_APP_INSTALLATION_ID",
        ),
    ],
)
def test_half_of_a_credential_names_the_other_half(
    settings: GitHubSettings, named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_authority(settings)

    assert caught.value.source == named


def test_refused_token_is_not_looked_for_again_with_nothing_better() -> None:
    script = Script((401, {}, {"message": "Bad credentials"}))

    with scripted(script) as github, pytest.raises(AuthenticationError):
        github.list_runners(SCOPE)

    assert len(script.requests) == 1


def test_what_github_itself_says_is_lacking_is_passed_on() -> None:
    headers = {"x-accepted-github-permissions": "administration=write"}
    script = Script((403, headers, {"message": "Resource not accessible"}))

    with scripted(script) as github, pytest.raises(AuthenticationError) as caught:
        github.list_runners(SCOPE)

    assert "GitHub asks for administration=write" in caught.value.hint
    assert requests.codes.forbidden == caught.value.http_status
