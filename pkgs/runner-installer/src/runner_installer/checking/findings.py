"""What is wrong with a workflow, and where. Pure values."""

import enum
from dataclasses import dataclass

from runner_installer.checking.source import Place


class Severity(enum.StrEnum):
    """Whether the workflow will fail or leak, or is only worth a thought."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One mistake.

    Attributes:
        rule: A short name that stays the same, as `down-without-always`.
        hint: What to write instead; empty where the message says it.
    """

    rule: str
    message: str
    place: Place
    hint: str = ""
    severity: Severity = Severity.ERROR
