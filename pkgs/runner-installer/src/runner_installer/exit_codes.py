"""The exit status of every error a runner command can meet."""

from collections.abc import Mapping

from runner_installer import errors
from runpod_client import Error
from runpod_ssh import EXIT_CODES as SSH_EXIT_CODES

EXIT_CODES: Mapping[type[Error], int] = {
    **SSH_EXIT_CODES,
    errors.RunnerError: 1,
    errors.RegistrationError: 1,
    errors.InstallError: 1,
    errors.CustomStepError: 1,
    errors.RunnerBusyError: 1,
    errors.WebhookError: 1,
    errors.AlreadyServingError: 2,
    errors.WorkflowCheckError: 1,
}
