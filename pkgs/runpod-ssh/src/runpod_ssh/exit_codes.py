"""The exit status of every error of this package, for command lines that use it.

`runpod-ssh exec` and `shell` do not use this table: they are transparent like ssh(1)
and answer 255 for every failure of their own.
"""

from collections.abc import Mapping

from runpod_client import Error
from runpod_client.console import EXIT_CODES as CLIENT_EXIT_CODES
from runpod_ssh import errors

EXIT_CODES: Mapping[type[Error], int] = {
    **CLIENT_EXIT_CODES,
    errors.NotDirectError: 2,
    errors.NoPodMatchedError: 4,
    errors.SocksError: 1,
    errors.SSHError: 1,
    errors.SSHUnreachableError: 7,
    errors.UnknownOutcomeError: 7,
    errors.HostKeyError: 3,
    errors.SSHAuthenticationError: 3,
    errors.CommandError: 1,
    errors.CommandTimeoutError: 6,
    errors.TransferError: 1,
    errors.SessionError: 1,
    errors.ForwardError: 1,
    errors.ProbeError: 1,
    errors.RefusedError: 1,
}

EXIT_SSH_FAILURE = 255
TRANSPARENT_EXIT_CODES: Mapping[type[Error], int] = {Error: EXIT_SSH_FAILURE}
