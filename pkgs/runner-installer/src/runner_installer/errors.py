"""What can go wrong with runners, as types; GitHub's own refusals are API errors.

    runpod_client.Error
    └── RunnerError             .runner_name
        ├── RegistrationError   GitHub gives no registration for this runner
        ├── InstallError        .step  the step of the plan that failed on the pod
        └── RunnerBusyError     the runner is on a job; removing it would kill the job

What GitHub answers itself (401, 403, 404, rate limits, no answer) is raised as the
`APIError` of `runpod_client` with `service="GitHub"`.
"""

from runpod_client import Error


class RunnerError(Error):
    """Something about one runner failed."""

    def __init__(self, message: str, *, runner_name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.runner_name = runner_name


class RegistrationError(RunnerError):
    """GitHub gives no registration for a runner of this name."""


class InstallError(RunnerError):
    """A step of the plan failed on the pod."""

    def __init__(
        self, message: str, *, step: str, runner_name: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, runner_name=runner_name, hint=hint)
        self.step = step


class RunnerBusyError(RunnerError):
    """The runner is on a job; removing it would kill the job."""
