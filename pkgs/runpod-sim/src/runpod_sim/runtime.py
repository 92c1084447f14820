"""What a pod really does at an instant, derived from its record alone.

Pure functions of a pod and the time. RunPod's desired status is only a wish; this is
the other half.
"""

from datetime import datetime, timedelta

from runpod_sim.model import LiveStatus, Pod, Runtime


def runtime_at(pod: Pod) -> datetime:
    """Return when the present start's container is up."""
    return pod.started_at + timedelta(seconds=pod.boot.pull_seconds)


def ports_at(pod: Pod) -> datetime | None:
    """Return when the present start's ports are mapped; None for never."""
    if pod.boot.ports_seconds is None:
        return None
    return runtime_at(pod) + timedelta(seconds=pod.boot.ports_seconds)


def find_runtime(pod: Pod, now: datetime, *, stale_seconds: float) -> Runtime | None:
    """Return what the host reports, None while there is nothing to report."""
    if pod.terminated_at is not None:
        return None
    asked_at = now
    if pod.stopped_at is not None:
        # rule SIM-POD-5
        if now >= pod.stopped_at + timedelta(seconds=stale_seconds):
            return None
        asked_at = pod.stopped_at
    up_at = runtime_at(pod)
    # rule SIM-POD-2
    if asked_at < up_at:
        return None
    mapped_at = ports_at(pod)
    mapped = mapped_at is not None and asked_at >= mapped_at
    has_machine = bool(pod.public_ports)
    # rule SIM-POD-3
    visible = pod.public_ports if mapped and (has_machine or not wants(pod)) else None
    return Runtime(
        uptime_seconds=int((asked_at - up_at).total_seconds()),
        public_ports=visible,
        http_ports=pod.http_ports,
    )


def wants(pod: Pod) -> bool:
    """Say whether the pod asked for any TCP port."""
    return any(entry.endswith("/tcp") for entry in pod.spec.ports)


def live_status(pod: Pod, now: datetime) -> LiveStatus:
    """Return the real state, as REST v2 calls it."""
    if pod.terminated_at is not None:
        return LiveStatus.TERMINATED
    if not pod.is_running:
        return LiveStatus.EXITED
    if now >= runtime_at(pod):
        return LiveStatus.RUNNING
    # rule SIM-REST-3
    half = pod.started_at + timedelta(seconds=pod.boot.pull_seconds / 2)
    return LiveStatus.PROVISIONING if now < half else LiveStatus.STARTING


def parse_ports(pod: Pod, kind: str) -> tuple[int, ...]:
    """Return the private ports the pod asked for of one kind, http or tcp."""
    found = []
    for entry in pod.spec.ports:
        number, _, protocol = entry.partition("/")
        if protocol.lower() == kind and number.isdigit():
            found.append(int(number))
    return tuple(dict.fromkeys(found))
