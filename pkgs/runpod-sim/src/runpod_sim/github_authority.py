"""What the credential of a call may do at the simulated GitHub.

Personal tokens are taken at their word unless a lever has said what they may; an App's
tokens were minted here and may what they were narrowed to. It must not know what any
single operation does.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from runpod_sim.forge import Forge
from runpod_sim.forge_model import RefusedError, Scope, ScopeKind
from runpod_sim.github_apps import Apps

KNOWN_TOKEN = re.compile(r"(ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{4,}")
CLASSIC, INSTALLATION = "ghp_", "ghs_"


class Need(StrEnum):
    """What a credential must be allowed to do."""

    ANYTHING = "anything"
    RUNNERS = "runners"
    HOOKS = "hooks"
    ACTIONS_READ = "actions:read"
    ACTIONS_WRITE = "actions:write"
    APP = "app"


# (permission of fine-grained tokens and Apps, its level, scope of classic tokens)
_REPOSITORY = {
    Need.RUNNERS: ("administration", "write", "repo"),
    Need.HOOKS: ("repository_hooks", "write", "admin:repo_hook"),
    Need.ACTIONS_READ: ("actions", "read", "repo"),
    Need.ACTIONS_WRITE: ("actions", "write", "repo"),
}
_ORGANIZATION = {
    **_REPOSITORY,
    Need.RUNNERS: ("organization_self_hosted_runners", "write", "admin:org"),
    Need.HOOKS: ("organization_hooks", "write", "admin:org_hook"),
}
_ENTERPRISE = {
    **_REPOSITORY,
    Need.RUNNERS: ("", "", "manage_runners:enterprise"),
}
_TABLES = {
    ScopeKind.REPOSITORY: _REPOSITORY,
    ScopeKind.ORGANIZATION: _ORGANIZATION,
    ScopeKind.ENTERPRISE: _ENTERPRISE,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a lever has said a personal token may do.

    Args:
        scopes: Of a classic token.
        permissions: Of a fine-grained one, with their levels.
        repositories: The only ones a fine-grained one sees, in lower case; all where
            empty.
    """

    scopes: frozenset[str] = frozenset()
    permissions: tuple[tuple[str, str], ...] = ()
    repositories: frozenset[str] = frozenset()
    expires_at: datetime | None = None


class Credentials:
    """Everything the forge knows about who may do what."""

    def __init__(self, forge: Forge) -> None:
        self.apps = Apps(forge)
        self.grants: dict[str, Grant] = {}
        self._forge = forge

    def check(self, scheme: str, credential: str, need: Need, scope: Scope) -> None:
        """Refuse a credential that is unknown or may not do this.

        Args:
            scope: Looked at only where something is needed of it.

        Raises:
            RefusedError: 401 for credentials GitHub does not know, 403 or 404 for those
                that are not enough.
        """
        known = KNOWN_TOKEN.fullmatch(credential)
        if scheme not in {"bearer", "token"} or known is None:
            raise RefusedError(401, "Bad credentials")
        if credential.startswith(INSTALLATION):
            self._check_installation(credential, need, scope)
            return
        grant = self.grants.get(credential)
        if grant is not None and grant.expires_at is not None:
            _refuse_expired(grant.expires_at, self._forge.clock.now())
        if need is Need.ANYTHING:
            return
        if scope.kind is ScopeKind.ENTERPRISE and not credential.startswith(CLASSIC):
            raise RefusedError(403, "Resource not accessible by this kind of token")
        if grant is not None:
            _check_grant(credential, grant, need, scope)

    def _check_installation(self, credential: str, need: Need, scope: Scope) -> None:
        minted = self._forge.find_installation_token(credential)
        if minted is None:
            raise RefusedError(401, "Bad credentials")
        _refuse_expired(minted.expires_at, self._forge.clock.now())
        if need is Need.ANYTHING:
            return
        if scope.kind is ScopeKind.ENTERPRISE:
            raise RefusedError(403, "Resource not accessible by integration")
        account, _, short = scope.key.partition("/")
        listed = {name.casefold() for name in minted.repositories}
        if minted.account and account != minted.account:
            raise RefusedError(404, "Not Found")
        if short and listed and short not in listed:
            raise RefusedError(404, "Not Found")
        if not _allows(minted.permissions, need, scope):
            raise _lacking("integration", need, scope)


def _check_grant(credential: str, grant: Grant, need: Need, scope: Scope) -> None:
    name, level, wanted = _TABLES[scope.kind][need]
    if credential.startswith(CLASSIC):
        if wanted in grant.scopes:
            return
        raise RefusedError(
            403,
            "Must have admin rights to Repository.",
            headers={
                "x-oauth-scopes": ", ".join(sorted(grant.scopes)),
                "x-accepted-oauth-scopes": wanted,
            },
        )
    is_repository = scope.kind is ScopeKind.REPOSITORY
    if is_repository and grant.repositories and scope.key not in grant.repositories:
        raise RefusedError(404, "Not Found")
    if not _allows(grant.permissions, need, scope):
        raise RefusedError(
            403,
            "Resource not accessible by personal access token",
            headers={"x-accepted-github-permissions": f"{name}={level}"},
        )


def _allows(permissions: tuple[tuple[str, str], ...], need: Need, scope: Scope) -> bool:
    name, level, _ = _TABLES[scope.kind][need]
    return dict(permissions).get(name) in {level, "write"}


def _lacking(what: str, need: Need, scope: Scope) -> RefusedError:
    name, level, _ = _TABLES[scope.kind][need]
    return RefusedError(
        403,
        f"Resource not accessible by {what}",
        headers={"x-accepted-github-permissions": f"{name}={level}"},
    )


def _refuse_expired(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise RefusedError(401, "Bad credentials")
