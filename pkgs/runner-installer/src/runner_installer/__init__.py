"""Make pods GitHub Actions runners, and clean up after them.

Names load on first use: a command line that only prints help imports no requests.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner_installer.applying import (
        Phase,
    )
    from runner_installer.errors import (
        CustomStepError,
        InstallError,
        RegistrationError,
        RunnerBusyError,
        RunnerError,
    )
    from runner_installer.exit_codes import (
        EXIT_CODES,
    )
    from runner_installer.github import (
        GitHub,
        open_github,
    )
    from runner_installer.github_auth import (
        AppAuthority,
        TokenAuthority,
    )
    from runner_installer.github_bases import (
        Bases,
    )
    from runner_installer.github_settings import (
        GitHubSettings,
    )
    from runner_installer.install import (
        Batch,
        Installation,
        Installed,
    )
    from runner_installer.model import (
        APIQuota,
        ConsoleReport,
        ConsoleState,
        Delivery,
        InstalledRunner,
        RunnerGroup,
        RunnerRecord,
        RunnerSpec,
        RunnerStatus,
        RunnerToken,
        Scope,
        ScopeKind,
        WorkflowJob,
        WorkflowRun,
        parse_labels,
        parse_scope,
        render_name,
    )
    from runner_installer.pod_model import (
        FailurePolicy,
        InstallOptions,
        JobStamp,
        PodRunner,
        RegistrationKind,
        StepPhase,
        StepSpec,
        Supervision,
        SupervisorState,
    )
    from runner_installer.pod_shell import (
        fetch_log,
        find_installed,
        list_installed,
    )
    from runner_installer.remote import (
        Answer,
        Remote,
        open_remote,
    )
    from runner_installer.remove import (
        Removal,
        remove_runner,
        sweep,
        trusted_scope,
    )
    from runner_installer.status import (
        list_statuses,
        wait_until_finished,
    )
    from runner_installer.steps import (
        load_steps,
        parse_steps,
    )
    from runner_installer.tarball import (
        TarballCache,
    )

_HOMES = {
    "errors": (
        "CustomStepError InstallError RegistrationError RunnerBusyError RunnerError"
    ),
    "exit_codes": "EXIT_CODES",
    "applying": "Phase",
    "github": "GitHub open_github",
    "github_auth": "AppAuthority TokenAuthority",
    "github_bases": "Bases",
    "github_settings": "GitHubSettings",
    "install": "Batch Installation Installed",
    "model": (
        "APIQuota ConsoleReport ConsoleState Delivery InstalledRunner "
        "RunnerGroup RunnerRecord RunnerSpec RunnerStatus RunnerToken Scope "
        "ScopeKind WorkflowJob WorkflowRun parse_labels parse_scope "
        "render_name"
    ),
    "pod_model": (
        "FailurePolicy InstallOptions JobStamp PodRunner RegistrationKind "
        "StepPhase StepSpec Supervision SupervisorState"
    ),
    "pod_shell": "fetch_log find_installed list_installed",
    "remote": "Answer Remote open_remote",
    "remove": "Removal remove_runner sweep trusted_scope",
    "status": "list_statuses wait_until_finished",
    "steps": "load_steps parse_steps",
    "tarball": "TarballCache",
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "EXIT_CODES",
    "APIQuota",
    "Answer",
    "AppAuthority",
    "Bases",
    "Batch",
    "ConsoleReport",
    "ConsoleState",
    "CustomStepError",
    "Delivery",
    "FailurePolicy",
    "GitHub",
    "GitHubSettings",
    "InstallError",
    "InstallOptions",
    "Installation",
    "Installed",
    "InstalledRunner",
    "JobStamp",
    "Phase",
    "PodRunner",
    "RegistrationError",
    "RegistrationKind",
    "Remote",
    "Removal",
    "RunnerBusyError",
    "RunnerError",
    "RunnerGroup",
    "RunnerRecord",
    "RunnerSpec",
    "RunnerStatus",
    "RunnerToken",
    "Scope",
    "ScopeKind",
    "StepPhase",
    "StepSpec",
    "Supervision",
    "SupervisorState",
    "TarballCache",
    "TokenAuthority",
    "WorkflowJob",
    "WorkflowRun",
    "fetch_log",
    "find_installed",
    "list_installed",
    "list_statuses",
    "load_steps",
    "open_github",
    "open_remote",
    "parse_labels",
    "parse_scope",
    "parse_steps",
    "remove_runner",
    "render_name",
    "sweep",
    "trusted_scope",
    "wait_until_finished",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"runner_installer.{_LAZY[name]}"), name)
