"""What can go wrong inside the hub, below the tree of `runpod_client`'s.

Error:
└── HubError
    ├── StoreError          .path  (the database cannot be opened or written)
    │   └── StoreBusyError  another process holds the database
    ├── ListenError         the address cannot be listened on
    ├── UnknownPodError     .pod_id  (no pod of that id has been observed)
    └── DemoError           a phase of the demo failed
"""

from pathlib import Path

from runpod_client import Error


class HubError(Error):
    """The hub cannot do what it was asked."""


class StoreError(HubError):
    """The hub's database cannot be opened, read or written."""

    def __init__(self, message: str, *, path: Path, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class StoreBusyError(StoreError):
    """Another hub process holds the database."""


class ListenError(HubError):
    """The hub cannot listen where it was told to."""


class UnknownPodError(HubError):
    """No pod of that id has been observed, or it is gone."""

    def __init__(self, pod_id: str) -> None:
        super().__init__(
            f"no pod {pod_id!r} is known to the hub",
            hint="GET /api/pods lists the known ones; a new pod shows after a tick.",
        )
        self.pod_id = pod_id


class DemoError(HubError):
    """A phase of the demo failed."""
