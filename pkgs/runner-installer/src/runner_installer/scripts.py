"""The scripts for the pod as command lines and as files. It knows no plan and no pod.

Scripts are real files below `assets`; what several need is put in front of them. Their
parameters travel as variables, never by interpolation; secrets travel by stdin alone.
"""

import hashlib
import importlib.resources
import io
import shlex
import tarfile
from collections.abc import Mapping

from runner_installer.runner_console import (
    BUSY_PATTERN,
    CONFLICT_PATTERN,
    FINISHED_PATTERN,
    HOPELESS_PATTERN,
)

LOG_TAIL_BYTES = 16_384
MAX_RESTARTS = 2
RESTART_SECONDS = 2
CONFLICT_SECONDS = 60
RESTART_LIMIT = 6
WATCH_SECONDS = 10
# script -> what is put in front of it
_NEEDS = {
    "configure": ("account",),
    "custom": ("process", "step"),
    "delete": ("account",),
    "diagnostics": ("account",),
    "files": ("account",),
    "inspect": ("process", "account"),
    "launch": ("account",),
    "libraries": ("account",),
    "stop": ("process", "account"),
    "supervise": ("process", "account"),
    "unpack": ("account",),
    "job-started": ("process", "step", "hook"),
    "job-completed": ("process", "step", "hook"),
}


def probe_command(folder: str = "") -> str:
    """Return the command whose output `facts.parse_facts` reads."""
    return render_script("probe", FOLDER=folder)


def inspect_command(folder: str = "", *, only: str = "") -> str:
    """Return the command whose output `facts.parse_runners` reads.

    Args:
        only: The name of the one runner to show; empty for all.
    """
    return render_script(
        "inspect", FOLDER=folder, ONLY=only, LOG_BYTES=str(LOG_TAIL_BYTES)
    )


def stop_command(folder: str, *, grace_seconds: int) -> str:
    """Return the command that ends a runner's processes."""
    return render_script("stop", RUNNER_FOLDER=folder, GRACE_SECONDS=str(grace_seconds))


def delete_command(folder: str, *, keeps_log: bool = False) -> str:
    """Return the command that deletes a runner's folder and its own user."""
    keep = "yes" if keeps_log else "no"
    return render_script("delete", RUNNER_FOLDER=folder, KEEP_LOG=keep)


def logs_command(folder: str, *, limit_bytes: int = 262_144) -> str:
    """Return the command that prints what installation and runner wrote."""
    return render_script("logs", RUNNER_FOLDER=folder, LOG_BYTES=str(limit_bytes))


def diagnostics_command(folder: str) -> str:
    """Return the command that writes an archive of a runner's logs to stdout."""
    return render_script("diagnostics", RUNNER_FOLDER=folder)


def custom_command(folder: str, *, name: str, timeout_seconds: int) -> str:
    """Return the command that runs a custom step; the step itself goes to stdin."""
    return render_script(
        "custom",
        RUNNER_FOLDER=folder,
        STEP_NAME=name,
        STEP_SECONDS=str(timeout_seconds),
    )


def user_name(runner_name: str) -> str:
    """Return the name of a user made for one runner, the same each time."""
    return f"gha-{hashlib.sha256(runner_name.encode()).hexdigest()[:10]}"


def unit_name(runner_name: str) -> str:
    """Return the name of the systemd unit of a runner."""
    return f"actions-runner-{runner_name}.service"


def supervision_settings() -> dict[str, str]:
    """Return what the supervisor goes by: when it starts a runner again."""
    return {
        "FINISHED_PATTERN": FINISHED_PATTERN,
        "BUSY_PATTERN": BUSY_PATTERN,
        "HOPELESS_PATTERN": HOPELESS_PATTERN,
        "CONFLICT_PATTERN": CONFLICT_PATTERN,
        "MAX_RESTARTS": str(MAX_RESTARTS),
        "RESTART_SECONDS": str(RESTART_SECONDS),
        "CONFLICT_SECONDS": str(CONFLICT_SECONDS),
        "RESTART_LIMIT": str(RESTART_LIMIT),
        "WATCH_SECONDS": str(WATCH_SECONDS),
    }


def render_settings(values: Mapping[str, str]) -> bytes:
    """Return a file of settings that a shell can read."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in values.items()]
    return "".join(lines).encode()


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of files that only their owner may read."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def script_text(name: str) -> str:
    """Return a script with what it needs in front of it."""
    return "".join(_asset(part) for part in (*_NEEDS.get(name, ()), name))


def render_script(name: str, /, **variables: str) -> str:
    """Return a command line that runs a script with these variables.

    It leaves stdin to the script, and works whatever the user's login shell is: only
    single quotes are used.
    """
    return render_command(["sh", "-c", script_text(name)], variables)


def render_command(argv: list[str], variables: Mapping[str, str]) -> str:
    """Quote a command line with variables in front."""
    pairs = [f"{key}={value}" for key, value in variables.items()]
    return shlex.join([*(["env", *pairs] if pairs else []), *argv])


def _asset(name: str) -> str:
    folder = importlib.resources.files("runner_installer") / "assets"
    return folder.joinpath(f"{name}.sh").read_text()
