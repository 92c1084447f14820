"""Run commands and move files on pods over SSH, with pinned host keys.

Names load on first use: a command line that only prints help never imports asyncssh.
"""

# not typing's: its import would be a fifth of what a quick command takes, and type
# checkers know the name
TYPE_CHECKING = False

if TYPE_CHECKING:
    from runpod_ssh.admission import Admission, Limits
    from runpod_ssh.boot_log import connect_vouched
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
    from runpod_ssh.fleet import Fleet
    from runpod_ssh.fleet_model import Job, Order, Outcome, Selection
    from runpod_ssh.fleet_selection import select_jobs
    from runpod_ssh.forward_specs import ForwardKind, ForwardSpec, parse_spec
    from runpod_ssh.forwards import ForwardChange, Forwarder, ForwardEvent
    from runpod_ssh.host_keys import HostKeyStore, HostKeyVerifier, Pin, start_of
    from runpod_ssh.links import LinkRecord, PoolRules
    from runpod_ssh.listeners import Listener
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
    from runpod_ssh.pool import Pool
    from runpod_ssh.probe import Reading, take_probe, watch_pod
    from runpod_ssh.probe_rates import Rates, is_restart, rates_between
    from runpod_ssh.probe_records import (
        CPU,
        GPU,
        Disk,
        GPUProcess,
        GPUSlice,
        Load,
        Memory,
        NetworkInterface,
        Probe,
        ProbeProblem,
    )
    from runpod_ssh.probe_wire import parse_probe
    from runpod_ssh.readiness import wait_until_reachable
    from runpod_ssh.rotation import Rotation, rotate
    from runpod_ssh.sessions import (
        StartedSession,
        agent_names,
        capture,
        find_session,
        get_session,
        kill_session,
        list_sessions,
        send_keys,
        send_text,
        start_sessions,
    )
    from runpod_ssh.settings import SSHSettings
    from runpod_ssh.sync import sync_from_pod, sync_to_pod
    from runpod_ssh.sync_model import Change, SyncOptions, SyncResult
    from runpod_ssh.targets import resolve_shell_target, resolve_target, target_of
    from runpod_ssh.tmux import PodSession, SessionPlan
    from runpod_ssh.transfer import PodPath, copy_between, download, upload

_HOMES = {
    "Admission": "admission",
    "Bounds": "model",
    "CPU": "probe_records",
    "Change": "sync_model",
    "CommandError": "errors",
    "CommandTimeoutError": "errors",
    "Connection": "connection",
    "Credentials": "model",
    "Disk": "probe_records",
    "EXIT_CODES": "exit_codes",
    "ExecResult": "model",
    "Fleet": "fleet",
    "ForwardChange": "forwards",
    "ForwardError": "errors",
    "ForwardEvent": "forwards",
    "ForwardKind": "forward_specs",
    "ForwardSpec": "forward_specs",
    "Forwarder": "forwards",
    "GPU": "probe_records",
    "GPUProcess": "probe_records",
    "GPUSlice": "probe_records",
    "HostKey": "model",
    "HostKeyError": "errors",
    "HostKeyJudge": "model",
    "HostKeyPolicy": "model",
    "HostKeyStore": "host_keys",
    "HostKeyVerifier": "host_keys",
    "Job": "fleet_model",
    "Limits": "admission",
    "LinkRecord": "links",
    "Listener": "listeners",
    "Load": "probe_records",
    "Memory": "probe_records",
    "NetworkInterface": "probe_records",
    "NotDirectError": "errors",
    "Order": "fleet_model",
    "Outcome": "fleet_model",
    "Pin": "host_keys",
    "PodPath": "transfer",
    "PodSession": "tmux",
    "PodTarget": "model",
    "Pool": "pool",
    "PoolRules": "links",
    "Probe": "probe_records",
    "ProbeError": "errors",
    "ProbeProblem": "probe_records",
    "Rates": "probe_rates",
    "Reading": "probe",
    "Rotation": "rotation",
    "Route": "model",
    "SSHAuthenticationError": "errors",
    "SSHError": "errors",
    "SSHSettings": "settings",
    "SSHUnreachableError": "errors",
    "Selection": "fleet_model",
    "SessionError": "errors",
    "SessionPlan": "tmux",
    "StartedSession": "sessions",
    "SyncOptions": "sync_model",
    "SyncResult": "sync_model",
    "Terminal": "model",
    "TransferError": "errors",
    "TransferResult": "model",
    "UnknownOutcomeError": "errors",
    "agent_names": "sessions",
    "capture": "sessions",
    "connect": "connection",
    "connect_pod": "pods",
    "connect_vouched": "boot_log",
    "copy_between": "transfer",
    "download": "transfer",
    "find_session": "sessions",
    "get_session": "sessions",
    "is_restart": "probe_rates",
    "kill_session": "sessions",
    "list_sessions": "sessions",
    "parse_probe": "probe_wire",
    "parse_spec": "forward_specs",
    "rates_between": "probe_rates",
    "resolve_shell_target": "targets",
    "resolve_target": "targets",
    "rotate": "rotation",
    "select_jobs": "fleet_selection",
    "send_keys": "sessions",
    "send_text": "sessions",
    "start_of": "host_keys",
    "start_sessions": "sessions",
    "sync_from_pod": "sync",
    "sync_to_pod": "sync",
    "take_probe": "probe",
    "target_of": "targets",
    "upload": "transfer",
    "wait_until_reachable": "readiness",
    "watch_pod": "probe",
}

__all__ = [
    "CPU",
    "EXIT_CODES",
    "GPU",
    "Admission",
    "Bounds",
    "Change",
    "CommandError",
    "CommandTimeoutError",
    "Connection",
    "Credentials",
    "Disk",
    "ExecResult",
    "Fleet",
    "ForwardChange",
    "ForwardError",
    "ForwardEvent",
    "ForwardKind",
    "ForwardSpec",
    "Forwarder",
    "GPUProcess",
    "GPUSlice",
    "HostKey",
    "HostKeyError",
    "HostKeyJudge",
    "HostKeyPolicy",
    "HostKeyStore",
    "HostKeyVerifier",
    "Job",
    "Limits",
    "LinkRecord",
    "Listener",
    "Load",
    "Memory",
    "NetworkInterface",
    "NotDirectError",
    "Order",
    "Outcome",
    "Pin",
    "PodPath",
    "PodSession",
    "PodTarget",
    "Pool",
    "PoolRules",
    "Probe",
    "ProbeError",
    "ProbeProblem",
    "Rates",
    "Reading",
    "Rotation",
    "Route",
    "SSHAuthenticationError",
    "SSHError",
    "SSHSettings",
    "SSHUnreachableError",
    "Selection",
    "SessionError",
    "SessionPlan",
    "StartedSession",
    "SyncOptions",
    "SyncResult",
    "Terminal",
    "TransferError",
    "TransferResult",
    "UnknownOutcomeError",
    "agent_names",
    "capture",
    "connect",
    "connect_pod",
    "connect_vouched",
    "copy_between",
    "download",
    "find_session",
    "get_session",
    "is_restart",
    "kill_session",
    "list_sessions",
    "parse_probe",
    "parse_spec",
    "rates_between",
    "resolve_shell_target",
    "resolve_target",
    "rotate",
    "select_jobs",
    "send_keys",
    "send_text",
    "start_of",
    "start_sessions",
    "sync_from_pod",
    "sync_to_pod",
    "take_probe",
    "target_of",
    "upload",
    "wait_until_reachable",
    "watch_pod",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  # kept out of start-up

    return getattr(importlib.import_module(f"runpod_ssh.{_HOMES[name]}"), name)
