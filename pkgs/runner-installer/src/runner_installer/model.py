"""The values runners are made of: frozen, without I/O and without wire names."""

import enum
import re
from dataclasses import dataclass, replace

from runpod_client import ConfigError, Secret

_OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?"
_SCOPE = re.compile(
    rf"(?P<owner>{_OWNER})(?:/(?P<repository>[A-Za-z0-9._-]{{1,100}}))?"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# GitHub refuses longer labels; commas separate them in workflows and in our option
_LABEL = re.compile(r"[^\s,][^,\n]{0,255}")
DEFAULT_LABELS = ("self-hosted", "linux", "x64", "gpu")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Who may give the runner jobs: one repository, or all of an organization."""

    owner: str
    repository: str = ""

    @property
    def api_path(self) -> str:
        """Return the start of GitHub's paths for this scope."""
        if self.repository:
            return f"/repos/{self.owner}/{self.repository}"
        return f"/orgs/{self.owner}"

    def __str__(self) -> str:
        return f"{self.owner}/{self.repository}" if self.repository else self.owner


def parse_scope(text: str) -> Scope:
    """Read `owner/name` as a repository and `owner` as an organization.

    Raises:
        ConfigError: It is neither.
    """
    match = _SCOPE.fullmatch(text.strip())
    if match is None or match["repository"] in {".", ".."}:
        raise ConfigError(
            f"{text!r} names no repository and no organization",
            setting="repo",
            hint="Write owner/name for a repository, or owner for an organization.",
        )
    return Scope(owner=match["owner"], repository=match["repository"] or "")


def parse_labels(text: str) -> tuple[str, ...]:
    """Read labels separated by commas; empty ones and repetitions are dropped.

    Raises:
        ConfigError: A label is longer than GitHub takes, or no label is left.
    """
    labels = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    labels = tuple(label for label in labels if label)
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{label[:40]!r}… is no label: at most 256 characters on one line",
                setting="labels",
            )
    if not labels:
        raise ConfigError("a runner needs at least one label", setting="labels")
    return labels


@dataclass(frozen=True, kw_only=True)
class RunnerSpec:
    """What runner is wanted.

    Attributes:
        labels: What workflows ask for, without the runner's own name.
        work_folder: Where jobs run, below the runner's folder.
        group_id: The runner group; repositories have only group 1.
    """

    name: str
    scope: Scope
    labels: tuple[str, ...] = DEFAULT_LABELS
    work_folder: str = "_work"
    group_id: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} cannot name a runner",
                setting="name",
                hint="Use up to 64 letters, digits, dots, dashes and underscores.",
            )

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Return the labels GitHub gets: its own name makes a runner addressable."""
        return tuple(dict.fromkeys((*self.labels, self.name)))

    def renamed(self, name: str) -> "RunnerSpec":
        """Return the same wish under another name."""
        return replace(self, name=name)


def render_name(*, prefix: str, pod_id: str, token: str) -> str:
    """Return a runner name that says which pod it is on and was never used before."""
    return f"{prefix[:24]}-{pod_id}-{token}"


def is_name_of_pod(name: str, pod_id: str) -> bool:
    """Tell whether a runner name was made by `render_name` for this pod."""
    return f"-{pod_id}-" in name


@dataclass(frozen=True, kw_only=True)
class Registration:
    """GitHub's promise to let one process be this runner, for one job."""

    runner_id: int
    name: str
    jit_config: Secret


@dataclass(frozen=True, kw_only=True)
class RunnerRecord:
    """A runner as GitHub lists it."""

    runner_id: int
    name: str
    is_online: bool
    is_busy: bool
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Download:
    """A runner package that GitHub wants to be run, with its checksum."""

    os: str
    architecture: str
    url: str
    filename: str
    sha256: str
    token: Secret | None = None


class ConsoleState(enum.StrEnum):
    """What the runner's console says it is doing."""

    STARTING = "starting"
    LISTENING = "listening"
    BUSY = "busy"
    FINISHED = "finished"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class ConsoleReport:
    """What a runner's console has told so far.

    Attributes:
        job: The name of the job that runs or ran last.
        result: GitHub's word for how that job ended, empty until then.
        reason: Why the runner is dead or cut off from GitHub, in its own words.
    """

    state: ConsoleState
    job: str = ""
    result: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """What the probe found on a pod.

    Attributes:
        missing_programs: Programs the installation needs and the pod lacks.
        has_libicu: None where the pod cannot tell (no ldconfig).
        has_default_signal: Whether its `env` can undo ignored signals.
        free_disk_mb: Free space where the home folder is; None where unknown.
    """

    home: str
    user_id: int
    os: str
    architecture: str
    missing_programs: tuple[str, ...] = ()
    has_libicu: bool | None = None
    has_default_signal: bool = True
    free_disk_mb: int | None = None


@dataclass(frozen=True, kw_only=True)
class InstalledRunner:
    """A runner as the pod itself shows it.

    Attributes:
        scope: None where the folder holds no readable record.
        runner_id: GitHub's id; None like `scope`.
        pid: Of its run.sh; None where it never ran.
        is_alive: Whether that very process (not a later one of the same pid) lives.
    """

    name: str
    folder: str
    scope: Scope | None
    runner_id: int | None
    labels: tuple[str, ...] = ()
    pid: int | None
    is_alive: bool
    console: ConsoleReport
    log_tail: str = ""


@dataclass(frozen=True, kw_only=True)
class RunnerStatus:
    """One runner from all three sides, and where the sides contradict each other.

    Attributes:
        record: GitHub's view; None where GitHub knows no such runner.
    """

    runner: InstalledRunner
    record: RunnerRecord | None
    disagreements: tuple[str, ...] = ()
