"""What a pod really does at an instant, derived from its record alone.

Pure functions of a pod and the time. RunPod's desired status is only a wish; this is
the other half.
"""

from datetime import datetime, timedelta

from runpod_sim.model import LiveStatus, Mishap, Pod, Runtime

# rule SIM-HALF-1, rule SIM-HALF-2, rule SIM-HALF-3, rule SIM-HALF-4: RunPod gives up on
# these after a while.
FAILING = {
    Mishap.IMAGE_NOT_FOUND: (
        "error pulling image: manifest for {image} not found: manifest unknown"
    ),
    Mishap.IMAGE_AUTH: (
        "error pulling image: pull access denied for {image}, repository does not exist"
        " or may require 'docker login': denied: requested access to the resource is"
        " denied"
    ),
    Mishap.IMAGE_PULL_ERROR: (
        "error pulling image: toomanyrequests: You have reached your pull rate limit"
    ),
    Mishap.CUDA_MISMATCH: (
        "error starting container: nvidia-container-cli: requirement error:"
        " unsatisfied condition: cuda>=13.0, please update your driver to a newer"
        " version, or use an earlier cuda container"
    ),
}
# Where the container never comes up, whatever time passes.
_NEVER_UP = frozenset({*FAILING, Mishap.PROVISIONING_FOREVER})


def runtime_at(pod: Pod) -> datetime | None:
    """Return when the present start's container is up; None for never."""
    if pod.boot.mishap in _NEVER_UP:
        return None
    return pod.started_at + timedelta(seconds=pod.boot.pull_seconds)


def ports_at(pod: Pod) -> datetime | None:
    """Return when the present start's ports are mapped; None for never."""
    up_at = runtime_at(pod)
    if pod.boot.ports_seconds is None or up_at is None:
        return None
    return up_at + timedelta(seconds=pod.boot.ports_seconds)


def fails_at(pod: Pod) -> datetime | None:
    """Return when RunPod gives up on the present start; None for never."""
    if not pod.is_running or pod.boot.mishap not in FAILING:
        return None
    return pod.started_at + timedelta(seconds=pod.boot.mishap_seconds)


def count_crashes(pod: Pod, now: datetime) -> int:
    """Return how often the present start's container has crashed."""
    up_at = runtime_at(pod)
    if pod.boot.mishap is not Mishap.CRASH_LOOP or up_at is None or not pod.is_running:
        return 0
    return max(0, int((now - up_at).total_seconds() / _period(pod)))


def _period(pod: Pod) -> float:
    return max(1.0, pod.boot.mishap_seconds)


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
    if up_at is None or asked_at < up_at or _is_silent(pod, asked_at, up_at):
        return None
    mapped_at = ports_at(pod)
    mapped = mapped_at is not None and asked_at >= mapped_at
    has_machine = bool(pod.public_ports)
    # rule SIM-POD-3
    visible = pod.public_ports if mapped and (has_machine or not wants(pod)) else None
    uptime = (asked_at - up_at).total_seconds()
    if pod.boot.mishap is Mishap.CRASH_LOOP:
        # rule SIM-HALF-7
        uptime %= _period(pod)
    return Runtime(
        uptime_seconds=int(uptime),
        public_ports=visible,
        http_ports=pod.http_ports,
    )


def _is_silent(pod: Pod, now: datetime, up_at: datetime) -> bool:
    # rule SIM-HALF-6
    silence = timedelta(seconds=pod.boot.mishap_seconds)
    return pod.boot.mishap is Mishap.HOST_SILENT and now < up_at + silence


def wants(pod: Pod) -> bool:
    """Say whether the pod asked for any TCP port."""
    return any(entry.endswith("/tcp") for entry in pod.spec.ports)


def has_public_ip(pod: Pod) -> bool:
    """Say whether the pod's TCP ports are reachable from outside."""
    # rule SIM-PORT-3, rule SIM-HALF-9
    if pod.boot.mishap is Mishap.NO_PUBLIC_IP:
        return False
    return pod.cloud_type == "SECURE" or pod.spec.support_public_ip


def live_status(pod: Pod, now: datetime) -> LiveStatus:
    """Return the real state, as REST v2 calls it."""
    if pod.terminated_at is not None:
        return LiveStatus.TERMINATED
    if not pod.is_running:
        return LiveStatus.ERROR if pod.has_failed else LiveStatus.EXITED
    # rule SIM-HALF-5
    if pod.boot.mishap is Mishap.PROVISIONING_FOREVER:
        return LiveStatus.PROVISIONING
    up_at = runtime_at(pod)
    if up_at is not None and now >= up_at:
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
