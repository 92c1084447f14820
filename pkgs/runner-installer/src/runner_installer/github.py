"""GitHub's REST API for runners: what can be asked and done, as functions.

It must not know pods. Reads and DELETE (which is idempotent) are repeated a bounded
number of times; minting a JIT config never is: a lost answer may have made a runner.
Blocking, and safe for several threads at once.
"""

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Self

from runner_installer import github_wire as wire
from runner_installer.errors import RegistrationError, RunnerBusyError
from runner_installer.github_auth import Authority, TokenAuthority
from runner_installer.github_bases import Bases, check_url, find_bases
from runner_installer.github_jobs import JobOperations
from runner_installer.github_lists import list_all
from runner_installer.github_session import Call, GitHubSession
from runner_installer.github_settings import (
    GitHubSettings,
    choose_pace,
    make_authority,
)
from runner_installer.model import (
    APIQuota,
    Download,
    Registration,
    RunnerGroup,
    RunnerRecord,
    RunnerSpec,
    RunnerToken,
    Scope,
    ScopeKind,
)
from runpod_client import NotFoundError, RejectedError, Secret
from runpod_client.logs import get_logger

__all__ = ["GitHub", "GitHubSettings", "check_url", "open_github"]

# a repository has one group, which no call shows
_REPOSITORY_GROUP = RunnerGroup(group_id=1, name="Default", is_default=True)

log = get_logger(__name__)


class GitHub(JobOperations):
    """One GitHub, as one credential. Close it, or use it as a context.

    Args:
        api_url: Empty derives it from `server_url`.
        token: What calls carry; `authority` is the general form of it.
        writes_per_minute: As the setting of that name.
        now: Seconds since 1970, which GitHub's instants are compared with.
    """

    def __init__(
        self,
        *,
        api_url: str = "",
        server_url: str = "",
        token: Secret | None = None,
        authority: Authority | None = None,
        timeout_seconds: float = 30.0,
        rate_limit_wait_seconds: float = 90.0,
        retry_wait_seconds: float = 0.5,
        writes_per_minute: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        bases = find_bases(api_url=api_url, server_url=server_url)
        authority = authority or TokenAuthority(token or Secret(""))
        super().__init__(
            GitHubSession(
                bases,
                authority,
                timeout_seconds=timeout_seconds,
                rate_limit_wait_seconds=rate_limit_wait_seconds,
                retry_wait_seconds=retry_wait_seconds,
                pace=choose_pace(bases, writes_per_minute),
                now=now,
            )
        )
        self.api_url = bases.api_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a call that waits for a limit ends at once."""
        self._session.close()

    @property
    def bases(self) -> Bases:
        """Return where this GitHub is: its pages and its API."""
        return self._session.bases

    @property
    def server_version(self) -> str:
        """Return an Enterprise Server's version; empty where no answer told one."""
        return self._session.server_version

    @property
    def quota(self) -> APIQuota:
        """Return what GitHub has told of its limits so far, without asking."""
        return self._session.quota

    def generate_jit_config(self, spec: RunnerSpec) -> Registration:
        """Register a runner for one job; never retried.

        Raises:
            RegistrationError: A runner of that name exists, or GitHub refuses the
                labels or the group.
            TransportError: No answer; the runner may exist nevertheless.
        """
        operation = "generate_jit_config"
        body = {
            "name": spec.name,
            "runner_group_id": spec.group_id,
            "labels": list(spec.all_labels),
            "work_folder": spec.work_folder,
        }
        path = f"{_runners(spec.scope)}/generate-jitconfig"
        try:
            answer = self._session.send(
                Call(
                    method="POST",
                    path=path,
                    operation=operation,
                    scope=spec.scope,
                    body=body,
                )
            )
        except RejectedError as error:
            raise _registration_error(error, spec) from error
        config = wire.decode(answer, wire.JITConfigWire, operation)
        log.info(
            "runner_registered",
            runner_name=spec.name,
            runner_id=config.runner.id,
            repository=str(spec.scope),
        )
        return Registration(
            runner_id=config.runner.id,
            name=config.runner.name,
            jit_config=Secret(config.encoded_jit_config),
        )

    def create_registration_token(self, scope: Scope) -> RunnerToken:
        """Return a token that lets `config.sh` register runners for an hour.

        Repeated where no answer comes: a token that nobody has harms nobody.
        """
        return self._create_token(scope, "registration-token")

    def create_remove_token(self, scope: Scope) -> RunnerToken:
        """Return a token that lets `config.sh remove` do so for an hour."""
        return self._create_token(scope, "remove-token")

    def list_runners(self, scope: Scope, *, name: str = "") -> list[RunnerRecord]:
        """Return every runner of the scope, or those of exactly this name."""
        items = list_all(
            self._session,
            Call(
                method="GET",
                path=_runners(scope),
                operation="list_runners",
                scope=scope,
            ),
            {"name": name} if name else {},
            wire.RunnerPage,
            lambda page: page.runners,
        )
        records = [wire.parse_runner(item) for item in items]
        return [r for r in records if not name or r.name == name]

    def find_runner(self, scope: Scope, name: str) -> RunnerRecord | None:
        """Return the runner of that name, None where there is none."""
        return next(iter(self.list_runners(scope, name=name)), None)

    def get_runner(self, scope: Scope, runner_id: int) -> RunnerRecord:
        """Return one runner, fresh.

        Raises:
            NotFoundError: GitHub knows no such runner (any more).
        """
        answer = self._session.read(
            Call(
                method="GET",
                path=f"{_runners(scope)}/{runner_id}",
                operation="get_runner",
                scope=scope,
                is_fresh=True,
            )
        )
        return wire.parse_runner(wire.decode(answer, wire.RunnerWire, "get_runner"))

    def delete_runner(self, scope: Scope, runner_id: int) -> bool:
        """Remove a runner; tell whether there still was one.

        Raises:
            RunnerBusyError: It runs a job.
        """
        try:
            self._session.read(
                Call(
                    method="DELETE",
                    path=f"{_runners(scope)}/{runner_id}",
                    operation="delete_runner",
                    scope=scope,
                )
            )
        except NotFoundError:
            return False
        except RejectedError as error:
            if error.http_status not in {
                HTTPStatus.UNPROCESSABLE_ENTITY,
                HTTPStatus.CONFLICT,
            }:
                raise
            raise RunnerBusyError(
                f"runner {runner_id} of {scope} runs a job, so GitHub keeps it",
                hint="Wait for the job to end, or cancel it at GitHub, and repeat.",
            ) from error
        log.info("runner_deleted", runner_id=runner_id, repository=str(scope))
        return True

    def list_groups(self, scope: Scope) -> tuple[RunnerGroup, ...]:
        """Return the scope's runner groups; a repository has the one default group."""
        if scope.kind is ScopeKind.REPOSITORY:
            return (_REPOSITORY_GROUP,)
        items = list_all(
            self._session,
            Call(
                method="GET",
                path=f"{scope.api_path}/actions/runner-groups",
                operation="list_groups",
                scope=scope,
            ),
            {},
            wire.GroupPage,
            lambda page: page.runner_groups,
        )
        return tuple(wire.parse_group(item) for item in items)

    def find_group(self, scope: Scope, name: str) -> RunnerGroup | None:
        """Return the group of that name or id, None where the scope has none.

        Names are compared without regard to case; a name goes before an id.
        """
        groups = self.list_groups(scope)
        wanted = name.strip().casefold()
        named = [x for x in groups if x.name.casefold() == wanted]
        named += [x for x in groups if str(x.group_id) == wanted]
        # 1 means the default group wherever its id is another
        named += [x for x in groups if wanted == "1" and x.is_default]
        return next(iter(named), None)

    def list_group_runners(self, scope: Scope, group_id: int) -> list[RunnerRecord]:
        """Return the runners of one group; all of them for a repository."""
        if scope.kind is ScopeKind.REPOSITORY:
            return self.list_runners(scope)
        items = list_all(
            self._session,
            Call(
                method="GET",
                path=f"{scope.api_path}/actions/runner-groups/{group_id}/runners",
                operation="list_group_runners",
                scope=scope,
            ),
            {},
            wire.RunnerPage,
            lambda page: page.runners,
        )
        return [wire.parse_runner(item) for item in items]

    def list_downloads(self, scope: Scope) -> list[Download]:
        """Return the runner packages GitHub wants this scope to run."""
        answer = self._session.read(
            Call(
                method="GET",
                path=f"{_runners(scope)}/downloads",
                operation="list_downloads",
                scope=scope,
            )
        )
        items = wire.decode(answer, list[wire.DownloadWire], "list_downloads")
        return [wire.parse_download(item) for item in items]

    def download(self, download: Download) -> Iterator[bytes]:
        """Stream a package, without our token: it lies on another host.

        Raises:
            TransportError: No connection, or it was cut in the middle.
            NotFoundError: The package is not there.
        """
        check_url(download.url, what="the runner's download_url")
        yield from self._session.download(download)

    def _create_token(self, scope: Scope, word: str) -> RunnerToken:
        operation = f"create_{word.replace('-', '_')}"
        answer = self._session.read(
            Call(
                method="POST",
                path=f"{_runners(scope)}/{word}",
                operation=operation,
                scope=scope,
            )
        )
        return wire.parse_token(wire.decode(answer, wire.TokenWire, operation))


def open_github(settings: GitHubSettings) -> GitHub:
    """Return the GitHub that the settings describe.

    Raises:
        ConfigError: There is no credential, or an address would send it in the clear.
    """
    return GitHub(
        api_url=settings.api_url,
        server_url=settings.server_url,
        authority=make_authority(settings),
        timeout_seconds=settings.timeout_seconds,
        rate_limit_wait_seconds=settings.rate_limit_wait_seconds,
        writes_per_minute=settings.writes_per_minute,
    )


def _runners(scope: Scope) -> str:
    return f"{scope.api_path}/actions/runners"


def _registration_error(error: RejectedError, spec: RunnerSpec) -> RegistrationError:
    if error.http_status == HTTPStatus.CONFLICT:
        return RegistrationError(
            f"{spec.scope} already has a runner named {spec.name}",
            runner_name=spec.name,
            hint="Leave --name out to get a fresh name, or remove that runner first.",
        )
    return RegistrationError(
        f"{spec.scope} takes no runner named {spec.name}: {error.message}",
        runner_name=spec.name,
        hint="Check the labels and the runner group.",
    )
