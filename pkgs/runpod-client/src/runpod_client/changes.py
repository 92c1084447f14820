"""What is different between two listings of an account's pods; pure.

It must not know who lists, how often, or what is done about a change.

A listing can lag behind or be cut short, so one absence proves nothing: a pod counts as
gone only when two complete listings in a row lack it. A listing that failed is simply
not observed, one known to be partial is observed with `is_complete=False`; neither
counts as an absence.
"""

import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter, ne
from typing import Any

from runpod_client.model import Pod

ABSENCES_UNTIL_GONE = 2

# these differ in every listing of a healthy pod and say nothing of a change
_RESTLESS = frozenset({"uptime_seconds", "gpus"})
_COMPARED = tuple(
    field.name for field in dataclasses.fields(Pod) if field.name not in _RESTLESS
)
_read = attrgetter(*_COMPARED)
# shown with both values; of any other field only the name: env holds secrets
_TOLD = ("name", "status", "price_usd_per_hour", "gpu_count", "lease_ends_at")


class ChangeKind(enum.StrEnum):
    """What became of a pod between two listings."""

    APPEARED = "appeared"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One pod that is not as it was.

    Attributes:
        pod: As it is now; for a pod that is gone, as it was last seen.
        before: As it was; None for a pod that appeared.
        fields: The names of what differs, in the order of `Pod`; `uptime_seconds` is
            among them only when the container was started anew. Empty unless CHANGED.
    """

    kind: ChangeKind
    pod: Pod
    before: Pod | None = None
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class _Seen:
    """A pod as last seen, with what is compared of it."""

    pod: Pod
    values: tuple[Any, ...]
    absences: int = 0


class Tracker:
    """Remembers the last listing; not safe to share between threads."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Return every pod that is not gone, as last seen."""
        return tuple(seen.pod for seen in self._seen.values())

    def observe(
        self, pods: Iterable[Pod], *, is_complete: bool = True
    ) -> tuple[Change, ...]:
        """Return what is new since the last listing: in its order, the gone last.

        Args:
            is_complete: Whether a pod that is not in `pods` was absent, rather than
                left out.
        """
        changes = []
        present = set()
        for pod in pods:
            present.add(pod.pod_id)
            change = self._meet(pod)
            if change is not None:
                changes.append(change)
        if is_complete:
            changes += self._miss(present)
        return tuple(changes)

    def _meet(self, pod: Pod) -> Change | None:
        values = _read(pod)
        seen = self._seen.get(pod.pod_id)
        if seen is None:
            self._seen[pod.pod_id] = _Seen(pod, values)
            return Change(kind=ChangeKind.APPEARED, pod=pod)
        before, old_values = seen.pod, seen.values
        seen.pod, seen.values, seen.absences = pod, values, 0
        has_restarted = _has_restarted(before, pod)
        if values == old_values and not has_restarted:
            return None
        fields = list(compress(_COMPARED, map(ne, old_values, values)))
        if has_restarted:
            fields.append("uptime_seconds")
        return Change(
            kind=ChangeKind.CHANGED, pod=pod, before=before, fields=tuple(fields)
        )

    def _miss(self, present: AbstractSet[str]) -> list[Change]:
        gone = []
        for pod_id in [known for known in self._seen if known not in present]:
            seen = self._seen[pod_id]
            seen.absences += 1
            if seen.absences >= ABSENCES_UNTIL_GONE:
                del self._seen[pod_id]
                gone.append(Change(kind=ChangeKind.GONE, pod=seen.pod, before=seen.pod))
        return gone


def render_change(change: Change) -> str:
    """Return a change in one line for people; never a value of the environment."""
    pod = change.pod
    label = f"{pod.name} ({pod.pod_id})"
    if change.before is None or change.kind is not ChangeKind.CHANGED:
        return f"{label} {change.kind}: {pod.status}"
    parts = [
        f"{name} {_show(getattr(change.before, name))} -> {_show(getattr(pod, name))}"
        if name in _TOLD
        else f"{name} changed"
        for name in change.fields
        # the reason is told with the state it explains
        if name != "status_reason" or "status" not in change.fields
    ]
    has_reason = pod.status_reason and "status" in change.fields
    reason = f" ({pod.status_reason})" if has_reason else ""
    return f"{label} {', '.join(parts)}{reason}"


def _show(value: Any) -> str:
    return "none" if value is None else str(value)


def _has_restarted(before: Pod, after: Pod) -> bool:
    """Return whether the container is younger than it was."""
    if before.uptime_seconds is None or after.uptime_seconds is None:
        return False
    return after.uptime_seconds < before.uptime_seconds
