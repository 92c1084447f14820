"""What can go wrong with a selection of pods, apart for what it costs to import.

`NoPodMatchedError` is a `runpod_client.NotFoundError`: nothing fits what was asked for.
"""

from runpod_client import NotFoundError


class NoPodMatchedError(NotFoundError):
    """No pod that runs and has an address of its own fits the selection."""
