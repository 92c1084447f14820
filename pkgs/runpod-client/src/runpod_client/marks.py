"""What we write on every pod we rent, so that it can be recognised later.

The marks travel in the pod's environment, which says whose pod it is, and behind its
name, which can be changed without a restart and therefore says how long it may live.
Automation touches only pods whose environment carries our owner name.

    environment   RUNPOD_CLIENT_OWNER=owner-3f9a2c   RUNPOD_CLIENT_INTENT=k3f9...
                  RUNPOD_CLIENT_LEASE=2026-11-22T14:05Z   (or `none`, or absent)
                  RUNPOD_CLIENT_BID=0.21                  (spot pods only)
    name          trainer [3f9a2c1d 2026-11-22T14:05Z]    or [3f9a2c1d]: no end

Of the two leases the name's counts: the environment holds the one given at creation.
Pure: text in, values out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

OWNER = "RUNPOD_CLIENT_OWNER"
INTENT = "RUNPOD_CLIENT_INTENT"
LEASE = "RUNPOD_CLIENT_LEASE"
BID = "RUNPOD_CLIENT_BID"
NO_LEASE = "none"
MARK_LENGTH = 29  # of the longest mark behind a name, with its space

_TIME = "%Y-%m-%dT%H:%MZ"
_END = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", re.ASCII)
_NAME = re.compile(
    r"(?P<name>.*) \[(?P<intent>[0-9a-f]{8})"
    r"(?: (?P<end>\d{4}-\d\d-\d\dT\d\d:\d\dZ))?\]",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a pod's marks say.

    Attributes:
        name: Its name without the mark.
        intent_id: Whole from the environment, else its first eight digits from the
            name, else None.
        bid_usd_per_gpu_hour: What it was bid for as a spot pod.
    """

    name: str
    owner: str | None
    intent_id: str | None
    lease_ends_at: datetime | None
    bid_usd_per_gpu_hour: Decimal | None


def render_marks(
    *,
    owner: str,
    intent_id: str,
    lease_ends_at: datetime | None = None,
    bid_usd_per_gpu_hour: Decimal | None = None,
) -> dict[str, str]:
    """Return the environment entries that mark a pod."""
    entries = {
        OWNER: owner,
        INTENT: intent_id,
        LEASE: render_lease_end(lease_ends_at) if lease_ends_at else NO_LEASE,
    }
    if bid_usd_per_gpu_hour is not None:
        entries[BID] = str(bid_usd_per_gpu_hour)
    return entries


def render_name(name: str, *, intent_id: str, lease_ends_at: datetime | None) -> str:
    """Return the name a pod has on the wire."""
    end = f" {render_lease_end(lease_ends_at)}" if lease_ends_at else ""
    return f"{name} [{intent_id[:8]}{end}]"


def render_lease_end(moment: datetime) -> str:
    """Return a lease's end in UTC, to the next whole minute: never early."""
    utc = moment.astimezone(UTC)
    if utc.second or utc.microsecond:
        utc = utc.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return utc.strftime(_TIME)


def parse_marks(wire_name: str, env: Mapping[str, str]) -> Marks:
    """Return what a pod's name and environment say; unreadable marks count as none."""
    found = _NAME.fullmatch(wire_name)
    end = found["end"] if found else env.get(LEASE, NO_LEASE)
    return Marks(
        name=found["name"] if found else wire_name,
        owner=env.get(OWNER),
        intent_id=env.get(INTENT) or (found["intent"] if found else None),
        lease_ends_at=_parse_lease_end(end),
        bid_usd_per_gpu_hour=_parse_bid(env.get(BID)),
    )


def _parse_lease_end(text: str | None) -> datetime | None:
    if text is None or not _END.fullmatch(text):
        return None
    try:
        # twelve times as fast as strptime, and every pod listed has one
        return datetime.fromisoformat(text)
    except ValueError:  # the 31st of November
        return None


def _parse_bid(text: str | None) -> Decimal | None:
    try:
        bid = Decimal(text or "")
    except InvalidOperation:
        return None
    return bid if bid.is_finite() and bid > 0 else None
