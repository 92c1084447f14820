import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_installer import RunnerSpec, Scope, parse_labels, parse_scope, render_name
from runner_installer.model import ScopeKind, is_name_of_pod
from runpod_client import ConfigError

SCOPE = Scope(owner="acme", repository="widgets")


def test_scope_with_a_slash_is_a_repository() -> None:
    assert parse_scope(" acme/widgets ") == SCOPE
    assert SCOPE.api_path == "/repos/acme/widgets"


def test_scope_without_a_slash_is_an_organization() -> None:
    assert parse_scope("acme").api_path == "/orgs/acme"


def test_scope_below_enterprises_is_an_enterprise() -> None:
    scope = parse_scope("enterprises/big-corp")

    assert (scope.kind, scope.owner) == (ScopeKind.ENTERPRISE, "big-corp")
    assert scope.api_path == "/enterprises/big-corp"


@pytest.mark.parametrize(
    ("address", "scope", "host"),
    [
        ("https://github.com/acme/widgets", "acme/widgets", "github.com"),
        ("https://github.com/acme/widgets.git", "acme/widgets", "github.com"),
        ("https://ghe.corp.example/acme/widgets/", "acme/widgets", "ghe.corp.example"),
        ("https://ghe.corp.example:8443/acme", "acme", "ghe.corp.example:8443"),
        ("https://github.com/orgs/acme", "acme", "github.com"),
        ("https://github.com/enterprises/big", "enterprises/big", "github.com"),
        ("http://127.0.0.1:8000/acme/widgets", "acme/widgets", "127.0.0.1:8000"),
    ],
)
def test_address_names_the_same_scope_and_its_server(
    address: str, scope: str, host: str
) -> None:
    parsed = parse_scope(address)

    assert (parsed, parsed.host) == (parse_scope(scope), host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b/c",
        "a/..",
        "../x",
        "a b/c",
        "a/b?x",
        "/b",
        "enterprises/.x",
        "enterprises/a/b",
        "https://github.com",
        "https://github.com/a/b/actions",
        "https://github.com/a/b?tab=readme",
        "https://user:word@github.com/a/b",
        "ftp://github.com/a/b",
        "https://[::1/a/b",
        "git@github.com:a/b.git",
    ],
)
def test_scope_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_scope(text)


@given(st.text())
def test_any_scope_that_is_taken_reads_back_as_itself(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ConfigError:
        return

    assert parse_scope(str(scope)) == scope


def test_labels_lose_blanks_and_repetitions() -> None:
    assert parse_labels(" gpu, a4000,,gpu ") == ("gpu", "a4000")


@pytest.mark.parametrize("text", ["", " , ", "x" * 257, "a\nb"])
def test_labels_github_would_refuse_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_labels(text)


def test_own_name_is_a_label_and_follows_a_renaming() -> None:
    spec = RunnerSpec(name="one", scope=SCOPE, labels=("gpu",))

    assert spec.all_labels == ("gpu", "one")
    assert spec.renamed("two").all_labels == ("gpu", "two")


@pytest.mark.parametrize("name", ["", "..", "-x", "a/b", "a b", "x" * 65])
def test_name_that_could_not_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        RunnerSpec(name=name, scope=SCOPE)


def test_made_name_tells_its_pod_and_no_other() -> None:
    name = render_name(prefix="runpod", pod_id="abc123", token="d4e5f6")

    assert is_name_of_pod(name, "abc123")
    assert not is_name_of_pod(name, "abc12")
