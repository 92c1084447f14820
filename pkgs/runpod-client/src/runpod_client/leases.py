"""How long a rented pod may live: read, shown, and changed on the pod itself.

A lease's end stands behind the pod's name (`runpod_client.marks`), so that it can be
changed without a restart and every guard reads the same end, whichever machine it runs
on. Ending pods whose lease is over is `runpod_client.reaping`'s business.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runpod_client import marks
from runpod_client.cloud import PodCloud
from runpod_client.errors import (
    APIError,
    LeaseError,
    ProtocolError,
    TransportError,
    UnavailableError,
)
from runpod_client.logs import get_logger
from runpod_client.model import Pod, PodStatus
from runpod_client.selection import no_such_pod

MAX_LEASE = timedelta(days=366)
_NONE = "none"
_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?")
_READ_BACKS = 4
_READ_BACK_PAUSE_SECONDS = 1.0
# after these the name may have changed all the same
_DOUBTFUL = (TransportError, UnavailableError, ProtocolError)

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A pod's lease as seen at one moment.

    Attributes:
        ends_at: None for never.
        remaining: Less than nothing once it is over; None for no end.
    """

    pod_id: str
    pod_name: str
    ends_at: datetime | None
    remaining: timedelta | None

    @property
    def is_over(self) -> bool:
        """Return whether its end has come."""
        return self.remaining is not None and self.remaining <= timedelta()


@dataclass(frozen=True, kw_only=True)
class LeaseChange:
    """What came of changing a lease.

    Attributes:
        was_restarted: RunPod started the container anew for it, which loses what lies
            outside the volume.
    """

    before: Lease
    after: Lease
    was_restarted: bool

    @property
    def added(self) -> timedelta | None:
        """Return how much longer the pod may live; None for without end."""
        return _added(self.before, self.after.ends_at)


def parse_lease(text: str) -> timedelta | None:
    """Return a length of time like `2h`, `90m` or `1d12h`; None for `none`.

    Raises:
        LeaseError: It is neither, shorter than a minute or longer than a year.
    """
    wanted = text.strip().lower()
    if wanted == _NONE:
        return None
    found = _DURATION.fullmatch(wanted)
    if not wanted or found is None:
        raise LeaseError(
            f"{text!r} is no length of time",
            hint="Write it like 2h, 90m or 1d12h, or `none` for no end.",
        )
    days, hours, minutes = (int(group or 0) for group in found.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta(0) < length <= MAX_LEASE:
        raise LeaseError(
            f"a lease of {text.strip()} makes no sense",
            hint=f"It lasts from one minute to {MAX_LEASE.days} days.",
        )
    return length


def render_lease(length: timedelta | None) -> str:
    """Return a length of time as `parse_lease` reads it, to the minute below."""
    if length is None:
        return _NONE
    minutes = int(abs(length).total_seconds() // 60)
    parts = (
        (minutes // 1440, "d"),
        (minutes % 1440 // 60, "h"),
        (minutes % 60, "m"),
    )
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0m"


def read_lease(pod: Pod, *, now: datetime) -> Lease:
    """Return the lease a pod carries."""
    ends_at = pod.lease_ends_at
    return Lease(
        pod_id=pod.pod_id,
        pod_name=pod.name,
        ends_at=ends_at,
        remaining=None if ends_at is None else ends_at - now,
    )


class LeaseKeeper:
    """Changes leases of one owner's pods."""

    def __init__(
        self,
        cloud: PodCloud,
        *,
        owner: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cloud = cloud
        self._owner = owner
        self._now = now
        self._sleep = sleep

    def show(self, pod: Pod) -> Lease:
        """Return a pod's lease as it is now."""
        return read_lease(pod, now=self._now())

    def plan_extension(self, pod: Pod, by: timedelta) -> datetime:
        """Return the end a lease gets by being extended; one that is over from now.

        Raises:
            LeaseError: The pod has no end that could be moved, or is not ours.
        """
        self._check(pod)
        if pod.lease_ends_at is None:
            raise LeaseError(
                f"pod {pod.pod_id} has no lease: it never ends by itself",
                hint=f"Give it an end: runpod-client lease set {pod.pod_id} 2h",
            )
        return max(pod.lease_ends_at, self._now()) + by

    def extend(self, pod: Pod, by: timedelta) -> LeaseChange:
        """Move a lease's end; it bills for that much longer.

        Raises:
            LeaseError: The pod has no end that could be moved, or is not ours.
            ProtocolError: RunPod accepted the change and did not make it.
        """
        return self.set_end(pod, self.plan_extension(pod, by))

    def set_end(self, pod: Pod, ends_at: datetime) -> LeaseChange:
        """Let a lease end at a moment, sooner or later than before.

        Raises:
            LeaseError: That moment is too far off, or the pod is not ours.
            ProtocolError: RunPod accepted the change and did not make it.
        """
        if ends_at - self._now() > MAX_LEASE + timedelta(minutes=1):
            raise LeaseError(
                f"a lease until {ends_at:%Y-%m-%d} is too long",
                hint=f"It lasts {MAX_LEASE.days} days at most; "
                f"without end: runpod-client lease drop {pod.pod_id}",
            )
        return self._change(pod, ends_at)

    def drop(self, pod: Pod) -> LeaseChange:
        """Take a pod's end away: it bills until somebody ends it.

        Raises:
            LeaseError: The pod is not ours.
            ProtocolError: RunPod accepted the change and did not make it.
        """
        return self._change(pod, None)

    def _change(self, pod: Pod, ends_at: datetime | None) -> LeaseChange:
        intent_id = self._check(pod)
        wire_name = marks.render_name(
            pod.name, intent_id=intent_id, lease_ends_at=ends_at
        )
        doubt: APIError | None = None
        try:
            self._cloud.rename_pod(pod.pod_id, wire_name)
        except _DOUBTFUL as error:
            doubt = error
        wanted = marks.parse_marks(wire_name, {}).lease_ends_at
        seen = self._read_back(pod, wanted, doubt)
        change = LeaseChange(
            before=self.show(pod),
            after=self.show(seen),
            was_restarted=_is_another_start(pod, seen),
        )
        _log.info(
            "lease_changed",
            pod_id=pod.pod_id,
            pod_name=pod.name,
            lease_ends_at=wanted and wanted.isoformat(),
            was_restarted=change.was_restarted,
        )
        return change

    def _read_back(
        self, pod: Pod, wanted: datetime | None, doubt: APIError | None
    ) -> Pod:
        """Return the pod once it carries the lease it was given."""
        for attempt in range(_READ_BACKS):
            if attempt:
                self._sleep(_READ_BACK_PAUSE_SECONDS)
            try:
                seen = self._cloud.find_pod(pod.pod_id)
            except _DOUBTFUL as error:
                doubt = doubt or error
                continue
            if seen is None:
                raise no_such_pod(pod.pod_id)
            if (seen.name, seen.lease_ends_at) == (pod.name, wanted):
                return seen
        if doubt is not None:
            raise doubt
        raise ProtocolError(
            f"RunPod accepted another lease for pod {pod.pod_id} and did not keep it",
            operation="renamePod",
            hint=f"See what it has: runpod-client lease show {pod.pod_id}",
        )

    def _check(self, pod: Pod) -> str:
        """Return the intent of a pod whose lease is ours to change."""
        if pod.owner != self._owner or not pod.intent_id:
            raise LeaseError(
                f"pod {pod.pod_id} was not rented by this owner ({self._owner})",
                hint="Only pods that carry this owner's mark have a lease here.",
            )
        if pod.status is PodStatus.TERMINATED:
            raise LeaseError(f"pod {pod.pod_id} is terminated and needs no lease")
        return pod.intent_id


def _added(before: Lease, ends_at: datetime | None) -> timedelta | None:
    if ends_at is None or before.ends_at is None:
        return None
    return ends_at - before.ends_at


def _is_another_start(before: Pod, after: Pod) -> bool:
    """Return whether a pod's container was started anew between two looks."""
    if before.started_at and after.started_at:
        return after.started_at != before.started_at
    had, has = before.uptime_seconds, after.uptime_seconds
    return had is not None and (has is None or has < had)
