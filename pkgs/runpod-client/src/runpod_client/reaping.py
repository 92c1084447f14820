"""Which pods of ours must be stopped or terminated now.

Pure: pods, a time and what was observed before go in, decisions come out; carrying
them out is `runpod_client.reaper`'s business. Only pods whose environment carries our
owner name exactly are looked at; a pod that anybody else rented, by whatever means, is
never in a decision.

    lease over, grace passed   stop or terminate, by the policy's action
    idle all through a window  the same; never on missing data
    stopped, lease long over   terminate, where the policy says after how long
    any of these, but locked   reported only: RunPod refuses it, somebody wants it so
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from runpod_client.leases import render_lease
from runpod_client.model import Pod, PodStatus
from runpod_client.observations import Observation
from runpod_client.prices import (
    DISK_USD_PER_GB_MONTH,
    HOURS_PER_MONTH,
    STOPPED_VOLUME_USD_PER_GB_MONTH,
)


class ReapAction(enum.StrEnum):
    """What is to be done about a pod."""

    STOP = "stop"
    TERMINATE = "terminate"
    REPORT = "report"


class ActionPolicy(enum.StrEnum):
    """How a pod is ended; AUTO stops one that has a volume disk to keep."""

    AUTO = "auto"
    STOP = "stop"
    TERMINATE = "terminate"


class Cause(enum.StrEnum):
    """Why a pod is to be ended."""

    LEASE_OVER = "lease over"
    IDLE = "idle"
    STOPPED_LONG = "stopped, lease over"


@dataclass(frozen=True, kw_only=True)
class ReapPolicy:
    """When pods are ended, and how.

    Attributes:
        grace: How long after its lease's end a pod is left alone.
        idle_window: End pods whose GPUs did nothing for this long; None never does.
        idle_below_percent: A GPU busier than this, at any look, is not idle.
        min_observations: Fewer looks than this in the window prove nothing.
        terminate_stopped_after: Destroy a stopped pod, with its volume disk, this
            long after its lease's end; None never does.
    """

    action: ActionPolicy = ActionPolicy.AUTO
    grace: timedelta = timedelta()
    idle_window: timedelta | None = None
    idle_below_percent: int = 5
    min_observations: int = 3
    terminate_stopped_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Reap:
    """A decision about one pod.

    Attributes:
        reason: One sentence for people.
        saves_usd_per_hour: What is billed less once it is done.
    """

    pod: Pod
    action: ReapAction
    cause: Cause
    reason: str
    saves_usd_per_hour: Decimal


def decide(
    pods: Iterable[Pod],
    *,
    owner: str,
    now: datetime,
    policy: ReapPolicy,
    observations: Iterable[Observation] = (),
) -> tuple[Reap, ...]:
    """Return what is to be done now, in the order of the listing.

    Raises:
        ValueError: There is no owner name, so no pod can be known to be ours.
    """
    if not owner:
        raise ValueError("an owner name is needed to tell our pods from others")
    by_pod: dict[str, list[Observation]] = {}
    for observation in observations:
        by_pod.setdefault(observation.pod_id, []).append(observation)
    decided = (
        _decide_one(pod, now, policy, by_pod.get(pod.pod_id, []))
        for pod in pods
        if pod.owner == owner and pod.intent_id
    )
    return tuple(reap for reap in decided if reap is not None)


def _decide_one(
    pod: Pod, now: datetime, policy: ReapPolicy, seen: Sequence[Observation]
) -> Reap | None:
    if pod.status is PodStatus.TERMINATED:
        return None
    overdue = None if pod.lease_ends_at is None else now - pod.lease_ends_at
    if pod.status is PodStatus.STOPPED:
        return _decide_stopped(pod, overdue, policy)
    if overdue is not None and overdue >= policy.grace:
        reason = f"its lease ended {render_lease(overdue)} ago"
        return _reap(pod, _find_action(pod, policy), Cause.LEASE_OVER, reason)
    if policy.idle_window is not None and is_idle(pod, now, policy, seen):
        reason = (
            f"its GPUs were below {policy.idle_below_percent} % for "
            f"{render_lease(policy.idle_window)}"
        )
        return _reap(pod, _find_action(pod, policy), Cause.IDLE, reason)
    return None


def _decide_stopped(
    pod: Pod, overdue: timedelta | None, policy: ReapPolicy
) -> Reap | None:
    limit = policy.terminate_stopped_after
    if overdue is None or limit is None or overdue < limit + policy.grace:
        return None
    reason = f"it is stopped and its lease ended {render_lease(overdue)} ago"
    return _reap(pod, ReapAction.TERMINATE, Cause.STOPPED_LONG, reason)


def _reap(pod: Pod, action: ReapAction, cause: Cause, reason: str) -> Reap:
    if pod.is_locked:
        return Reap(
            pod=pod,
            action=ReapAction.REPORT,
            cause=cause,
            reason=f"{reason}, but it is locked",
            saves_usd_per_hour=Decimal(0),
        )
    return Reap(
        pod=pod,
        action=action,
        cause=cause,
        reason=reason,
        saves_usd_per_hour=find_saving(pod, action),
    )


def _find_action(pod: Pod, policy: ReapPolicy) -> ReapAction:
    if policy.action is ActionPolicy.AUTO:
        # only a volume disk makes a stopped pod worth more than none: the container
        # disk is wiped by stopping, a network volume survives both
        keeps = pod.volume_gb > 0 and not pod.network_volume_id
        return ReapAction.STOP if keeps else ReapAction.TERMINATE
    return ReapAction(policy.action)


def find_saving(pod: Pod, action: ReapAction) -> Decimal:
    """Return by how many USD per hour less is billed after an action."""
    if action is ReapAction.REPORT:
        return Decimal(0)
    volume_gb = 0 if pod.network_volume_id else pod.volume_gb
    stopped_usd = volume_gb * STOPPED_VOLUME_USD_PER_GB_MONTH / HOURS_PER_MONTH
    if not pod.status.is_billed:
        return stopped_usd
    disks_gb = volume_gb + pod.container_disk_gb
    running_usd = disks_gb * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH
    total = pod.price_usd_per_hour + running_usd
    return total - stopped_usd if action is ReapAction.STOP else total


def is_idle(
    pod: Pod, now: datetime, policy: ReapPolicy, seen: Iterable[Observation]
) -> bool:
    """Return whether a pod surely did nothing all through the policy's window.

    What is not known is not idle: a pod without a report, one younger than the
    window, a gap at the window's beginning, a single look without figures.
    """
    window = policy.idle_window
    born_at = pod.started_at or pod.created_at
    if window is None or pod.status is not PodStatus.RUNNING or born_at is None:
        return False
    begins_at = now - window
    uptime = pod.uptime_seconds
    if born_at > begins_at or uptime is None or uptime < window.total_seconds():
        return False
    looks = sorted(
        (o for o in seen if born_at <= o.observed_at <= now),
        key=lambda o: o.observed_at,
    )
    before = [o for o in looks if o.observed_at <= begins_at]
    within = [o for o in looks if o.observed_at > begins_at]
    if not before or len(within) < policy.min_observations:
        return False
    return all(
        o.gpu_percent is not None and o.gpu_percent < policy.idle_below_percent
        for o in [before[-1], *within]
    )
