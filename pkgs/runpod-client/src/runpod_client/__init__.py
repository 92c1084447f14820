"""Rent, resume, stop and terminate RunPod pods, each exactly once.

`open_client(settings)` gives a `RunPodClient`. What is not imported by every user is
loaded on first use, so that a command line costs what it uses.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runpod_client.changes import Change, Tracker
    from runpod_client.client import RunPodClient
    from runpod_client.cloud import Cloud
    from runpod_client.conditions import Condition, Diagnosis, diagnose
    from runpod_client.config import ClientSettings
    from runpod_client.errors import (
        AmbiguousPodError,
        APIError,
        AuthenticationError,
        CapabilityMissingError,
        CapabilityRetiredError,
        CircuitOpenError,
        ConfigError,
        ConfirmationRequiredError,
        DeadlineError,
        Error,
        HookError,
        InsufficientBalanceError,
        LeaseError,
        NoCapacityError,
        NotFoundError,
        ProtocolError,
        RateLimitedError,
        RejectedError,
        TransportError,
        UnavailableError,
        UnsettledCreateError,
    )
    from runpod_client.identities import Identity, IdentityStore
    from runpod_client.intents import Journal
    from runpod_client.leases import parse_lease, render_lease
    from runpod_client.model import (
        Account,
        Capability,
        CloudType,
        Constraints,
        CPUType,
        DataCenter,
        DesiredStatus,
        GPUOffer,
        GPUUtilization,
        LogLine,
        NetworkVolume,
        Placement,
        Pod,
        PodEdit,
        PodSpec,
        PodStatus,
        PortMapping,
        Preference,
        Protocol,
        Secret,
        SSHAddress,
        Stock,
        Template,
    )
    from runpod_client.nearest import find_nearest, render_nearest
    from runpod_client.opening import open_client
    from runpod_client.pace import Pace, Patience
    from runpod_client.pod_templates import PodTemplate, get_template, list_templates
    from runpod_client.quota import Priority, reading_as
    from runpod_client.template_rendering import (
        Rendered,
        check_arguments,
        render_template,
    )
    from runpod_client.wait import wait_until
    from runpod_client.wanted import DEFAULT_IMAGE, Wish, make_spec, overlay

_HOMES = {
    "changes": "Change Tracker",
    "client": "RunPodClient",
    "cloud": "Cloud",
    "conditions": "Condition Diagnosis diagnose",
    "config": "ClientSettings",
    "errors": (
        "APIError AmbiguousPodError AuthenticationError CapabilityMissingError "
        "CapabilityRetiredError CircuitOpenError ConfigError ConfirmationRequiredError DeadlineError "
        "Error HookError InsufficientBalanceError LeaseError NoCapacityError "
        "NotFoundError ProtocolError RateLimitedError RejectedError TransportError "
        "UnavailableError UnsettledCreateError"
    ),
    "identities": "Identity IdentityStore",
    "intents": "Journal",
    "model": (
        "Account CPUType Capability CloudType Constraints DataCenter DesiredStatus "
        "GPUOffer GPUUtilization LogLine NetworkVolume Placement Pod PodEdit PodSpec "
        "PodStatus PortMapping Preference Protocol SSHAddress Secret Stock Template"
    ),
    "leases": "parse_lease render_lease",
    "nearest": "find_nearest render_nearest",
    "opening": "open_client",
    "pace": "Pace Patience",
    "pod_templates": "PodTemplate get_template list_templates",
    "quota": "Priority reading_as",
    "template_rendering": "Rendered check_arguments render_template",
    "wait": "wait_until",
    "wanted": "DEFAULT_IMAGE Wish make_spec overlay",
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "DEFAULT_IMAGE",
    "APIError",
    "Account",
    "AmbiguousPodError",
    "AuthenticationError",
    "CPUType",
    "Capability",
    "CapabilityMissingError",
    "CapabilityRetiredError",
    "Change",
    "CircuitOpenError",
    "ClientSettings",
    "Cloud",
    "CloudType",
    "Condition",
    "ConfigError",
    "ConfirmationRequiredError",
    "Constraints",
    "DataCenter",
    "DeadlineError",
    "DesiredStatus",
    "Diagnosis",
    "Error",
    "GPUOffer",
    "GPUUtilization",
    "HookError",
    "Identity",
    "IdentityStore",
    "InsufficientBalanceError",
    "Journal",
    "LeaseError",
    "LogLine",
    "NetworkVolume",
    "NoCapacityError",
    "NotFoundError",
    "Pace",
    "Patience",
    "Placement",
    "Pod",
    "PodEdit",
    "PodSpec",
    "PodStatus",
    "PodTemplate",
    "PortMapping",
    "Preference",
    "Priority",
    "Protocol",
    "ProtocolError",
    "RateLimitedError",
    "RejectedError",
    "Rendered",
    "RunPodClient",
    "SSHAddress",
    "Secret",
    "Stock",
    "Template",
    "Tracker",
    "TransportError",
    "UnavailableError",
    "UnsettledCreateError",
    "Wish",
    "check_arguments",
    "diagnose",
    "find_nearest",
    "get_template",
    "list_templates",
    "make_spec",
    "open_client",
    "overlay",
    "parse_lease",
    "reading_as",
    "render_lease",
    "render_nearest",
    "render_template",
    "wait_until",
]


def __getattr__(name: str) -> Any:
    """Load a part of the package when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  # kept out of start-up

    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    value = globals()[name] = getattr(module, name)
    return value
