"""What a pod's logs tell of its start: how far it came, and what went wrong; pure.

It must not know what is done about it. The texts are those of Docker and of RunPod's
hosts (for instance `error pulling image: Error response from daemon: pull access denied
for ..., repository does not exist or may require 'docker login'`, seen in public
reports); an unknown text is no trouble and no stage.
"""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from runpod_client.model import LogLine

# the clock of a host may be behind RunPod's
_CLOCK_SLACK = timedelta(seconds=30)
_MAX_QUOTE = 200


class Stage(enum.IntEnum):
    """How far the present start has come."""

    UNTOLD = 0
    PULLING = 1
    PULLED = 2
    STARTED = 3


class Trouble(enum.Enum):
    """What a log says went wrong."""

    IMAGE_NOT_FOUND = "image not found"
    IMAGE_NEEDS_CREDENTIALS = "image needs credentials"
    PULL_FAILED = "pull failed"
    CUDA_TOO_OLD = "CUDA too old"
    NO_GPU = "no GPU"
    START_FAILED = "start failed"


@dataclass(frozen=True, kw_only=True)
class Boot:
    """What the logs tell of a pod's present start.

    Attributes:
        trouble: What failed last, None when nothing did or it went on afterwards.
        quote: The line that says so.
        starts: How often the container was started.
        reached_at: When the stage was reached, where the log has times.
    """

    stage: Stage = Stage.UNTOLD
    trouble: Trouble | None = None
    quote: str = ""
    starts: int = 0
    reached_at: datetime | None = None


# the first that fits counts: what is precise stands before what is general
_TROUBLES = tuple(
    (re.compile(pattern, re.IGNORECASE), trouble)
    for pattern, trouble in (
        (
            r"unauthorized|authentication required|pull access denied|no basic auth"
            r"|requested access to the resource is denied|may require 'docker login'"
            r"|denied: (?:permission|denied)|image_auth_error",
            Trouble.IMAGE_NEEDS_CREDENTIALS,
        ),
        (
            r"manifest unknown|manifest for .* not found|no such image|name unknown"
            r"|repository .* not found|invalid reference format|image_not_found"
            r"|image \S+ (?:not found|does not exist)",
            Trouble.IMAGE_NOT_FOUND,
        ),
        (
            r"unsatisfied condition: cuda|cuda_version_mismatch"
            r"|driver version is insufficient",
            Trouble.CUDA_TOO_OLD,
        ),
        (
            r"toomanyrequests|pull rate limit|error pulling image|failed to pull"
            r"|failed to register layer|no space left on device|image_pull_error",
            Trouble.PULL_FAILED,
        ),
        (r"nvidia-container-cli|could not select device driver", Trouble.NO_GPU),
        (
            r"oci runtime create failed|failed to create (?:shim )?task"
            r"|error (?:creating|starting) container|executable file not found",
            Trouble.START_FAILED,
        ),
    )
)
_PULLING = re.compile(
    r"\bpull(?:ing)? (?:image|from|fs layer|complete)\b|\bdownload(?:ing| complete)\b"
    r"|\bextracting\b",
    re.IGNORECASE,
)
_PULLED = re.compile(
    r"image is up to date|downloaded newer image|\bimage pulled\b", re.IGNORECASE
)
_STARTED = re.compile(
    r"\b(?:re)?start(?:ing|ed)? container\b|container \w*started", re.IGNORECASE
)


def read_boot(lines: Sequence[LogLine], *, since: datetime | None = None) -> Boot:
    """Return what the host's lines tell of the start at `since`, or of all they show.

    Lines of the container itself are its own words and prove nothing of the host.
    """
    boot = Boot()
    for line in lines:
        if line.is_system and not _is_earlier(line, since):
            boot = _read_line(boot, line)
    return boot


def _read_line(boot: Boot, line: LogLine) -> Boot:
    trouble = _find_trouble(line.text)
    if trouble is not None:
        # "no such image" only repeats why the pull before it failed
        if boot.trouble is not None and trouble is Trouble.IMAGE_NOT_FOUND:
            return boot
        return replace(boot, trouble=trouble, quote=_quote(line.text))
    stage = _find_stage(line.text)
    if stage is Stage.UNTOLD:
        return boot
    if stage is not boot.stage:
        boot = replace(boot, reached_at=line.written_at)
    if stage >= Stage.PULLED:
        boot = replace(boot, trouble=None, quote="")
    # a pull that is tried again goes back a stage
    return replace(boot, stage=stage, starts=boot.starts + (stage is Stage.STARTED))


def _quote(text: str) -> str:
    """Return a line to be shown to people: short, and nothing moves their cursor."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_QUOTE])


def _is_earlier(line: LogLine, since: datetime | None) -> bool:
    if since is None or line.written_at is None:
        return False
    return line.written_at < since - _CLOCK_SLACK


def _find_trouble(text: str) -> Trouble | None:
    for pattern, trouble in _TROUBLES:
        if pattern.search(text):
            return trouble
    return None


def _find_stage(text: str) -> Stage:
    if _STARTED.search(text):
        return Stage.STARTED
    if _PULLED.search(text):
        return Stage.PULLED
    return Stage.PULLING if _PULLING.search(text) else Stage.UNTOLD
