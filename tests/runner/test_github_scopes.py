"""One suite for every kind of scope, and for groups, against the simulator."""

import pytest

from runner_installer import GitHub, RunnerSpec, parse_scope
from runner_installer.model import RunnerGroup, Scope, ScopeKind
from runner_installer.registration import mint
from runpod_client import NotFoundError
from support.forge import ServedForge

SCOPES = ["acme/widgets", "acme", "enterprises/big"]


@pytest.fixture(params=SCOPES)
def scope(request: pytest.FixtureRequest) -> Scope:
    return parse_scope(request.param)


@pytest.fixture(params=SCOPES[1:])
def grouped(request: pytest.FixtureRequest) -> Scope:
    return parse_scope(request.param)


def wish(scope: Scope, name: str = "one", group_id: int = 1) -> RunnerSpec:
    return RunnerSpec(name=name, scope=scope, labels=("gpu",), group_id=group_id)


def create_group(forge: ServedForge, scope: Scope, name: str) -> int:
    path = f"{scope.api_path}/actions/runner-groups"
    answer = forge.call("POST", path, {"name": name})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_whole_life_of_a_registration(github: GitHub, scope: Scope) -> None:
    registration = github.generate_jit_config(wish(scope))

    found = github.find_runner(scope, "one")
    assert found == github.get_runner(scope, registration.runner_id)
    assert found is not None
    assert (found.is_online, found.is_busy, found.is_ephemeral) == (False, False, True)
    assert github.list_runners(scope) == [found]
    assert github.delete_runner(scope, registration.runner_id) is True
    assert github.delete_runner(scope, registration.runner_id) is False
    assert github.find_runner(scope, "one") is None


def test_lost_registration_leaves_nothing(
    forge: ServedForge, github: GitHub, scope: Scope
) -> None:
    forge.order("/faults", {"operation": "generate_jitconfig", "kind": "lost_answer"})

    mint(github, wish(scope), lambda: "two")

    assert [r.name for r in github.list_runners(scope)] == ["two"]


def test_registration_and_remove_tokens_end_within_the_hour(
    forge: ServedForge, github: GitHub, scope: Scope
) -> None:
    for token in (
        github.create_registration_token(scope),
        github.create_remove_token(scope),
    ):
        left = (token.expires_at - forge.clock.now()).total_seconds()
        assert 3590 < left <= 3600
        assert token.token not in repr(token)


def test_packages_are_offered(github: GitHub, scope: Scope) -> None:
    assert {d.architecture for d in github.list_downloads(scope)} >= {"x64"}


def test_default_group_is_there_and_answers_to_1(github: GitHub, scope: Scope) -> None:
    (only,) = github.list_groups(scope)

    assert only.is_default
    assert github.find_group(scope, "1") == github.find_group(scope, "default") == only
    assert github.find_group(scope, "nonsense") is None


def test_repository_has_no_groups_to_ask_for(github: GitHub) -> None:
    scope = parse_scope("acme/widgets")

    assert github.list_groups(scope) == (
        RunnerGroup(group_id=1, name="Default", is_default=True),
    )
    assert github.quota.calls == 0


def test_runner_goes_into_the_group_that_was_named(
    forge: ServedForge, github: GitHub, grouped: Scope
) -> None:
    group_id = create_group(forge, grouped, "Dear GPUs")

    group = github.find_group(grouped, "dear gpus")
    assert group is not None
    assert group == github.find_group(grouped, str(group_id))
    github.generate_jit_config(wish(grouped, group_id=group.group_id))
    github.generate_jit_config(wish(grouped, "two"))

    inside = github.list_group_runners(grouped, group_id)
    assert [(r.name, r.group_id) for r in inside] == [("one", group_id)]
    assert len(github.list_runners(grouped)) == 2


def test_all_pages_of_groups_are_read(
    forge: ServedForge, github: GitHub, grouped: Scope
) -> None:
    for number in range(101):
        create_group(forge, grouped, f"group-{number}")

    assert len(github.list_groups(grouped)) == 102


def test_group_that_does_not_exist_is_not_found(github: GitHub, grouped: Scope) -> None:
    with pytest.raises(NotFoundError, match="group"):
        github.generate_jit_config(wish(grouped, group_id=4711))


def test_scopes_of_the_same_name_have_runners_of_their_own(github: GitHub) -> None:
    for text in ("big", "enterprises/big", "big/big"):
        github.generate_jit_config(wish(parse_scope(text), text.replace("/", "-")))

    for text in ("big", "enterprises/big", "big/big"):
        (only,) = github.list_runners(parse_scope(text))
        assert only.name == text.replace("/", "-")


def test_address_means_the_scope_it_shows(forge: ServedForge, github: GitHub) -> None:
    forge.jit("one")
    scope = parse_scope(f"{forge.base_url}/acme/widgets")

    assert [r.name for r in github.list_runners(scope)] == ["one"]
    assert scope.kind is ScopeKind.REPOSITORY
    assert github.bases.render_runner_url(scope) == f"{forge.base_url}/acme/widgets"
