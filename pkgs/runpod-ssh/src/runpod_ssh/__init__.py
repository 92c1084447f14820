"""Run commands and move files on pods over SSH, with pinned host keys.

Names load on first use: a command line that only prints help never imports asyncssh.
"""

# not typing's: its import would be a fifth of what a quick command takes, and type
# checkers know the name
TYPE_CHECKING = False

if TYPE_CHECKING:
    from runpod_ssh.connection import Connection, connect
    from runpod_ssh.errors import (
        CommandError,
        CommandTimeoutError,
        ForwardError,
        HostKeyError,
        NotDirectError,
        ProbeError,
        SessionError,
        SSHAuthenticationError,
        SSHError,
        SSHUnreachableError,
        TransferError,
        UnknownOutcomeError,
    )
    from runpod_ssh.exit_codes import EXIT_CODES
    from runpod_ssh.host_keys import HostKeyStore, HostKeyVerifier, Pin, start_of
    from runpod_ssh.model import (
        Bounds,
        Credentials,
        ExecResult,
        HostKey,
        HostKeyJudge,
        HostKeyPolicy,
        PodTarget,
        Route,
        Terminal,
        TransferResult,
    )
    from runpod_ssh.pods import connect_pod
    from runpod_ssh.readiness import wait_until_reachable
    from runpod_ssh.settings import SSHSettings
    from runpod_ssh.targets import resolve_target, target_of
    from runpod_ssh.transfer import download, upload

_HOMES = {
    "Bounds": "model",
    "CommandError": "errors",
    "CommandTimeoutError": "errors",
    "Connection": "connection",
    "Credentials": "model",
    "EXIT_CODES": "exit_codes",
    "ExecResult": "model",
    "ForwardError": "errors",
    "HostKey": "model",
    "HostKeyError": "errors",
    "HostKeyJudge": "model",
    "HostKeyPolicy": "model",
    "HostKeyStore": "host_keys",
    "HostKeyVerifier": "host_keys",
    "NotDirectError": "errors",
    "Pin": "host_keys",
    "PodTarget": "model",
    "ProbeError": "errors",
    "Route": "model",
    "SSHAuthenticationError": "errors",
    "SSHError": "errors",
    "SSHSettings": "settings",
    "SSHUnreachableError": "errors",
    "SessionError": "errors",
    "Terminal": "model",
    "TransferError": "errors",
    "TransferResult": "model",
    "UnknownOutcomeError": "errors",
    "connect": "connection",
    "connect_pod": "pods",
    "download": "transfer",
    "resolve_target": "targets",
    "start_of": "host_keys",
    "target_of": "targets",
    "upload": "transfer",
    "wait_until_reachable": "readiness",
}

__all__ = [
    "EXIT_CODES",
    "Bounds",
    "CommandError",
    "CommandTimeoutError",
    "Connection",
    "Credentials",
    "ExecResult",
    "ForwardError",
    "HostKey",
    "HostKeyError",
    "HostKeyJudge",
    "HostKeyPolicy",
    "HostKeyStore",
    "HostKeyVerifier",
    "NotDirectError",
    "Pin",
    "PodTarget",
    "ProbeError",
    "Route",
    "SSHAuthenticationError",
    "SSHError",
    "SSHSettings",
    "SSHUnreachableError",
    "SessionError",
    "Terminal",
    "TransferError",
    "TransferResult",
    "UnknownOutcomeError",
    "connect",
    "connect_pod",
    "download",
    "resolve_target",
    "start_of",
    "target_of",
    "upload",
    "wait_until_reachable",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  # kept out of start-up

    return getattr(importlib.import_module(f"runpod_ssh.{_HOMES[name]}"), name)
