import pytest

from runner_installer import GitHub, parse_scope
from runner_installer.github_bases import derive_bases, find_bases
from runner_installer.github_settings import choose_pace
from runpod_client import ConfigError, Secret


@pytest.mark.parametrize(
    ("web_url", "api_url"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://www.github.com/", "https://api.github.com"),
        ("https://octo.ghe.com", "https://api.octo.ghe.com"),
        ("https://ghe.corp.example", "https://ghe.corp.example/api/v3"),
        ("https://ghe.corp.example:8443/", "https://ghe.corp.example:8443/api/v3"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/api/v3"),
    ],
)
def test_api_is_derived_from_where_people_find_it(web_url: str, api_url: str) -> None:
    assert derive_bases(web_url).api_url == api_url


@pytest.mark.parametrize(
    ("api_url", "web_url"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://api.octo.ghe.com", "https://octo.ghe.com"),
        ("https://ghe.corp.example/api/v3/", "https://ghe.corp.example"),
    ],
)
def test_pages_are_derived_from_an_api_that_was_set(api_url: str, web_url: str) -> None:
    bases = find_bases(api_url=api_url, server_url="")

    assert (bases.web_url, bases.api_url) == (web_url, api_url.rstrip("/"))


def test_nothing_set_means_the_public_github() -> None:
    assert find_bases(api_url="", server_url="").api_url == "https://api.github.com"


def test_what_a_workflow_exports_is_taken_as_it_is() -> None:
    bases = find_bases(
        api_url="https://ghe.example/api/v3", server_url="https://ghe.example"
    )

    assert bases.render_runner_url(parse_scope("enterprises/big")) == (
        "https://ghe.example/enterprises/big"
    )


@pytest.mark.parametrize("api_url", ["https://github.com", "https://octo.ghe.com"])
def test_address_of_pages_is_no_api_and_the_right_one_is_named(api_url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_bases(api_url=api_url, server_url="")

    assert "https://api." in caught.value.hint


def test_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        find_bases(api_url="https://me:planted@ghe.example/api/v3", server_url="")

    assert "planted" not in str(caught.value)


def test_address_on_another_server_is_refused_before_anything_is_sent() -> None:
    with GitHub(token=Secret("ghp_x")) as github, pytest.raises(ConfigError) as caught:
        github.list_runners(parse_scope("https://ghe.corp.example/acme/widgets"))

    assert "ghe.corp.example" in caught.value.hint


def test_published_limits_hold_at_github_and_not_at_an_own_server() -> None:
    hosted = choose_pace(derive_bases("https://github.com"))
    tenant = choose_pace(derive_bases("https://octo.ghe.com"))
    own = choose_pace(derive_bases("https://ghe.corp.example"))

    assert hosted.creations_per_minute == tenant.creations_per_minute == 80
    assert (own.creations_per_minute, own.points_per_minute) == (None, None)
    assert choose_pace(derive_bases("https://ghe.example"), 7).creations_per_minute == 7
