"""What RunPod says when it declines: texts, codes and statuses, as data.

Clients tell refusals apart by these texts, so they are kept to the letter where they
are known; docs/runpod-api.md says which are not.
"""

from runpod_sim.model import Refusal

# The texts and codes of refusals: rule SIM-ERR-1 unless said otherwise.
NO_CAPACITY = Refusal(
    "There are no longer any instances available with the requested specifications."
    " Please refresh and try again.",
    "SUPPLY_CONSTRAINT",
    400,
)
NO_SPOT_CAPACITY = Refusal(
    "There are no longer any instances available with the request specifications."
    " Please try again later.",
    "SUPPLY_CONSTRAINT",
    400,
)
NO_GPU_ON_HOST = Refusal(
    "There are not enough free GPUs on the host machine to start this pod.",
    "SUPPLY_CONSTRAINT",
    400,
)
SPOT_RESUME = Refusal(
    "Cannot resume a spot pod as an on demand pod.", "BAD_USER_INPUT", 400
)
TERMINATE_UNKNOWN = Refusal("pod not found to terminate", "POD_NOT_FOUND", 404)
POD_UNKNOWN = Refusal("pod not found", "POD_NOT_FOUND", 404)
SOMETHING_WRONG = Refusal(
    "Something went wrong. Please try again later or contact support.",
    "INTERNAL_SERVER_ERROR",
    500,
)
# rule SIM-ERR-3
LOW_BALANCE = Refusal(
    "Your account balance does not cover an hour of this pod.",
    "INSUFFICIENT_BALANCE",
    402,
)
# rule SIM-POD-10
LOCKED = Refusal("This pod is locked and cannot be stopped or reset.", "RUNPOD", 409)

# rule SIM-POD-14
NOT_RUNNING = Refusal("This pod is not running.", "RUNPOD", 409)

# rule SIM-VOL-4
VOLUME_UNKNOWN = Refusal("network volume not found", "NOT_FOUND", 404)
VOLUME_IN_USE = Refusal("network volume is in use", "RUNPOD", 409)
VOLUME_SHRINKS = Refusal("a network volume cannot shrink", "BAD_USER_INPUT", 400)
# rule SIM-TPL-4
TEMPLATE_UNKNOWN = Refusal("template not found", "NOT_FOUND", 404)
TEMPLATE_NAME_TAKEN = Refusal("Template name must be unique", "BAD_USER_INPUT", 400)
TEMPLATE_IN_USE = Refusal("template is in use", "RUNPOD", 400)
TEMPLATE_SERVERLESS = Refusal("template is for serverless", "BAD_USER_INPUT", 422)


def bad_volume(reason: str) -> Refusal:
    """Return the refusal of a network volume nobody can make."""
    return Refusal(f"network volume refused: {reason}", "BAD_USER_INPUT", 400)


def over_spend_limit(limit_usd_per_hour: int) -> Refusal:
    """Return the refusal of a pod that would exceed the hourly limit."""
    return Refusal(
        "Renting this pod would put you over your current spending limit"
        f" (${limit_usd_per_hour}.00/hr).",
        "INSUFFICIENT_BALANCE",
        402,
    )
