"""What a call needs a credential to be allowed, in GitHub's words.

Pure: a table of permissions per kind of scope, and the sentences that name them. It
must not know how a credential is come by.
"""

import enum
from collections.abc import Mapping

from runner_installer.model import Scope, ScopeKind


class Need(enum.StrEnum):
    """What kind of thing a call does."""

    RUNNERS = "runners"
    ACTIONS_READ = "actions_read"
    ACTIONS_WRITE = "actions_write"
    HOOKS = "hooks"


class TokenKind(enum.StrEnum):
    """What sort of credential a token is, as far as its prefix tells."""

    CLASSIC = "a classic token"
    FINE_GRAINED = "a fine-grained token"
    INSTALLATION = "an App's or a workflow's own token"
    OTHER = "a token"


_PREFIXES = {
    "ghp_": TokenKind.CLASSIC,
    "github_pat_": TokenKind.FINE_GRAINED,
    "ghs_": TokenKind.INSTALLATION,
}
# (permission of a fine-grained token or an App, its level, a person's words for it)
_REPOSITORY = {
    Need.RUNNERS: ("administration", "write", "Administration: write"),
    Need.ACTIONS_READ: ("actions", "read", "Actions: read"),
    Need.ACTIONS_WRITE: ("actions", "write", "Actions: write"),
    Need.HOOKS: ("repository_hooks", "write", "Webhooks: write"),
}
_ORGANIZATION = {
    **_REPOSITORY,
    Need.RUNNERS: (
        "organization_self_hosted_runners",
        "write",
        "Self-hosted runners: write",
    ),
    Need.HOOKS: ("organization_hooks", "write", "Webhooks: write"),
}
_CLASSIC = {
    (ScopeKind.REPOSITORY, Need.HOOKS): "admin:repo_hook",
    (ScopeKind.ORGANIZATION, Need.RUNNERS): "admin:org",
    (ScopeKind.ORGANIZATION, Need.HOOKS): "admin:org_hook",
    (ScopeKind.ENTERPRISE, Need.RUNNERS): "manage_runners:enterprise",
}


def find_token_kind(token: str) -> TokenKind:
    """Return what sort of token this is."""
    for prefix, kind in _PREFIXES.items():
        if token.startswith(prefix):
            return kind
    return TokenKind.OTHER


def find_permission(scope: Scope, need: Need) -> tuple[str, str]:
    """Return the permission an App's token is narrowed to, and its level."""
    name, level, _ = _table(scope)[need]
    return name, level


def name_permission(scope: Scope, need: Need) -> str:
    """Return the permission in the words of GitHub's own pages."""
    if scope.kind is ScopeKind.ENTERPRISE:
        return "manage_runners:enterprise"
    return _table(scope)[need][2]


def explain_need(scope: Scope, need: Need, kind: TokenKind = TokenKind.OTHER) -> str:
    """Say in a sentence or two what the credential must be allowed."""
    if scope.kind is ScopeKind.ENTERPRISE:
        said = "An enterprise's runners need a classic token with "
        said += "manage_runners:enterprise"
        wrong = kind in {TokenKind.FINE_GRAINED, TokenKind.INSTALLATION}
        return f"{said}; this is {kind}." if wrong else f"{said}."
    fine = f"{name_permission(scope, need)} on the {scope.kind} {scope}"
    classic = _CLASSIC.get((scope.kind, need), "repo")
    if kind is TokenKind.CLASSIC:
        return f"This classic token needs {classic} (a fine-grained one: {fine})."
    if kind is TokenKind.INSTALLATION:
        return (
            f"It needs {fine}. A workflow's own GITHUB_TOKEN cannot administer "
            "runners: use a personal token or a GitHub App."
        )
    return f"The token needs {fine} (a classic token: {classic})."


def explain_headers(headers: Mapping[str, str]) -> str:
    """Return what GitHub itself says a refused call needs; empty where it does not."""
    accepted = headers.get("x-accepted-github-permissions", "")
    if accepted:
        return f"GitHub asks for {_shortened(accepted)}."
    wanted = headers.get("x-accepted-oauth-scopes", "")
    if wanted and "x-oauth-scopes" in headers:
        has = headers["x-oauth-scopes"] or "none"
        return f"GitHub asks for {_shortened(wanted)}; it has {_shortened(has)}."
    return ""


def _shortened(text: str) -> str:
    return " ".join(text.split())[:200]


def _table(scope: Scope) -> Mapping[Need, tuple[str, str, str]]:
    if scope.kind is ScopeKind.ORGANIZATION:
        return _ORGANIZATION
    return _REPOSITORY
