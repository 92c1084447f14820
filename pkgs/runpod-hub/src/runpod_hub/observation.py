"""From a listing of pods to what it changes: pure.

known  listed   decision
no     yes      new record, event pod_appeared
yes    yes      record refreshed, an event for each change people care about
yes    no       first time: kept as it was, absences 1 (listings can lag)
yes    no       second time in a row: gone, event pod_gone
-      TERMINATED   gone at once: RunPod itself says so
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from runpod_client import Pod, PodStatus
from runpod_hub.model import Event, PodRecord, PodSample

ABSENCES_UNTIL_GONE = 2
_ACTOR = "monitor"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one successful listing means for the store."""

    records: tuple[PodRecord, ...]
    samples: tuple[PodSample, ...]
    events: tuple[Event, ...]

    @property
    def present(self) -> tuple[PodRecord, ...]:
        """Return the pods that are still there."""
        return tuple(record for record in self.records if record.gone_at is None)


def observe(
    known: Iterable[PodRecord], listed: Iterable[Pod], *, now: datetime
) -> Observation:
    """Compare what was known with what is listed now.

    Args:
        known: The records that are not gone.
    """
    before = {record.pod_id: record for record in known}
    records: list[PodRecord] = []
    events: list[Event] = []
    for pod in listed:
        previous = before.pop(pod.pod_id, None)
        if previous is None and pod.status is PodStatus.TERMINATED:
            continue
        record = _record(pod, previous, now)
        records.append(record)
        events += _changes(previous, record, now)
    for previous in before.values():
        record = _absent(previous, now)
        records.append(record)
        if record.gone_at is not None:
            events.append(_event("pod_gone", record, now))
    return Observation(
        records=tuple(sorted(records, key=lambda record: record.name.casefold())),
        samples=tuple(
            PodSample(
                sampled_at=now,
                pod_id=record.pod_id,
                status=record.status,
                price_usd_per_hour=record.price_usd_per_hour,
            )
            for record in records
            if record.absences == 0
        ),
        events=tuple(events),
    )


def _record(pod: Pod, previous: PodRecord | None, now: datetime) -> PodRecord:
    address = pod.ssh_address
    return PodRecord(
        pod_id=pod.pod_id,
        name=pod.name,
        status=pod.status,
        status_reason=pod.status_reason,
        gpu_type=pod.gpu_type,
        gpu_count=pod.gpu_count,
        image=pod.image,
        price_usd_per_hour=pod.price_usd_per_hour,
        is_spot=pod.is_spot,
        data_center_id=pod.data_center_id,
        uptime_seconds=pod.uptime_seconds,
        ssh_host=address.host if address else "",
        ssh_port=address.port if address else None,
        ports=pod.ports,
        owner=pod.owner or "",
        first_seen_at=previous.first_seen_at if previous else now,
        last_seen_at=now,
        gone_at=now if pod.status is PodStatus.TERMINATED else None,
    )


def _absent(previous: PodRecord, now: datetime) -> PodRecord:
    absences = previous.absences + 1
    is_gone = absences >= ABSENCES_UNTIL_GONE
    return replace(previous, absences=absences, gone_at=now if is_gone else None)


def _changes(
    previous: PodRecord | None, record: PodRecord, now: datetime
) -> list[Event]:
    if previous is None:
        return [_event("pod_appeared", record, now, {"status": record.status})]
    if record.gone_at is not None:
        return [_event("pod_gone", record, now)]
    events = []
    if previous.status is not record.status:
        change = {
            "from_state": str(previous.status),
            "to_state": str(record.status),
            "reason": record.status_reason,
        }
        events.append(_event("pod_status_changed", record, now, change))
    if previous.price_usd_per_hour != record.price_usd_per_hour:
        change = {
            "from_usd_per_hour": str(previous.price_usd_per_hour),
            "to_usd_per_hour": str(record.price_usd_per_hour),
        }
        events.append(_event("pod_price_changed", record, now, change))
    return events


def _event(
    kind: str, record: PodRecord, now: datetime, data: Mapping[str, str] | None = None
) -> Event:
    return Event(
        occurred_at=now,
        actor=_ACTOR,
        kind=kind,
        subject=record.pod_id,
        data={"pod_name": record.name, **(data or {})},
    )
