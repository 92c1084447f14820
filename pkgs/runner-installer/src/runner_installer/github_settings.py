"""What is to be known to reach GitHub, and which credential that means."""

from dataclasses import dataclass

from runner_installer.github_auth import AppAuthority, Authority, TokenAuthority
from runner_installer.github_bases import Bases
from runner_installer.github_limits import (
    CREATIONS_PER_MINUTE,
    POINTS_PER_MINUTE,
    Pace,
)
from runpod_client import ConfigError, Secret
from runpod_client.config import setting

_ADVICE = (
    "Set GITHUB_TOKEN_FILE or GITHUB_TOKEN, or GITHUB_APP_ID and "
    "GITHUB_APP_PRIVATE_KEY_FILE. A token needs Administration: write on the repository "
    "(classic: repo), or Self-hosted runners: write on the organization (classic: "
    "admin:org)."
)


@dataclass(frozen=True, kw_only=True)
class GitHubSettings:
    """What is needed to reach GitHub."""

    api_url: str = setting(
        "Base URL of GitHub's REST API; derived from the server's where it is not set",
        env="GITHUB_API_URL",
        default="",
    )
    server_url: str = setting(
        "Where people find this GitHub: https://github.com, https://SUB.ghe.com or an "
        "Enterprise Server's https://HOST",
        env="GITHUB_SERVER_URL",
        default="",
    )
    token: Secret | None = setting(
        "GitHub token that may administer runners", env="GITHUB_TOKEN", default=None
    )
    app_id: str = setting(
        "Id or client id of the GitHub App to act as, instead of a token",
        env="GITHUB_APP_ID",
        default="",
    )
    app_private_key: Secret | None = setting(
        "Private key of that App, in PEM", env="GITHUB_APP_PRIVATE_KEY", default=None
    )
    app_installation_id: str = setting(
        "Id of the App's installation; found by the repository's or organization's "
        "name where it is not set",
        env="GITHUB_APP_INSTALLATION_ID",
        default="",
    )
    timeout_seconds: float = setting(
        "Time limit of one GitHub call",
        env="GITHUB_API_TIMEOUT",
        default=30.0,
        unit="s",
    )
    rate_limit_wait_seconds: float = setting(
        "How long one call may wait for a rate limit to pass",
        env="GITHUB_RATE_LIMIT_WAIT",
        default=90.0,
        unit="s",
    )
    writes_per_minute: int = setting(
        "How many changes a minute are sent at most, -1 for no bound; 0 is GitHub's own "
        "limit of 80 on github.com and ghe.com, and no bound on an Enterprise Server",
        env="GITHUB_WRITES_PER_MINUTE",
        default=0,
    )


def make_authority(settings: GitHubSettings) -> Authority:
    """Return the credential that the settings name; an App goes before a token.

    Raises:
        ConfigError: There is none, or half of one.
    """
    if settings.app_id:
        return _make_app(settings)
    if settings.token is None:
        raise ConfigError(
            "there is no GitHub token",
            setting="token",
            source="GITHUB_TOKEN",
            hint=_ADVICE,
        )
    return TokenAuthority(settings.token)


def _make_app(settings: GitHubSettings) -> AppAuthority:
    if settings.app_private_key is None:
        raise ConfigError(
            f"there is no private key for the GitHub App {settings.app_id}",
            setting="app_private_key",
            source="GITHUB_APP_PRIVATE_KEY",
            hint="Set GITHUB_APP_PRIVATE_KEY_FILE to its .pem file (mode 600).",
        )
    given = settings.app_installation_id
    if given and not (given.isascii() and given.isdigit()):
        raise ConfigError(
            f"{given!r} is no installation's id",
            setting="app_installation_id",
            source="GITHUB_APP_INSTALLATION_ID",
            hint="It is the number at the end of the installation's address; or leave "
            "it out.",
        )
    return AppAuthority(
        app_id=settings.app_id,
        private_key=settings.app_private_key,
        installation_id=int(given) if given else None,
    )


def choose_pace(bases: Bases, writes_per_minute: int = 0) -> Pace:
    """Return how fast calls may go to this GitHub."""
    points = POINTS_PER_MINUTE if bases.is_hosted else None
    if writes_per_minute > 0:
        return Pace(creations_per_minute=writes_per_minute, points_per_minute=points)
    creations = (
        CREATIONS_PER_MINUTE if bases.is_hosted and not writes_per_minute else None
    )
    return Pace(creations_per_minute=creations, points_per_minute=points)
