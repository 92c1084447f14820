"""Where a secret comes from: a file, a systemd credential, a command, a variable.

No error and no log shows a secret, nor the arguments of the command that prints it.
"""

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_client.errors import ConfigError
from runpod_client.model import Secret

COMMAND_TIMEOUT_SECONDS = 30.0
MAX_SECRET_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class SecretSource:
    """A place that has the secret; nothing is read or run before `read` is called."""

    source: str
    read: Callable[[], Secret] = field(repr=False)


def find_secret_source(env: str, environ: Mapping[str, str]) -> SecretSource | None:
    """Return where the environment says a secret is, None if it says nothing.

    Args:
        env: The secret's variable; its `_FILE` and `_COMMAND` forms go before it.
    """
    named = environ.get(f"{env}_FILE")
    if named:
        return make_file_source(
            Path(named), setting=f"{env}_FILE", source=f"file {named}"
        )
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        path = Path(folder) / env.lower().replace("_", "-")
        if path.exists():
            return make_file_source(
                path, setting=env, source=f"systemd credential {path.name}"
            )
    if environ.get(f"{env}_COMMAND"):
        return make_command_source(
            environ[f"{env}_COMMAND"],
            setting=env,
            source=f"command of {env}_COMMAND",
            environ=environ,
        )
    if environ.get(env):
        return SecretSource(
            source=f"environment variable {env}", read=lambda: Secret(environ[env])
        )
    return None


def make_file_source(path: Path, *, setting: str, source: str) -> SecretSource:
    """Return the source that is a file's content, which nobody else may read."""
    return SecretSource(source=source, read=lambda: _read_file(path, setting))


def make_command_source(
    command: Any,
    *,
    setting: str,
    source: str,
    environ: Mapping[str, str],
    timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
) -> SecretSource:
    """Return the source that is a command's standard output.

    Args:
        command: Its words, or one text that is split as a shell would; no shell runs.

    Raises:
        ConfigError: It is neither.
    """
    words = _split(command)
    if not words:
        raise ConfigError(
            f"{source} is no command line: write the program and its arguments",
            setting=setting,
            source=source,
            hint='For instance: ["doppler", "secrets", "get", "NAME", "--plain"]',
        )
    return SecretSource(
        source=source,
        read=lambda: _run(words, setting, source, environ, timeout_seconds),
    )


def _split(command: Any) -> list[str]:
    import shlex  # noqa: PLC0415  # for the few who use commands

    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            return []
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        return command if command and command[0] else []
    return []


def _run(
    words: Sequence[str],
    setting: str,
    source: str,
    environ: Mapping[str, str],
    timeout_seconds: float,
) -> Secret:
    """Run a command for its output; its stderr is the user's to read."""
    import subprocess  # noqa: PLC0415  # for the few who use commands

    def failure(what: str) -> ConfigError:
        return ConfigError(
            f"the {source}, {words[0]}, {what}",
            setting=setting,
            source=source,
            hint="Run it yourself: it must print the secret alone, without asking.",
        )

    try:
        # a session of its own: what it starts ends with it, and a prompt, which could
        # not be answered in time, fails at once for want of a terminal
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be run"
        raise failure(f"cannot be started: {reason}") from None
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_seconds)
        except BaseException as error:  # an interrupt must not leave it running
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise failure(f"did not end within {timeout_seconds:g} s") from None
    if process.returncode:
        raise failure(f"failed with exit status {process.returncode}")
    return _parse_output(output, failure)


def _parse_output(output: bytes, failure: Callable[[str], ConfigError]) -> Secret:
    try:
        text = output[: MAX_SECRET_BYTES + 1].decode().strip()
    except UnicodeDecodeError:
        raise failure("printed something that is not text") from None
    if not text:
        raise failure("printed nothing")
    if len(output) > MAX_SECRET_BYTES:
        raise failure("printed far more than a secret")
    return Secret(text)


def _read_file(path: Path, setting: str) -> Secret:
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ConfigError(
            f"cannot read the secret file {path}: {reason}",
            setting=setting,
            source=str(path),
            hint=f"Point {setting} at a readable file that holds only the secret.",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ConfigError(
            f"the secret file {path} is open to other users (mode {mode & 0o777:o})",
            setting=setting,
            source=str(path),
            hint=f"Close it: chmod 600 {path}",
        )
    if not text:
        raise ConfigError(
            f"the secret file {path} is empty", setting=setting, source=str(path)
        )
    return Secret(text)
