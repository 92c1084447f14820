"""The values scaling is decided on and with: what is wanted, seen, allowed and done.

Frozen, without I/O. Every `_at` and `since` is an aware UTC datetime.
"""

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from runner_installer.pools import Pool

# a turn downward comes no sooner after any turn, and after the last turn downward
HOLD = timedelta(minutes=10)
BETWEEN_FALLS = timedelta(minutes=20)


@dataclass(frozen=True, kw_only=True)
class LostJob:
    """A job whose spot pod was taken away under it."""

    repository: str
    job_id: int
    run_id: int
    is_failed: bool


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one pool is asked for.

    Attributes:
        waiting: Jobs queued that its runners could take.
        assigned: What a scale set says is assigned to it, jobs on runners included;
            None where there is no scale set.
        lost: Jobs to run again.
    """

    waiting: int = 0
    assigned: int | None = None
    lost: tuple[LostJob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeenRunner:
    """A runner of the pool as GitHub shows it; `since` is when it was first seen so."""

    name: str
    runner_id: int
    pod_id: str
    is_online: bool
    is_busy: bool
    since: datetime


class PodPhase(enum.StrEnum):
    """Where a pod is between being asked for and being gone."""

    CREATING = "creating"
    BOOTING = "booting"
    READY = "ready"
    STOPPED = "stopped"
    LEAVING = "leaving"
    LOST = "lost"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class SeenPod:
    """A pod of the pool.

    Attributes:
        since: When its present start was asked for.
        idle_since: Since when it has had nothing to do; None while it has.
        installing: Runners being installed on it now.
        failures: Installations that failed on it in a row.
        retry_at: No installation before that.
        trouble: What failed last, in a few words.
        is_drained: It gets no more runners.
        is_kept: Somebody wants to look at it: nothing is done to it any more, and its
            lease ends it.
        had_runner: A runner has been online on it in this start.
    """

    pod_id: str
    phase: PodPhase
    since: datetime
    price_usd_per_hour: Decimal = Decimal(0)
    is_spot: bool = False
    idle_since: datetime | None = None
    installing: int = 0
    failures: int = 0
    retry_at: datetime | None = None
    trouble: str = ""
    is_drained: bool = False
    is_kept: bool = False
    had_runner: bool = False
    lease_ends_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Which way the pool went last, and when it turned.

    Scaling up is never held back: jobs wait for it. Turning downward is, so that on
    average there is at most one turn in 10 minutes.
    """

    is_up: bool | None = None
    turned_at: datetime | None = None
    fell_at: datetime | None = None

    def may_fall(self, now: datetime) -> bool:
        """Tell whether scaling down now keeps the limit on turns."""
        if self.is_up is not True:
            return True
        is_held = self.turned_at is not None and now - self.turned_at < HOLD
        is_early = self.fell_at is not None and now - self.fell_at < BETWEEN_FALLS
        return not (is_held or is_early)

    def moved(self, now: datetime, *, is_up: bool) -> "Trend":
        """Return the trend after a step."""
        if self.is_up is None or self.is_up is is_up:
            return replace(self, is_up=is_up)
        return Trend(is_up=is_up, turned_at=now, fell_at=self.fell_at if is_up else now)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the pool may do now.

    Attributes:
        price_usd_per_hour: Of the next pod; None where it is not known yet.
        hour_left: Dollars per hour that may be added; None for no cap.
        day_left: Dollars that may still be committed today; None for no cap.
        failures: Rentals and boots that failed in a row.
        retry_at: No pod is rented before that.
        trouble: Why, in a sentence.
        is_draining: Everything is given back as it falls idle.
    """

    pool: Pool
    price_usd_per_hour: Decimal | None = None
    hour_left: Decimal | None = None
    day_left: Decimal | None = None
    failures: int = 0
    retry_at: datetime | None = None
    trouble: str = ""
    trend: Trend = field(default_factory=Trend)
    is_draining: bool = False


@dataclass(frozen=True, kw_only=True)
class RentPod:
    """Rent a pod; its lease fits what may still be spent."""

    pool: str
    lease: timedelta
    why: str


@dataclass(frozen=True, kw_only=True)
class ResumePod:
    """Start a stopped pod."""

    pod_id: str
    lease: timedelta
    why: str


@dataclass(frozen=True, kw_only=True)
class InstallRunner:
    """Make a pod a runner for one more job, within so many seconds."""

    pod_id: str
    timeout_seconds: float
    why: str


@dataclass(frozen=True, kw_only=True)
class RetirePod:
    """Take a pod's runners off GitHub, then stop or terminate it.

    What must still hold when it is carried out: none of its runners is on a job, by
    GitHub's fresh word.

    Attributes:
        keep: Stop it and keep it warm.
        is_lost: It is gone or broken: what GitHub holds for busy does not keep it.
        phase: For a pod that did not boot in time: how far it got.
    """

    pod_id: str
    keep: bool = False
    is_lost: bool = False
    phase: str = ""
    why: str


@dataclass(frozen=True, kw_only=True)
class DeleteRunner:
    """Delete a registration whose runner is not there; must still be offline, idle."""

    name: str
    runner_id: int
    pod_id: str
    why: str


@dataclass(frozen=True, kw_only=True)
class RenewLease:
    """Let a pod that is needed live longer."""

    pod_id: str
    lease: timedelta
    why: str


@dataclass(frozen=True, kw_only=True)
class RerunJob:
    """Run a job again whose spot pod was taken away."""

    repository: str
    job_id: int
    why: str


Action = (
    RentPod
    | ResumePod
    | InstallRunner
    | RetirePod
    | DeleteRunner
    | RenewLease
    | RerunJob
)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many runners there are, by what they do."""

    wanted: int = 0
    busy: int = 0
    idle: int = 0
    starting: int = 0
    booting: int = 0

    @property
    def supply(self) -> int:
        """Return how many there are or will be without further action."""
        return self.busy + self.idle + self.starting + self.booting


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and why; the reasons also tell what is not done."""

    actions: tuple[Action, ...]
    reasons: tuple[str, ...]
    tally: Tally
    trend: Trend
