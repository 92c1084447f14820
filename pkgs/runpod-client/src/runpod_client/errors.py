"""Everything that can go wrong, as types. All tools' errors descend from `Error`.

    Error                           one sentence; `.hint` says what to do next
    ├── ConfigError                 .setting .source
    ├── AmbiguousPodError           .selector .pod_ids
    ├── ConfirmationRequiredError   spending was neither confirmed nor waived
    ├── APIError                    .service .operation .http_status .request_id
    │   ├── AuthenticationError
    │   ├── NotFoundError
    │   ├── RejectedError           .messages  (RunPod answers 200 with `errors`)
    │   ├── NoCapacityError         .gpu_type
    │   ├── RateLimitedError        .retry_after_seconds
    │   ├── InsufficientBalanceError
    │   ├── CapabilityMissingError  .capability  this wire has no such call
    │   │   └── CapabilityRetiredError  the service withdrew this interface (410)
    │   ├── UnavailableError        the service failed inside (5xx): nothing is known
    │   │   └── CircuitOpenError    .opened_at .retry_after_seconds  (nothing was sent)
    │   ├── ProtocolError           the answer is not as documented
    │   └── TransportError          no answer at all
    ├── HookError                   .event .command  a hook vetoed, failed or hung
    ├── LeaseError                  the lease asked for makes no sense for this pod
    ├── UnsettledCreateError        .intent_id  (a pod may or may not exist)
    └── DeadlineError               .waited_seconds .last_status (also a TimeoutError)

`runpod_ssh`, `runner_installer` and `runpod_hub` extend the tree in their own
`errors.py`. Exit codes and HTTP statuses are not attributes of the errors: each
boundary owns one table over the tree (`console.exit_code` is the CLI's).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Error(Exception):
    """Say in one sentence what failed, on what; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ConfigError(Error):
    """A setting is missing, malformed or unknown."""

    def __init__(
        self, message: str, *, setting: str = "", source: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.setting = setting
        self.source = source


class AmbiguousPodError(Error):
    """A pod was named by something that fits more than one."""

    def __init__(self, selector: str, pod_ids: tuple[str, ...]) -> None:
        super().__init__(
            f"{len(pod_ids)} pods are named {selector!r}: {', '.join(pod_ids)}",
            hint="Name the pod by one of these ids.",
        )
        self.selector = selector
        self.pod_ids = pod_ids


class ConfirmationRequiredError(Error):
    """Something that spends or destroys was neither confirmed nor waived by --yes."""


class APIError(Error):
    """A call to an outside service failed."""

    def __init__(
        self,
        message: str,
        *,
        service: str = "RunPod",
        operation: str = "",
        http_status: int | None = None,
        request_id: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.service = service
        self.operation = operation
        self.http_status = http_status
        self.request_id = request_id


class AuthenticationError(APIError):
    """The service refused the credential."""


class NotFoundError(APIError):
    """The thing is not there, or not ours."""


class RejectedError(APIError):
    """The service understood the request and refused it."""

    def __init__(
        self,
        message: str,
        *,
        messages: tuple[str, ...] = (),
        service: str = "RunPod",
        operation: str = "",
        http_status: int | None = None,
        request_id: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(
            message,
            service=service,
            operation=operation,
            http_status=http_status,
            request_id=request_id,
            hint=hint,
        )
        self.messages = messages or (message,)


class NoCapacityError(APIError):
    """Nothing that fits is to be had now; nothing was made and nothing is billed."""

    def __init__(
        self, message: str, *, gpu_type: str = "", operation: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, operation=operation, hint=hint)
        self.gpu_type = gpu_type


class RateLimitedError(APIError):
    """Too many requests; `retry_after_seconds` is the service's own word, if any."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        service: str = "RunPod",
        operation: str = "",
        http_status: int | None = None,
        request_id: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(
            message,
            service=service,
            operation=operation,
            http_status=http_status,
            request_id=request_id,
            hint=hint,
        )
        self.retry_after_seconds = retry_after_seconds


class InsufficientBalanceError(APIError):
    """The account's credit or spending limit does not allow this."""


class CapabilityMissingError(APIError):
    """The wire in use has no call for this; nothing was sent."""

    def __init__(
        self,
        message: str,
        *,
        capability: str = "",
        service: str = "RunPod",
        operation: str = "",
        http_status: int | None = None,
        request_id: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(
            message,
            service=service,
            operation=operation,
            http_status=http_status,
            request_id=request_id,
            hint=hint,
        )
        self.capability = capability


class CapabilityRetiredError(CapabilityMissingError):
    """The service has withdrawn the interface this needs (HTTP 410)."""


class UnavailableError(APIError):
    """The service failed inside (HTTP 5xx): whether it did what was asked is unknown."""


class CircuitOpenError(UnavailableError):
    """The call was not sent: those before it failed, and it is too early for another.

    Attributes:
        opened_at: Since when calls are refused.
        retry_after_seconds: How long it is until the next one is let through.
    """

    def __init__(
        self, operation: str, *, opened_at: "datetime", retry_after_seconds: float
    ) -> None:
        super().__init__(
            f"{operation} was not sent: RunPod has not answered since "
            f"{opened_at:%H:%M:%S} UTC",
            operation=operation,
            hint=f"It is tried again in {max(retry_after_seconds, 1):.0f} s; "
            "https://uptime.runpod.io tells of outages.",
        )
        self.opened_at = opened_at
        self.retry_after_seconds = retry_after_seconds


class ProtocolError(APIError):
    """The service answered something other than its documentation says."""


class TransportError(APIError):
    """No answer arrived: connection refused or cut, or the time limit passed."""


class HookError(Error):
    """A hook failed, or ran past its time limit, and its policy is to abort."""

    def __init__(
        self, message: str, *, event: str, command: str, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.event = event
        self.command = command


class LeaseError(Error):
    """A lease cannot be read, given or changed as asked."""


class UnsettledCreateError(Error):
    """A create got no answer and listing could not tell whether a pod was made."""

    def __init__(self, message: str, *, intent_id: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.intent_id = intent_id


class DeadlineError(Error, TimeoutError):
    """Something did not come true in time."""

    def __init__(
        self,
        message: str,
        *,
        waited_seconds: float,
        last_status: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.waited_seconds = waited_seconds
        self.last_status = last_status
