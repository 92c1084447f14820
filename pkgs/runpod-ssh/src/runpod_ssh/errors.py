"""What can go wrong between this machine and a pod's sshd, as types.

    runpod_client.Error
    ├── NotDirectError             .pod_id    the pod has no address for exec and copy
    ├── NotFoundError (runpod_client)
    │   └── NoPodMatchedError      no pod is as asked for
    ├── SocksError                 a client of a SOCKS port does not speak its protocol
    └── SSHError                   .address
        ├── SSHUnreachableError    no connection, or it was lost; retrying may help
        │   └── UnknownOutcomeError  it was lost while a command ran: look, then repeat
        ├── HostKeyError           .expected_fingerprint .offered_fingerprint
        ├── SSHAuthenticationError the pod refused every key we have
        ├── CommandError           .exit_status .stderr_tail
        ├── CommandTimeoutError    .waited_seconds  (the command was told to end)
        ├── TransferError          .path
        ├── SessionError           a durable session could not be made or reached
        ├── ForwardError           a tunnel could not be opened
        ├── ProbeError             the pod's figures could not be read
        └── RefusedError           the pod refused one more channel

Exit statuses are in `exit_codes`.
"""

from runpod_client import Error, NotFoundError, SSHAddress


class NotDirectError(Error):
    """The pod has only RunPod's proxied way in, which cannot run commands or copy."""

    def __init__(self, message: str, *, pod_id: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pod_id = pod_id


class SSHError(Error):
    """Something about one SSH connection failed."""

    def __init__(
        self, message: str, *, address: SSHAddress | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.address = address


class SSHUnreachableError(SSHError):
    """No connection came about in time, or the one there was is gone."""


class UnknownOutcomeError(SSHUnreachableError):
    """The connection was lost while a command ran; nobody knows how far it came."""


class HostKeyError(SSHError):
    """The machine that answered is not known to be the pod."""

    def __init__(
        self,
        message: str,
        *,
        expected_fingerprint: str = "",
        offered_fingerprint: str = "",
        address: SSHAddress | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, address=address, hint=hint)
        self.expected_fingerprint = expected_fingerprint
        self.offered_fingerprint = offered_fingerprint


class SSHAuthenticationError(SSHError):
    """The pod's sshd accepts none of the keys we offered."""


class CommandError(SSHError):
    """A command on the pod ended badly where that was not expected."""

    def __init__(
        self,
        message: str,
        *,
        exit_status: int | None = None,
        stderr_tail: str = "",
        address: SSHAddress | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, address=address, hint=hint)
        self.exit_status = exit_status
        self.stderr_tail = stderr_tail


class CommandTimeoutError(SSHError):
    """A command took longer than its bound and was told to end."""

    def __init__(
        self,
        message: str,
        *,
        waited_seconds: float,
        address: SSHAddress | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, address=address, hint=hint)
        self.waited_seconds = waited_seconds


class TransferError(SSHError):
    """A copy did not arrive; nothing stands half-written under its final name."""

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        address: SSHAddress | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, address=address, hint=hint)
        self.path = path


class SessionError(SSHError):
    """A durable session on a pod could not be listed, made or reached."""


class ForwardError(SSHError):
    """A tunnel to or from a pod could not be opened."""


class ProbeError(SSHError):
    """What a pod says of its resources could not be read."""


class RefusedError(SSHError):
    """The pod refused a channel on a connection that stands."""


class SocksError(Error):
    """The client speaks no SOCKS, or wants what is not offered.

    Attributes:
        answer: What it is told before the connection is closed.
    """

    def __init__(self, message: str, *, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


class NoPodMatchedError(NotFoundError):
    """No pod that runs and has an address of its own fits the selection."""
