"""The always-on service that knows every pod, every agent and every dollar.

`build_app` is the composition root; everything else is reached through it, through
HTTP or through `runpod-hub`. Nothing here knows RunPod's wire: `runpod_client` does.
"""

from typing import TYPE_CHECKING, Any

from runpod_hub.errors import HubError, StoreBusyError, StoreError, UnknownPodError

if TYPE_CHECKING:
    from runpod_hub.app import build_app

__all__ = ["HubError", "StoreBusyError", "StoreError", "UnknownPodError", "build_app"]


def __getattr__(name: str) -> Any:
    """Import the web stack only when the application is really built."""
    if name == "build_app":
        from runpod_hub.app import build_app  # noqa: PLC0415  # 600 ms of imports

        return build_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
