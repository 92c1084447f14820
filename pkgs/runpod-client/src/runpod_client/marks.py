"""What we write on every pod we rent, so that it can be recognised later.

The marks travel in the pod's environment, which RunPod returns with every listing.
Automation touches only pods that carry our owner name.
"""

from collections.abc import Mapping

OWNER = "RUNPOD_CLIENT_OWNER"
INTENT = "RUNPOD_CLIENT_INTENT"


def render_marks(*, owner: str, intent_id: str) -> dict[str, str]:
    """Return the environment entries that mark a pod."""
    return {OWNER: owner, INTENT: intent_id}


def find_owner(env: Mapping[str, str]) -> str | None:
    """Return the owner a pod is marked with, None for a pod that is not ours."""
    return env.get(OWNER)


def find_intent_id(env: Mapping[str, str]) -> str | None:
    """Return the intent a pod was made for, None for a pod made by other means."""
    return env.get(INTENT)
