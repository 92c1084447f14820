"""Which wire has which calls, and what to say where one has not; pure.

It must not know how a call is made.
"""

import enum
from collections.abc import Mapping

from runpod_client.errors import CapabilityMissingError
from runpod_client.model import Capability


class Dialect(enum.StrEnum):
    """A wire that RunPod speaks."""

    GRAPHQL = "graphql"
    REST_V2 = "rest_v2"

    @property
    def label(self) -> str:
        """Return its name for people."""
        return "GraphQL" if self is Dialect.GRAPHQL else "REST v2"


_NEW_FIRST = (Dialect.REST_V2, Dialect.GRAPHQL)

# where each capability is to be had, the preferred wire first
ORDER: Mapping[Capability, tuple[Dialect, ...]] = {
    Capability.PODS: _NEW_FIRST,
    Capability.CATALOG: _NEW_FIRST,
    Capability.VOLUMES: _NEW_FIRST,
    Capability.TEMPLATES: _NEW_FIRST,
    Capability.ACCOUNT_KEYS: _NEW_FIRST,
    # of GraphQL it is known that a new name restarts nothing
    Capability.RENAME: (Dialect.GRAPHQL, Dialect.REST_V2),
    Capability.RESTART: (Dialect.REST_V2,),
    Capability.LOGS: (Dialect.REST_V2,),
    Capability.SPOT: (Dialect.GRAPHQL,),
    Capability.BALANCE: (Dialect.GRAPHQL,),
    Capability.START_WITHOUT_GPUS: (Dialect.GRAPHQL,),
}

# what a person can do who wanted something that is not to be had
INSTEAD: Mapping[Capability, str] = {
    Capability.SPOT: "On-demand pods still work: leave out --bid.",
    Capability.BALANCE: (
        "See the balance at https://console.runpod.io/user/billing; "
        "what each pod costs still shows in: runpod-client pods list"
    ),
    Capability.START_WITHOUT_GPUS: (
        "Wait for a free GPU on its machine: runpod-client pods start POD"
    ),
    Capability.RESTART: "Stop the pod and start it again.",
    Capability.LOGS: "Read the logs at https://console.runpod.io/pods.",
}


def render_missing(
    capability: Capability, dialect: Dialect, *, operation: str
) -> CapabilityMissingError:
    """Return the error for a call that a wire does not have."""
    others = [other for other in ORDER[capability] if other is not dialect]
    hint = (
        f"{others[0].label} has it: set RUNPOD_DIALECT=auto."
        if others
        else INSTEAD.get(capability, "")
    )
    return CapabilityMissingError(
        f"{dialect.label} does not know {capability}",
        capability=capability,
        operation=operation,
        hint=hint,
    )
