"""The job hooks of a runner, as files: what they note, whom they turn away, their steps.

The hooks write `job` beside themselves, key=value lines: `state` (busy or idle),
`repository`, `run_id`, `run_attempt`, `job`, `workflow`, `started_at`, `completed_at`,
and `keep`, the step that asked for the pod to be kept. Pure.
"""

from runner_installer.pod_model import InstallOptions, StepPhase
from runner_installer.scripts import script_text


def render_hooks(options: InstallOptions) -> dict[str, bytes]:
    """Return the files of the hooks' folder by name."""
    files = {
        f"{name}.sh": script_text(name).encode()
        for name in ("job-started", "job-completed")
    }
    if options.allowed_repositories:
        # bars on both sides: the hook looks for a whole entry
        allowed = "|".join(("", *options.allowed_repositories, ""))
        files["allowed"] = f"{allowed}\n".encode()
    for phase in (StepPhase.BEFORE_JOB, StepPhase.AFTER_JOB):
        for number, step in enumerate(options.steps_of(phase)):
            head = f"{step.name}\n{step.timeout_seconds}\n{step.on_failure}\n"
            # the names sort as the steps were given
            files[f"{phase}-{number:03}.step"] = f"{head}{step.command}\n".encode()
    return files
