"""Make pods GitHub Actions runners, and clean up after them.

Names load on first use: a command line that only prints help imports no requests.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner_installer.errors import (
        InstallError,
        RegistrationError,
        RunnerBusyError,
        RunnerError,
    )
    from runner_installer.exit_codes import EXIT_CODES
    from runner_installer.github import GitHub, GitHubSettings, open_github
    from runner_installer.install import Installation, Installed, Phase
    from runner_installer.model import (
        ConsoleReport,
        ConsoleState,
        InstalledRunner,
        RunnerRecord,
        RunnerSpec,
        RunnerStatus,
        Scope,
        parse_labels,
        parse_scope,
        render_name,
    )
    from runner_installer.pod_shell import fetch_log, find_installed, list_installed
    from runner_installer.remote import Answer, Remote, open_remote
    from runner_installer.remove import Removal, remove_runner, sweep, trusted_scope
    from runner_installer.status import list_statuses, wait_until_finished
    from runner_installer.tarball import TarballCache

_HOMES = {
    "Answer": "remote",
    "ConsoleReport": "model",
    "ConsoleState": "model",
    "EXIT_CODES": "exit_codes",
    "GitHub": "github",
    "GitHubSettings": "github",
    "InstallError": "errors",
    "Installation": "install",
    "Installed": "install",
    "InstalledRunner": "model",
    "Phase": "install",
    "RegistrationError": "errors",
    "Remote": "remote",
    "Removal": "remove",
    "RunnerBusyError": "errors",
    "RunnerError": "errors",
    "RunnerRecord": "model",
    "RunnerSpec": "model",
    "RunnerStatus": "model",
    "Scope": "model",
    "TarballCache": "tarball",
    "fetch_log": "pod_shell",
    "find_installed": "pod_shell",
    "list_installed": "pod_shell",
    "list_statuses": "status",
    "open_github": "github",
    "open_remote": "remote",
    "parse_labels": "model",
    "parse_scope": "model",
    "remove_runner": "remove",
    "render_name": "model",
    "sweep": "remove",
    "trusted_scope": "remove",
    "wait_until_finished": "status",
}

__all__ = [
    "EXIT_CODES",
    "Answer",
    "ConsoleReport",
    "ConsoleState",
    "GitHub",
    "GitHubSettings",
    "InstallError",
    "Installation",
    "Installed",
    "InstalledRunner",
    "Phase",
    "RegistrationError",
    "Remote",
    "Removal",
    "RunnerBusyError",
    "RunnerError",
    "RunnerRecord",
    "RunnerSpec",
    "RunnerStatus",
    "Scope",
    "TarballCache",
    "fetch_log",
    "find_installed",
    "list_installed",
    "list_statuses",
    "open_github",
    "open_remote",
    "parse_labels",
    "parse_scope",
    "remove_runner",
    "render_name",
    "sweep",
    "trusted_scope",
    "wait_until_finished",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"runner_installer.{_HOMES[name]}"), name)
