"""The values of the simulated GitHub: scopes, runners, groups, sessions, jobs, runs.

Nothing here knows HTTP or decides anything; `forge.Forge` does, and replaces these
frozen values as time goes by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class RefusedError(Exception):
    """A call GitHub turns down: the status and message it answers with.

    Args:
        status: What GitHub answers; the rules are stated in its terms.
        kind: The runner protocol's `errorKind`, where the broker gives one.
        headers: What the answer carries beside the usual.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.headers = dict(headers or {})


class ScopeKind(StrEnum):
    """Where a runner can be registered; the value is the word in GitHub's paths."""

    REPOSITORY = "repos"
    ORGANIZATION = "orgs"
    ENTERPRISE = "enterprises"


@dataclass(frozen=True, slots=True)
class Scope:
    """One repository, organization or enterprise; names differ not by case."""

    kind: ScopeKind
    name: str = field(compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.name.casefold())

    @property
    def path(self) -> str:
        """The scope's path below the API root."""
        return f"/{self.kind}/{self.name}"

    @property
    def web_path(self) -> str:
        """The scope's path on the web face, as `config.sh --url` takes it."""
        prefix = "/enterprises" if self.kind is ScopeKind.ENTERPRISE else ""
        return f"{prefix}/{self.name}"


class Purpose(StrEnum):
    """What a runner token was minted for."""

    REGISTER = "register"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class RunnerToken:
    """A registration or remove token: good for many runners until it expires."""

    token: str
    scope: Scope
    purpose: Purpose
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class InstallationToken:
    """A token minted for a GitHub App's installation, possibly narrowed.

    Args:
        account: Where the App is installed, in lower case.
    """

    token: str
    permissions: tuple[tuple[str, str], ...]
    repositories: tuple[str, ...]
    expires_at: datetime
    account: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A runner's label; read-only ones come from the runner application itself."""

    id: int
    name: str
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class RunnerGroup:
    """Which repositories of an organization or enterprise may use which runners."""

    id: int
    scope: Scope
    name: str
    is_default: bool = False
    visibility: str = "all"
    allows_public_repositories: bool = False
    restricted_to_workflows: bool = False
    selected_workflows: tuple[str, ...] = ()
    repository_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Runner:
    """A registration; whether a process stands behind it is told by its session.

    Args:
        key: Shared secret of the runner's credentials.
        job_id: The job it runs now; a runner with one is busy.
        remove_at: When the server drops a one-job runner that has had its job.
        is_spent: A one-job runner that was given its job, or whose JIT config was
            used by a listener that has since said good-bye.
    """

    id: int
    name: str
    scope: Scope
    group_id: int
    labels: tuple[Label, ...]
    client_id: str
    key: str = field(repr=False)
    created_at: datetime
    is_ephemeral: bool
    is_jit: bool
    os: str = "unknown"
    architecture: str = ""
    version: str | None = None
    last_seen_at: datetime | None = None
    job_id: int | None = None
    remove_at: datetime | None = None
    is_spent: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A listener's hold on its runner.

    Args:
        open_polls: Requests of the listener that are waiting right now. While there
            are any the runner is connected, however far the clock was wound.
    """

    id: str
    runner_id: int
    owner: str
    last_seen_at: datetime
    open_polls: int = 0


class JobStatus(StrEnum):
    """A job's phase."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Conclusion(StrEnum):
    """How a completed job ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a run, with the shell script that stands for its steps.

    Args:
        assigned_until: Queued, and offered to a runner that has until then to take it.
        renewed_at: In progress: when its runner last renewed the job's lock.
        open_renewals: Renewals of the runner that are waiting right now.
        problem: Why GitHub, rather than the job itself, ended it.
    """

    id: int
    run_id: int
    run_attempt: int
    repository: str
    name: str
    labels: tuple[str, ...]
    script: str
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
    conclusion: Conclusion | None = None
    runner_id: int | None = None
    runner_name: str | None = None
    runner_group_id: int | None = None
    runner_group_name: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    assigned_until: datetime | None = None
    renewed_at: datetime | None = None
    open_renewals: int = 0
    is_cancel_requested: bool = False
    log: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a workflow; its state follows from its newest jobs."""

    id: int
    repository: str
    name: str
    number: int
    attempt: int
    created_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A change of a job worth a `workflow_job` delivery."""

    action: str
    job: Job
    at: datetime


@dataclass(frozen=True, slots=True)
class Deprecation:
    """When a runner version may no longer register, and no longer run."""

    version: str
    registration_deprecates_at: datetime | None = None
    runtime_deprecates_at: datetime | None = None
