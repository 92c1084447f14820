"""The values runners are made of: frozen, without I/O and without wire names."""

import enum
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import urlsplit

from runpod_client import ConfigError, Secret

_OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?"
_SCOPE = re.compile(
    rf"(?P<owner>{_OWNER})(?:/(?P<repository>[A-Za-z0-9._-]{{1,100}}))?"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# GitHub refuses longer labels; commas separate them in workflows and in our option
_LABEL = re.compile(r"[^\s,][^,\n]{0,255}")
# no account can have these names: they are the first word of GitHub's own pages
_ENTERPRISES = "enterprises"
_ORGANIZATION_PAGES = {"orgs", "organizations"}
DEFAULT_LABELS = ("self-hosted", "linux", "x64", "gpu")


class ScopeKind(enum.StrEnum):
    """What a runner can belong to."""

    REPOSITORY = "repository"
    ORGANIZATION = "organization"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Who may give the runner jobs: a repository, an organization, an enterprise.

    Attributes:
        owner: The account's or the enterprise's name.
        repository: The name without its owner; empty for the other two kinds.
        host: The server that an address named; empty where none did. It says where to
            ask, not what is meant, so it is left out of comparisons.
    """

    owner: str
    repository: str = ""
    is_enterprise: bool = False
    host: str = field(default="", compare=False)

    @property
    def kind(self) -> ScopeKind:
        """Return which of the three it is."""
        if self.is_enterprise:
            return ScopeKind.ENTERPRISE
        return ScopeKind.REPOSITORY if self.repository else ScopeKind.ORGANIZATION

    @property
    def api_path(self) -> str:
        """Return the start of GitHub's paths for this scope."""
        if self.is_enterprise:
            return f"/enterprises/{self.owner}"
        if self.repository:
            return f"/repos/{self.owner}/{self.repository}"
        return f"/orgs/{self.owner}"

    def __str__(self) -> str:
        if self.is_enterprise:
            return f"{_ENTERPRISES}/{self.owner}"
        return f"{self.owner}/{self.repository}" if self.repository else self.owner


def parse_scope(text: str) -> Scope:
    """Read a repository, an organization or an enterprise, also from its address.

    `owner/name` is a repository, `owner` an organization, `enterprises/name` an
    enterprise; `https://github.com/owner/name` and the like mean the same there.

    Raises:
        ConfigError: It is none of them.
    """
    words, host = text.strip(), ""
    if "://" in words:
        words, host = _split_address(words)
    match = _SCOPE.fullmatch(words)
    if match is None or match["repository"] in {".", ".."}:
        raise ConfigError(
            f"{text!r} names no repository, organization or enterprise",
            setting="repo",
            hint="Write owner/name for a repository, owner for an organization, "
            "enterprises/name for an enterprise, or its address.",
        )
    if match["owner"].lower() == _ENTERPRISES and match["repository"]:
        return _enterprise(match["repository"], host, text)
    return Scope(owner=match["owner"], repository=match["repository"] or "", host=host)


def _enterprise(name: str, host: str, text: str) -> Scope:
    if not re.fullmatch(_OWNER, name):
        raise ConfigError(
            f"{text!r} names no enterprise",
            setting="repo",
            hint="An enterprise's name is the word behind /enterprises/ in its address.",
        )
    return Scope(owner=name, is_enterprise=True, host=host)


def _split_address(address: str) -> tuple[str, str]:
    """Return the scope an address names, and its host; ("", "") for no such address."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.lower() if parts.hostname and not parts.username else ""
    except ValueError:
        return "", ""
    if parts.scheme not in {"http", "https"} or not host or parts.query:
        return "", ""
    words = parts.path.strip("/").split("/")
    if len(words) == 2 and words[0] in _ORGANIZATION_PAGES:
        return words[1], host
    return "/".join(words).removesuffix(".git"), host


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
        scale_set: The runner scale set it is of, which gives it its labels and group;
            empty for none.
    """

    name: str
    scope: Scope
    labels: tuple[str, ...] = DEFAULT_LABELS
    work_folder: str = "_work"
    group_id: int = 1
    scale_set: str = ""

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
    group_id: int | None = None
    is_ephemeral: bool | None = None
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class RunnerGroup:
    """Which repositories of an organization or enterprise may use which runners."""

    group_id: int
    name: str
    is_default: bool = False
    visibility: str = ""


@dataclass(frozen=True, kw_only=True)
class RunnerToken:
    """What lets `config.sh` register, or remove, any number of runners for an hour."""

    token: Secret
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class WorkflowJob:
    """One job of a workflow run, as GitHub shows it.

    Attributes:
        repository: Its `owner/name`.
        status: GitHub's word: queued, in_progress, completed, waiting and others.
        conclusion: GitHub's word for how it ended; empty until then.
        runner_name: Empty while no runner has it, and where none ever had.
        started_at: Only means something once the job is no longer queued.
    """

    job_id: int
    run_id: int
    run_attempt: int
    name: str
    workflow_name: str
    repository: str
    status: str
    conclusion: str
    labels: tuple[str, ...]
    runner_name: str
    runner_id: int | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class WorkflowRun:
    """One run of a workflow, in its newest attempt."""

    run_id: int
    run_attempt: int
    name: str
    repository: str
    status: str
    conclusion: str
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One attempt of GitHub's to tell a webhook something.

    Attributes:
        guid: The same for every attempt to tell the same.
        status_code: What the receiver answered; 0 where it did not.
    """

    delivery_id: int
    guid: str
    event: str
    action: str
    status_code: int
    delivered_at: datetime
    is_redelivery: bool

    @property
    def has_arrived(self) -> bool:
        """Tell whether the receiver said that it took it."""
        return 200 <= self.status_code < 300


@dataclass(frozen=True, kw_only=True)
class APIQuota:
    """What GitHub has told of its limits, and whether calls are held back for one.

    Attributes:
        remaining: Calls left until `resets_at`; None where no answer told.
        held_seconds: How long no call is sent any more; 0 where calls may be sent.
        calls: Sent so far.
        unchanged: Of these, answered by "nothing changed", which costs no quota.
    """

    limit: int | None = None
    remaining: int | None = None
    resets_at: datetime | None = None
    held_seconds: float = 0.0
    calls: int = 0
    unchanged: int = 0


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
