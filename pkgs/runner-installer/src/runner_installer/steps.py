"""Custom steps from a TOML file: commands of the user's own around install and job.

    [[steps]]
    name = "dataset"
    phase = "after_install"       # or before_install, before_job, after_job
    command = "fetch-data /workspace"
    timeout_seconds = 600
    on_failure = "keep_pod"       # or fail, continue

It runs nothing.
"""

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from runner_installer.pod_model import FailurePolicy, StepPhase, StepSpec
from runner_installer.pool_keys import Keys
from runpod_client import ConfigError

Choice = TypeVar("Choice", bound=StrEnum)


def load_steps(path: Path) -> tuple[StepSpec, ...]:
    """Read a file of custom steps.

    Raises:
        ConfigError: It cannot be read, or a step in it is not as it must be.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", setting="steps", source=str(path)
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is no TOML: {error}", setting="steps", source=str(path)
        ) from error
    keys = Keys(document, place=f"in {path}", source=str(path))
    rows = keys.take("steps", [], list)
    keys.refuse_rest()
    return parse_steps(rows, place=f"in {path}", source=str(path))


def parse_steps(
    rows: Sequence[Any], *, place: str, source: str
) -> tuple[StepSpec, ...]:
    """Return the steps that a list of tables describes.

    Args:
        place: Where the list stands, for a sentence: `in pool gpu`.

    Raises:
        ConfigError: A table holds an unknown key, or a value that makes no step.
    """
    steps = tuple(
        _parse_step(row, number, place, source)
        for number, row in enumerate(rows, start=1)
    )
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two steps {place} are named {name!r}", setting="steps", source=source
            )
    return steps


def _parse_step(row: Any, number: int, place: str, source: str) -> StepSpec:
    here = f"in step {number} {place}"
    keys = Keys(row if isinstance(row, dict) else {}, place=here, source=source)
    if not isinstance(row, dict):
        raise keys.refuse("steps", row, "a table")
    step = StepSpec(
        name=keys.take("name", f"step-{number}", str),
        phase=_choice(keys, "phase", StepPhase.AFTER_INSTALL),
        command=keys.take("command", "", str),
        timeout_seconds=keys.take("timeout_seconds", 300, int),
        on_failure=_choice(keys, "on_failure", FailurePolicy.FAIL),
    )
    keys.refuse_rest()
    return step


def _choice(keys: Keys, key: str, default: Choice) -> Choice:
    kind = type(default)
    said = keys.take(key, str(default), str)
    try:
        return kind(said)
    except ValueError:
        raise keys.refuse(key, said, f"one of {', '.join(kind)}") from None
