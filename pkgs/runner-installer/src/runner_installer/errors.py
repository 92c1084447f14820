"""What can go wrong with runners, as types; GitHub's own refusals are API errors.

    runpod_client.Error
    └── RunnerError             .runner_name
        ├── RegistrationError   GitHub gives no registration for this runner
        ├── InstallError        .step .log  the step of the plan that failed on the pod
        │   └── CustomStepError .on_failure  the step is one of the user's own
        └── RunnerBusyError     the runner is on a job; removing it would kill the job
    WebhookError                .http_status  a delivery that is not to be believed or read
    WorkflowCheckError          a workflow has mistakes; they were printed
    AlreadyServingError         another `serve` uses the same state folder

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
        # the end of the pod's install log, where it could still be read
        self.log = ""


class CustomStepError(InstallError):
    """A step of the user's own failed; `on_failure` says what is to become of the pod.

    `keep_pod` asks whoever rented the pod not to end it, `fail` leaves that open.
    """

    def __init__(
        self, message: str, *, step: str, on_failure: str, hint: str = ""
    ) -> None:
        super().__init__(message, step=step, hint=hint)
        self.on_failure = on_failure


class RunnerBusyError(RunnerError):
    """The runner is on a job; removing it would kill the job."""


class WebhookError(Error):
    """A webhook delivery is not to be believed, or cannot be read."""

    def __init__(self, message: str, *, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class AlreadyServingError(Error):
    """Another `serve` runs on the same state folder."""


class WorkflowCheckError(Error):
    """A workflow has mistakes; they were printed."""
