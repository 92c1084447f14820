"""What each exception of asyncssh and the socket means, as an error of ours.

The table is data, so that a test can walk asyncssh's classes and find one that nobody
thought of. It knows nothing of what was being done.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import asyncssh

from runpod_client import SSHAddress
from runpod_ssh.errors import (
    CommandError,
    HostKeyError,
    SSHAuthenticationError,
    SSHError,
    SSHUnreachableError,
    TransferError,
)

# what asyncssh's streams raise when the connection or the channel has gone
LOST = (asyncssh.Error, OSError, asyncio.IncompleteReadError)

# What each exception of asyncssh means, by the most specific class named here.
TRANSLATIONS: Mapping[type[BaseException], type[SSHError]] = {
    asyncssh.HostKeyNotVerifiable: HostKeyError,
    asyncssh.PermissionDenied: SSHAuthenticationError,
    asyncssh.IllegalUserName: SSHAuthenticationError,
    asyncssh.PasswordChangeRequired: SSHAuthenticationError,
    asyncssh.KeyImportError: SSHAuthenticationError,
    asyncssh.KeyExportError: SSHAuthenticationError,
    asyncssh.KeyEncryptionError: SSHAuthenticationError,
    asyncssh.KeyGenerationError: SSHAuthenticationError,
    asyncssh.ConnectionLost: SSHUnreachableError,
    asyncssh.ServiceNotAvailable: SSHUnreachableError,
    asyncssh.DisconnectError: SSHUnreachableError,
    asyncssh.CompressionError: SSHError,
    asyncssh.KeyExchangeFailed: SSHError,
    asyncssh.MACError: SSHError,
    asyncssh.ProtocolError: SSHError,
    asyncssh.ProtocolNotSupported: SSHError,
    asyncssh.ChannelOpenError: SSHError,
    asyncssh.ChannelListenError: SSHError,
    asyncssh.ConfigParseError: SSHError,
    asyncssh.BreakReceived: SSHError,
    asyncssh.SignalReceived: SSHError,
    asyncssh.TerminalSizeChanged: SSHError,
    asyncssh.TimeoutError: SSHError,
    asyncssh.ProcessError: CommandError,
    asyncssh.SFTPError: TransferError,
    OSError: SSHUnreachableError,
}


def translation_of(kind: type[BaseException]) -> type[SSHError] | None:
    """Return what an exception class becomes; None when nobody thought of it."""
    return next((TRANSLATIONS[k] for k in kind.__mro__ if k in TRANSLATIONS), None)


def translate(error: Exception, address: SSHAddress, doing: str) -> SSHError:
    """Return our error for one of asyncssh's or the socket's."""
    if isinstance(error, SSHError):
        return error
    kind = translation_of(type(error)) or SSHError
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        return SSHUnreachableError(
            f"sshd on {address} refused the connection",
            address=address,
            hint="Is the pod still starting? Wait for it: runpod-client pods wait POD",
        )
    if kind is SSHAuthenticationError:
        hint = (
            "The pod takes only the keys it was created with: name the right one "
            "with --identity."
        )
    if kind is SSHUnreachableError:
        hint = "Is the pod still running? See: runpod-client pods list"
    return kind(
        f"{doing} {address} failed: {reason_of(error)}", address=address, hint=hint
    )


def reason_of(error: Exception) -> str:
    """Return what an exception says, without its number or class where it can."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextlib.contextmanager
def translated(address: SSHAddress, doing: str) -> Iterator[None]:
    """Turn what asyncssh and the socket raise within the block into errors of ours."""
    try:
        yield
    except (asyncssh.Error, OSError) as error:
        raise translate(error, address, doing) from error


def too_slow(address: SSHAddress, what: str, seconds: float) -> SSHUnreachableError:
    """Return the error of a phase that took longer than its bound."""
    return SSHUnreachableError(
        f"{what} of {address} took longer than {seconds:g} s",
        address=address,
        hint="The pod is overloaded, still starting, or something swallows the "
        "packets; see: runpod-client pods list",
    )
