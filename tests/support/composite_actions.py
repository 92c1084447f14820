"""GitHub Actions' composite actions, run as the runner runs them.

Inputs with their defaults, steps in order, `if: always()`, the files a step writes, masks;
each `run:` becomes a script of its own, started as `bash --noprofile --norc -eo pipefail`.
A cancelled step gets what the runner sends: SIGINT, after 7.5 s SIGTERM, after another
2.5 s SIGKILL, the first two to the step's own process alone.

Only what the actions of this repository use; anything else fails loudly.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

INTERRUPT_SECONDS = 7.5
TERMINATE_SECONDS = 2.5
STEP_SECONDS = 90.0
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class StepRun:
    """What a step came to."""

    step_id: str
    exit_status: int
    output: str
    outputs: dict[str, str]


@dataclass
class Job:
    """A job on one machine: its variables, its summary, and what became of its steps.

    Attributes:
        log: What the run's page shows: the output with masks applied.
    """

    folder: Path
    environ: Mapping[str, str]
    log: str = ""
    masks: set[str] = field(default_factory=set)
    path: list[str] = field(default_factory=list)
    steps: list[StepRun] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """Return what the steps wrote into the job's summary."""
        file = self.folder / "summary.md"
        return file.read_text() if file.exists() else ""

    def uses(
        self,
        action: Path,
        inputs: Mapping[str, str],
        *,
        cancel_when: Callable[[str], bool] = lambda _output: False,
    ) -> dict[str, str]:
        """Run an action as a step, and return its outputs.

        Args:
            inputs: With underscores for the dashes, as the outputs come back.
            cancel_when: Is shown what a step has printed; True cancels the job.
        """
        document = yaml.safe_load((action / "action.yml").read_text())
        assert document["runs"]["using"] == "composite"
        given = _inputs(document["inputs"], inputs)
        ran: dict[str, dict[str, str]] = {}
        for step in document["runs"]["steps"]:
            if "if" not in step and any(s.exit_status for s in self.steps):
                continue
            assert step.get("if", "always()") == "always()", step
            done = self._run(step, given, action, cancel_when)
            self.steps.append(done)
            ran[done.step_id] = done.outputs
        return {
            name.replace("-", "_"): _expand(row["value"], {"steps": ran})
            for name, row in document.get("outputs", {}).items()
        }

    def _run(
        self,
        step: dict[str, Any],
        inputs: Mapping[str, str],
        action: Path,
        cancel_when: Callable[[str], bool],
    ) -> StepRun:
        assert set(step) <= {"id", "shell", "run", "env", "if"}, step
        assert step["shell"] == "bash"
        number = len(self.steps)
        script = self.folder / f"step{number}.sh"
        script.write_text(_expand(step["run"], {"inputs": inputs}))
        output_file = self.folder / f"output{number}"
        path_file = self.folder / f"path{number}"
        environ = {
            **self.environ,
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_OUTPUT": str(output_file),
            "GITHUB_PATH": str(path_file),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "PATH": ":".join([*self.path, self.environ["PATH"]]),
            **{
                name: _expand(str(text), {"inputs": inputs})
                for name, text in step.get("env", {}).items()
            },
        }
        with _started(script, environ, self.folder / f"console{number}") as process:
            status = _wait(process, self.folder / f"console{number}", cancel_when)
        output = (self.folder / f"console{number}").read_text()
        self._show(output)
        if path_file.exists():
            self.path = [*reversed(path_file.read_text().split()), *self.path]
        return StepRun(step.get("id", ""), status, output, read_outputs(output_file))

    def _show(self, output: str) -> None:
        """Add to the log as the runner does, which reads commands line by line."""
        for line in output.splitlines():
            if line.startswith("::add-mask::"):
                self.masks.add(_unescape(line.removeprefix("::add-mask::")))
                continue
            for mask in self.masks:
                line = line.replace(mask, "***")  # noqa: PLW2901
            self.log += f"{line}\n"


def read_outputs(path: Path) -> dict[str, str]:
    """Read a file of outputs as the runner does."""
    found: dict[str, str] = {}
    lines = iter(path.read_text().splitlines() if path.exists() else [])
    for line in lines:
        if match := re.fullmatch(r"([^=<]+)<<(.+)", line):
            value = []
            while (part := next(lines)) != match[2]:
                value.append(part)
            found[match[1]] = "\n".join(value)
        else:
            name, equals, text = line.partition("=")
            assert equals, f"no output: {line!r}"
            found[name] = text
    return found


def _inputs(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, str]
) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    unknown = set(named) - set(declared)
    assert not unknown, f"the action has no inputs {unknown}"
    found = {}
    for name, row in declared.items():
        assert name in named or not row.get("required"), f"{name} is required"
        found[name] = named.get(name, str(row.get("default", "")))
    return found


def _expand(text: str, contexts: Mapping[str, Mapping[str, Any]]) -> str:
    def value(match: re.Match[str]) -> str:
        found: Any = contexts
        for part in match[1].split("."):
            if part == "outputs":
                continue
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        return str(found or "")

    return _EXPRESSION.sub(value, text)


def _unescape(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


@contextmanager
def _started(
    script: Path, environ: Mapping[str, str], console: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with console.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=console.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # the runner kills what a step leaves; nothing here starts another session
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait(
    process: subprocess.Popen[bytes],
    console: Path,
    cancel_when: Callable[[str], bool],
) -> int:
    deadline = time.monotonic() + STEP_SECONDS
    while process.poll() is None:
        assert time.monotonic() < deadline, console.read_text()
        if cancel_when(console.read_text()):
            return _cancel(process)
        time.sleep(0.02)
    return process.returncode


def _cancel(process: subprocess.Popen[bytes]) -> int:
    """End a step as a cancelled run's is ended."""
    rungs = ((signal.SIGINT, INTERRUPT_SECONDS), (signal.SIGTERM, TERMINATE_SECONDS))
    for number, seconds in rungs:
        process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.wait(10)
