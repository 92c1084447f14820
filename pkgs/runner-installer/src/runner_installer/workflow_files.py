"""What a step tells GitHub Actions: its outputs, its summary, and what to mask.

Outside of a workflow, where the variables that name the files are not set, nothing is
written. It must know neither pods nor runners.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from runpod_client import Error

# https://docs.github.com/actions/reference/workflow-commands-for-github-actions
_OUTPUT = "GITHUB_OUTPUT"
_SUMMARY = "GITHUB_STEP_SUMMARY"
# a summary of more than 1 MiB is dropped as a whole
_SUMMARY_BYTES = 1_000_000
# a mask of less would blot out half of the log
_LEAST_SECRET = 4


class WorkflowFiles:
    """The files and commands of the step this process runs in."""

    def __init__(
        self, environ: Mapping[str, str], say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._output = environ.get(_OUTPUT, "")
        self._summary = environ.get(_SUMMARY, "")
        self._is_workflow = environ.get("GITHUB_ACTIONS") == "true"
        self._say = say

    def mask(self, values: Iterable[str | None]) -> None:
        """Have secrets replaced by stars in the whole job's log, before they are used.

        Said on stderr, which the runner reads for commands like stdout; never outside
        of a workflow, where it would show them.
        """
        if not self._is_workflow:
            return
        for line in list_maskable(values):
            self._say(f"::add-mask::{escape(line)}")

    def warn(self, text: str) -> None:
        """Put a warning onto the run's page."""
        if self._is_workflow:
            self._say(f"::warning title=runner-installer::{escape(text)}")

    def write_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set outputs of the step; a name that was set before gets the new value.

        Raises:
            Error: The file cannot be written.
        """
        if self._output:
            _append(Path(self._output), render_outputs(outputs, secrets.token_hex(8)))

    def append_summary(self, markdown: str) -> None:
        """Add a section to the job's summary.

        Raises:
            Error: The file cannot be written.
        """
        if self._summary and len(markdown.encode()) < _SUMMARY_BYTES:
            _append(Path(self._summary), f"{markdown.rstrip()}\n\n")


def list_maskable(values: Iterable[str | None]) -> list[str]:
    """Return the lines to mask: a mask is matched within lines only."""
    lines = [line.strip() for value in values for line in (value or "").splitlines()]
    return list(dict.fromkeys(line for line in lines if len(line) >= _LEAST_SECRET))


def escape(text: str) -> str:
    """Return the data of a workflow command on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def render_outputs(outputs: Mapping[str, str], token: str) -> str:
    """Return outputs as the file takes them.

    Args:
        token: Delimits values of several lines; no value can have guessed it.
    """
    rows = []
    for name, value in outputs.items():
        if "\n" in value or "\r" in value:
            rows.append(f"{name}<<{token}\n{value}\n{token}\n")
        else:
            rows.append(f"{name}={value}\n")
    return "".join(rows)


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Error(
            f"cannot write {path}: {error.strerror}",
            hint="GitHub Actions names this file; is the disk full?",
        ) from error
