"""Which pods the next runners go to; pure.

Packing fills one pod before it begins another, so that pods become empty and can be
given back. Spreading keeps all pods equally loaded, for jobs that share badly.
"""

import enum
import heapq
from collections.abc import Iterable, Mapping


class Balance(enum.StrEnum):
    """How runners are laid over pods."""

    PACK = "pack"
    SPREAD = "spread"


def choose_pods(
    loads: Mapping[str, int],
    *,
    capacity: int,
    count: int,
    balance: Balance,
    drained: Iterable[str] = (),
) -> list[str]:
    """Return a pod for each of so many runners, fewer where the pods are full.

    Args:
        loads: How many runners each pod has now.
        capacity: Most runners a pod may have.
        drained: Pods that get none.
    """
    away = set(drained)
    free = {pod: load for pod, load in loads.items() if pod not in away}
    if balance is Balance.PACK:
        return _pack(free, capacity, count)
    return _spread(free, capacity, count)


def _pack(loads: Mapping[str, int], capacity: int, count: int) -> list[str]:
    """Fill the fullest pod first."""
    chosen: list[str] = []
    for pod, load in sorted(loads.items(), key=lambda item: (-item[1], item[0])):
        slots = min(max(capacity - load, 0), count - len(chosen))
        chosen += [pod] * slots
    return chosen


def _spread(loads: Mapping[str, int], capacity: int, count: int) -> list[str]:
    """Take the least loaded pod, again and again."""
    heap = [(load, pod) for pod, load in loads.items() if load < capacity]
    heapq.heapify(heap)
    chosen: list[str] = []
    while heap and len(chosen) < count:
        load, pod = heapq.heappop(heap)
        chosen.append(pod)
        if load + 1 < capacity:
            heapq.heappush(heap, (load + 1, pod))
    return chosen
