"""Our side of GitHub's API: against the simulator, and against scripted trouble."""

from typing import Any

import pytest
import requests

from runner_installer import (
    GitHub,
    GitHubSettings,
    RegistrationError,
    RunnerBusyError,
    RunnerSpec,
    open_github,
    parse_scope,
)
from runner_installer.registration import mint
from runpod_client import (
    AuthenticationError,
    ConfigError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    Secret,
    TransportError,
    UnavailableError,
)
from support.forge import REPOSITORY, ServedForge
from support.github_script import Script, scripted

from .conftest import open_forge

SCOPE = parse_scope(REPOSITORY)


def order(forge: ServedForge, operation: str, kind: str, times: int = 1) -> None:
    forge.order("/faults", {"operation": operation, "kind": kind, "times": times})


def names(forge: ServedForge) -> list[str]:
    return sorted(runner.name for runner in forge.forge.runners.values())


def test_registered_runner_is_listed_with_exactly_its_labels(
    github: GitHub, spec: RunnerSpec
) -> None:
    registration = github.generate_jit_config(spec)

    record = github.get_runner(SCOPE, registration.runner_id)
    assert (record.name, record.is_online, record.is_busy) == (spec.name, False, False)
    assert set(record.labels) == {"gpu", spec.name}
    assert github.find_runner(SCOPE, spec.name) == record


def test_jit_config_is_not_shown_by_its_record(
    github: GitHub, spec: RunnerSpec
) -> None:
    registration = github.generate_jit_config(spec)

    assert str(registration.jit_config) not in repr(registration)


def test_organization_has_runners_of_its_own(github: GitHub, spec: RunnerSpec) -> None:
    organization = parse_scope("acme")

    github.generate_jit_config(
        RunnerSpec(name=spec.name, scope=organization, labels=spec.labels)
    )

    assert [r.name for r in github.list_runners(organization)] == [spec.name]
    assert github.list_runners(SCOPE) == []


def test_list_goes_through_all_pages(forge: ServedForge, github: GitHub) -> None:
    for number in range(101):
        forge.jit(f"runner-{number}")

    listed = github.list_runners(SCOPE)

    assert len(listed) == 101


def test_name_that_is_taken_is_a_registration_error(
    forge: ServedForge, github: GitHub, spec: RunnerSpec
) -> None:
    forge.jit(spec.name)

    with pytest.raises(RegistrationError, match="already has a runner named"):
        mint(github, spec, None)

    assert names(forge) == [spec.name]


@pytest.mark.parametrize("kind", ["lost_answer", "truncated"])
def test_lost_registration_is_deleted_and_another_name_is_used(
    forge: ServedForge, github: GitHub, spec: RunnerSpec, kind: str
) -> None:
    order(forge, "generate_jitconfig", kind)

    registration = mint(github, spec, lambda: "runpod-pod1-second")

    assert registration.name == "runpod-pod1-second"
    assert names(forge) == ["runpod-pod1-second"]


def test_lost_registration_under_a_given_name_is_deleted_and_told(
    forge: ServedForge, github: GitHub, spec: RunnerSpec
) -> None:
    order(forge, "generate_jitconfig", "lost_answer")

    with pytest.raises(RegistrationError, match="was lost"):
        mint(github, spec, None)

    assert names(forge) == []


def test_registration_gives_up_after_a_second_lost_answer(
    forge: ServedForge, github: GitHub, spec: RunnerSpec
) -> None:
    order(forge, "generate_jitconfig", "lost_answer", times=2)

    with pytest.raises(RegistrationError):
        mint(github, spec, lambda: "runpod-pod1-second")

    assert names(forge) == []


@pytest.mark.parametrize("kind", ["error_500", "lost_answer"])
def test_reads_are_repeated_until_they_succeed(
    forge: ServedForge, github: GitHub, kind: str
) -> None:
    forge.jit("one")
    order(forge, "list_runners", kind, times=2)

    assert [r.name for r in github.list_runners(SCOPE)] == ["one"]


def test_reads_end_after_a_bounded_number_of_failures(
    forge: ServedForge, github: GitHub
) -> None:
    order(forge, "list_runners", "error_500", times=50)

    with pytest.raises(UnavailableError):
        github.list_runners(SCOPE)

    assert 40 <= forge_faults_left(forge) <= 48


def forge_faults_left(forge: ServedForge) -> int:
    url = f"{forge.base_url}/_sim/github/faults"
    return int(requests.get(url, timeout=10).json()[0]["times"])


def test_deleting_tells_whether_there_was_a_runner(
    forge: ServedForge, github: GitHub
) -> None:
    runner_id = forge.jit("one")["runner"]["id"]

    assert github.delete_runner(SCOPE, runner_id) is True
    assert github.delete_runner(SCOPE, runner_id) is False


def test_delete_whose_answer_is_lost_is_settled_by_repeating(
    forge: ServedForge, github: GitHub
) -> None:
    runner_id = forge.jit("one")["runner"]["id"]
    order(forge, "delete_runner", "lost_answer")

    github.delete_runner(SCOPE, runner_id)

    assert names(forge) == []


def test_wrong_token_is_an_authentication_error_that_names_the_permission(
    forge: ServedForge,
) -> None:
    with (
        open_forge(forge, token="nonsense") as github,
        pytest.raises(AuthenticationError) as caught,
    ):
        github.list_runners(SCOPE)

    assert "Administration: write" in caught.value.hint
    assert "nonsense" not in f"{caught.value}{caught.value.hint}"


def test_short_rate_limit_is_waited_out(forge: ServedForge, github: GitHub) -> None:
    forge.order(
        "/faults",
        {
            "operation": "list_runners",
            "kind": "rate_limited_secondary",
            "times": 1,
            "wait_seconds": 1,
        },
    )

    assert github.list_runners(SCOPE) == []


def test_long_rate_limit_is_an_error_that_says_how_long(
    forge: ServedForge, github: GitHub
) -> None:
    order(forge, "list_runners", "rate_limited_secondary", times=9)

    with pytest.raises(RateLimitedError) as caught:
        github.list_runners(SCOPE)

    assert caught.value.retry_after_seconds == 60


def test_downloads_name_their_checksums(github: GitHub) -> None:
    downloads = github.list_downloads(SCOPE)

    assert {(d.os, d.architecture) for d in downloads} >= {("linux", "x64")}
    assert all(len(d.sha256) == 64 for d in downloads)


EMPTY = {"total_count": 0, "runners": []}


def test_every_call_says_who_asks_and_in_which_version() -> None:
    script = Script((200, {}, EMPTY))

    with scripted(script) as github:
        github.list_runners(SCOPE)

    ((_method, path, headers, _body),) = script.requests
    assert path == "/repos/acme/widgets/actions/runners?per_page=100&page=1"
    assert headers["User-Agent"] == "runner-installer"
    assert headers["Accept"] == "application/vnd.github+json"
    assert headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert headers["Authorization"] == "Bearer ghp_planted"


def test_403_without_signs_of_a_limit_is_a_matter_of_permissions_at_once() -> None:
    script = Script((403, {"x-ratelimit-remaining": "17"}, {"message": "no admin"}))

    with scripted(script) as github, pytest.raises(AuthenticationError, match="admin"):
        github.list_runners(SCOPE)

    assert len(script.requests) == 1


def test_used_up_limit_is_waited_out_until_its_reset() -> None:
    limit = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1001"}
    script = Script((403, limit, {"message": "limit"}), (200, {}, EMPTY))

    with scripted(script) as github:
        assert github.list_runners(SCOPE) == []


def test_429_without_a_time_is_not_hammered() -> None:
    script = Script((429, {}, {"message": "slow down"}))

    with scripted(script) as github, pytest.raises(RateLimitedError) as caught:
        github.list_runners(SCOPE)

    assert caught.value.retry_after_seconds == 60
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_registration_is_never_repeated_by_itself(
    spec: RunnerSpec, status: int
) -> None:
    script = Script((status, {}, {}))

    with scripted(script) as github, pytest.raises(UnavailableError):
        github.generate_jit_config(spec)

    assert len(script.requests) == 1


def test_registration_refused_for_a_limit_is_sent_again(
    forge: ServedForge, github: GitHub, spec: RunnerSpec
) -> None:
    fault = {"operation": "generate_jitconfig", "kind": "rate_limited_secondary"}
    forge.order("/faults", {**fault, "wait_seconds": 1})

    github.generate_jit_config(spec)

    assert names(forge) == [spec.name]


def test_registration_that_cannot_be_settled_is_told_as_it_failed(
    spec: RunnerSpec,
) -> None:
    script = Script(*[(502, {}, {})] * 5)

    with (
        scripted(script) as github,
        pytest.raises(UnavailableError, match="generate_jit_config"),
    ):
        mint(github, spec, lambda: "another")

    assert [method for method, *_ in script.requests] == ["POST", *["GET"] * 4]


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", {"total_count": "x", "runners": []}]
)
def test_answer_of_another_shape_is_a_protocol_error(body: Any) -> None:
    with (
        scripted(Script((200, {}, body))) as github,
        pytest.raises(ProtocolError, match="not as documented"),
    ):
        github.list_runners(SCOPE)


def test_missing_repository_is_not_found() -> None:
    with (
        scripted(Script((404, {}, {"message": "Not Found"}))) as github,
        pytest.raises(NotFoundError),
    ):
        github.list_runners(SCOPE)


def test_runner_on_a_job_cannot_be_deleted() -> None:
    with (
        scripted(Script((422, {}, {"message": "busy"}))) as github,
        pytest.raises(RunnerBusyError),
    ):
        github.delete_runner(SCOPE, 5)


def test_redirected_registration_is_not_followed(spec: RunnerSpec) -> None:
    script = Script((307, {"Location": "http://127.0.0.1:9/elsewhere"}, {}))

    with (
        scripted(script) as github,
        pytest.raises((RejectedError, RegistrationError), match="redirected"),
    ):
        github.generate_jit_config(spec)


def test_token_stays_out_of_what_is_said_about_it() -> None:
    script = Script((401, {}, {"message": "Bad credentials"}))

    with scripted(script) as github, pytest.raises(AuthenticationError) as caught:
        github.list_runners(SCOPE)

    assert "ghp_planted" not in repr(caught.value) + caught.value.hint


def test_nobody_there_is_a_transport_error() -> None:
    github = GitHub(
        api_url="http://127.0.0.1:9", token=Secret("x"), retry_wait_seconds=0.01
    )

    with github, pytest.raises(TransportError, match="cannot be reached"):
        github.list_runners(SCOPE)


@pytest.mark.parametrize(
    "url", ["http://github.example", "ftp://127.0.0.1", "github.example", "https://"]
)
def test_address_that_would_show_the_token_is_refused(url: str) -> None:
    settings = GitHubSettings(api_url=url, token=Secret("x"))

    with pytest.raises(ConfigError, match="no https address"):
        open_github(settings)


def test_missing_token_is_told_with_the_permission_it_needs() -> None:
    with pytest.raises(ConfigError) as caught:
        open_github(GitHubSettings())

    assert "GITHUB_TOKEN" in caught.value.hint
