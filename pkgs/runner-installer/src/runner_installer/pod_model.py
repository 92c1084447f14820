"""What a pod is and what runs on it, as the scripts there tell it: frozen values."""

import enum
import re
from dataclasses import dataclass

from runner_installer.model import InstalledRunner
from runpod_client import ConfigError

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_FOLDER = re.compile(r"/[^\0\n]*")
_STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """What the probe found on a pod.

    Attributes:
        base: Where a folder of runners can be made; None where nothing is writable.
        missing_programs: Programs the installation needs and the pod lacks.
        has_libicu: None where the pod cannot tell (no ldconfig).
        free_disk_mb: Free space at `base`; None where unknown.
        is_home_open: Whether every user of the pod may enter `home`.
        user_tool: What makes users: useradd, adduser, or empty.
        user_way: How root becomes another user: setpriv, runuser, su, or empty.
    """

    home: str
    user_id: int
    os: str
    architecture: str
    user: str = ""
    base: str | None = None
    missing_programs: tuple[str, ...] = ()
    has_libicu: bool | None = None
    free_disk_mb: int | None = None
    is_home_open: bool = False
    user_tool: str = ""
    user_way: str = ""

    @property
    def is_root(self) -> bool:
        """Tell whether we are logged in as root."""
        return self.user_id == 0


class RegistrationKind(enum.StrEnum):
    """How GitHub learns of a runner."""

    AUTO = "auto"
    JIT = "jit"
    TOKEN = "token"  # noqa: S105  # the name of a way, no secret


class StepPhase(enum.StrEnum):
    """When a custom step runs."""

    BEFORE_INSTALL = "before_install"
    AFTER_INSTALL = "after_install"
    BEFORE_JOB = "before_job"
    AFTER_JOB = "after_job"


class FailurePolicy(enum.StrEnum):
    """What a failing custom step means for the rest."""

    FAIL = "fail"
    CONTINUE = "continue"
    KEEP_POD = "keep_pod"


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """A command of the user's own, run at one point of a runner's life.

    The steps around the installation run as the SSH user, those around a job as the
    runner's user within the job hooks.

    Attributes:
        command: Read by `sh`.
        on_failure: `keep_pod` fails like `fail` and asks whoever rented the pod not
            to end it.
    """

    name: str
    phase: StepPhase
    command: str
    timeout_seconds: int = 300
    on_failure: FailurePolicy = FailurePolicy.FAIL

    def __post_init__(self) -> None:
        problem = ""
        if not _STEP_NAME.fullmatch(self.name):
            problem = "needs a name of up to 40 letters, digits, dashes, underscores"
        elif not self.command.strip():
            problem = "has no command"
        elif not 1 <= self.timeout_seconds <= 86_400:  # a day
            problem = "needs a timeout_seconds between 1 and 86400"
        if problem:
            raise ConfigError(f"the step {self.name!r} {problem}", setting="steps")


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """How a runner is to live on a pod.

    Attributes:
        user: The Unix user it runs as where we log in as root; empty for one of its
            own, made for it.
        as_root: Run it as root, so that its jobs own the pod.
        folder: Where runners (and the homes of their users) go; empty to choose.
        install_libraries: Install missing libraries with the package's own script
            rather than go without them.
        allowed_repositories: `owner/name` or `owner/*`; a job of another repository
            is failed before its first step. Empty allows all.
    """

    user: str = ""
    as_root: bool = False
    folder: str = ""
    registration: RegistrationKind = RegistrationKind.AUTO
    install_libraries: bool = False
    allowed_repositories: tuple[str, ...] = ()
    steps: tuple[StepSpec, ...] = ()

    def __post_init__(self) -> None:
        if self.user and not _USER.fullmatch(self.user):
            raise ConfigError(f"{self.user!r} names no Unix user", setting="user")
        if self.user and self.as_root:
            raise ConfigError("--user and --as-root exclude each other", setting="user")
        if self.folder and not _FOLDER.fullmatch(self.folder):
            raise ConfigError(
                f"{self.folder!r} is no absolute path on the pod", setting="folder"
            )

    def steps_of(self, phase: StepPhase) -> tuple[StepSpec, ...]:
        """Return the custom steps of one phase, in order."""
        return tuple(step for step in self.steps if step.phase is phase)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The Unix user a runner runs as.

    Attributes:
        way: How the SSH user becomes it: `same` where it is the SSH user itself.
        is_own: Made for this one runner, and removed with it.
    """

    user: str = ""
    uid: int | None = None
    gid: int | None = None
    home: str = ""
    way: str = "same"
    is_own: bool = False


class SupervisorState(enum.StrEnum):
    """What the supervisor of a runner is at."""

    RUNNING = "running"
    RESTARTING = "restarting"
    FINISHED = "finished"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What the supervisor on the pod noted last.

    Attributes:
        restarts: How often it has started the runner again.
        reason: Why it restarts, or gave the runner up.
    """

    state: SupervisorState
    restarts: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class JobStamp:
    """What the job hooks noted about the runner's job.

    Attributes:
        started_at: UTC, `2026-11-22T10:00:00Z`; empty where it was not noted.
        keep: The step that asked for the pod to be kept, empty for none.
    """

    is_busy: bool
    repository: str = ""
    run_id: str = ""
    run_attempt: str = ""
    job: str = ""
    workflow: str = ""
    started_at: str = ""
    completed_at: str = ""
    keep: str = ""


@dataclass(frozen=True, kw_only=True)
class PodRunner(InstalledRunner):
    """A runner as its pod shows it, with what supervisor and hooks noted.

    Attributes:
        user: Whom it runs as; empty where that is the SSH user.
        age_seconds: Since its installation last did something; None where unknown.
    """

    user: str = ""
    age_seconds: int | None = None
    supervision: Supervision | None = None
    job: JobStamp | None = None
