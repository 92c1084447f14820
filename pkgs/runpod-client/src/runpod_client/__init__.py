"""Rent, resume, stop and terminate RunPod pods, each exactly once.

`open_client(settings)` gives a `RunPodClient`. What is not imported by every user is
loaded on first use, so that a command line costs what it uses.
"""

import importlib
from typing import TYPE_CHECKING, Any

from runpod_client.errors import (
    AmbiguousPodError,
    APIError,
    AuthenticationError,
    CapabilityRetiredError,
    ConfigError,
    ConfirmationRequiredError,
    DeadlineError,
    Error,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    TransportError,
    UnavailableError,
    UnsettledCreateError,
)
from runpod_client.model import (
    Account,
    CloudType,
    GPUType,
    GPUUtilization,
    Pod,
    PodSpec,
    PodStatus,
    PortMapping,
    Protocol,
    Secret,
    SSHAddress,
)

if TYPE_CHECKING:
    from runpod_client.client import Pace, RunPodClient, open_client
    from runpod_client.cloud import Cloud
    from runpod_client.config import ClientSettings
    from runpod_client.creation import Patience
    from runpod_client.identities import Identity, IdentityStore
    from runpod_client.intents import Journal
    from runpod_client.marks import find_intent_id, find_owner, render_marks
    from runpod_client.wait import wait_until

_LAZY = {
    "ClientSettings": "config",
    "Cloud": "cloud",
    "Identity": "identities",
    "IdentityStore": "identities",
    "Journal": "intents",
    "Pace": "client",
    "Patience": "creation",
    "RunPodClient": "client",
    "find_intent_id": "marks",
    "find_owner": "marks",
    "open_client": "client",
    "render_marks": "marks",
    "wait_until": "wait",
}

__all__ = [
    "APIError",
    "Account",
    "AmbiguousPodError",
    "AuthenticationError",
    "CapabilityRetiredError",
    "ClientSettings",
    "Cloud",
    "CloudType",
    "ConfigError",
    "ConfirmationRequiredError",
    "DeadlineError",
    "Error",
    "GPUType",
    "GPUUtilization",
    "Identity",
    "IdentityStore",
    "InsufficientBalanceError",
    "Journal",
    "NoCapacityError",
    "NotFoundError",
    "Pace",
    "Patience",
    "Pod",
    "PodSpec",
    "PodStatus",
    "PortMapping",
    "Protocol",
    "ProtocolError",
    "RateLimitedError",
    "RejectedError",
    "RunPodClient",
    "SSHAddress",
    "Secret",
    "TransportError",
    "UnavailableError",
    "UnsettledCreateError",
    "find_intent_id",
    "find_owner",
    "open_client",
    "render_marks",
    "wait_until",
]


def __getattr__(name: str) -> Any:
    """Load a part of the package when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    return getattr(module, name)
