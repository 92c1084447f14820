"""Run commands and copy files on pods over SSH, with pinned host keys.

Names load on first use: a command line that only prints help never imports asyncssh.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runpod_ssh.connection import Connection, connect
    from runpod_ssh.errors import (
        CommandError,
        CommandTimeoutError,
        HostKeyError,
        NotDirectError,
        SSHAuthenticationError,
        SSHError,
        SSHUnreachableError,
        TransferError,
    )
    from runpod_ssh.exit_codes import EXIT_CODES
    from runpod_ssh.host_keys import HostKeyStore, HostKeyVerifier, Pin, start_of
    from runpod_ssh.model import (
        Bounds,
        ExecResult,
        HostKey,
        HostKeyJudge,
        HostKeyPolicy,
        PodTarget,
        Terminal,
        TransferResult,
    )
    from runpod_ssh.pods import connect_pod
    from runpod_ssh.readiness import wait_until_reachable
    from runpod_ssh.targets import resolve_target, target_of
    from runpod_ssh.transfer import download, upload

_HOMES = {
    "Bounds": "model",
    "CommandError": "errors",
    "CommandTimeoutError": "errors",
    "Connection": "connection",
    "EXIT_CODES": "exit_codes",
    "ExecResult": "model",
    "HostKey": "model",
    "HostKeyError": "errors",
    "HostKeyJudge": "model",
    "HostKeyPolicy": "model",
    "HostKeyStore": "host_keys",
    "HostKeyVerifier": "host_keys",
    "NotDirectError": "errors",
    "Pin": "host_keys",
    "PodTarget": "model",
    "SSHAuthenticationError": "errors",
    "SSHError": "errors",
    "SSHUnreachableError": "errors",
    "Terminal": "model",
    "TransferError": "errors",
    "TransferResult": "model",
    "connect": "connection",
    "connect_pod": "pods",
    "download": "transfer",
    "resolve_target": "targets",
    "target_of": "targets",
    "upload": "transfer",
    "wait_until_reachable": "readiness",
    "start_of": "host_keys",
}

__all__ = [
    "EXIT_CODES",
    "Bounds",
    "CommandError",
    "CommandTimeoutError",
    "Connection",
    "ExecResult",
    "HostKey",
    "HostKeyError",
    "HostKeyJudge",
    "HostKeyPolicy",
    "HostKeyStore",
    "HostKeyVerifier",
    "NotDirectError",
    "Pin",
    "PodTarget",
    "SSHAuthenticationError",
    "SSHError",
    "SSHUnreachableError",
    "Terminal",
    "TransferError",
    "TransferResult",
    "connect",
    "connect_pod",
    "download",
    "resolve_target",
    "start_of",
    "target_of",
    "upload",
    "wait_until_reachable",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"runpod_ssh.{_HOMES[name]}"), name)
