"""When a lost link is tried again, and for which failures that makes sense. Pure.

It must not know what the link is for.
"""

from collections.abc import Iterator
from dataclasses import replace

from runpod_client import (
    CircuitOpenError,
    Error,
    RateLimitedError,
    TransportError,
    UnavailableError,
)
from runpod_ssh.errors import NotDirectError, SSHUnreachableError
from runpod_ssh.model import Bounds

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 1.0
# a link that held this long is no failed attempt
STEADY_SECONDS = 3.0
# An attempt that asked into the void is repeated soon, so that a pod that is back is
# found at once: the kernel would ask after 1, 3 and 7 seconds.
TCP_SECONDS = 2.0
# A link is given up after 6 to 9 silent seconds, where a person waits for it.
KEEPALIVE_SECONDS = 3.0
KEEPALIVE_COUNT = 2

# The pod, or RunPod's API that says where it is, may be back in a moment.
_PASSING = (
    SSHUnreachableError,
    NotDirectError,
    TransportError,
    UnavailableError,
    RateLimitedError,
    CircuitOpenError,
)


def is_passing(error: Error) -> bool:
    """Return whether trying again may help; a refused key or host key stays refused."""
    return isinstance(error, _PASSING)


def watchful(bounds: Bounds) -> Bounds:
    """Return bounds for a link whose loss is to be noticed and mended soon."""
    return replace(
        bounds,
        tcp_seconds=min(bounds.tcp_seconds, TCP_SECONDS),
        keepalive_seconds=min(bounds.keepalive_seconds, KEEPALIVE_SECONDS),
        keepalive_count=min(bounds.keepalive_count, KEEPALIVE_COUNT),
    )


def delays(spread: Iterator[float]) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, without an end.

    Args:
        spread: Random numbers from 0 to 1: many links that broke at once must not
            all come back at once.
    """
    longest = FIRST_SECONDS
    for share in spread:
        yield longest * (0.5 + share / 2)
        longest = min(longest * 2, LONGEST_SECONDS)
