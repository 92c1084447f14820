"""Judging by the facts what state a pod is in; pure.

The table of what proves which stands in `runpod_client.conditions`.
"""

from datetime import datetime, timedelta

from runpod_client.boot_logs import Boot, Stage, Trouble
from runpod_client.condition_kinds import Condition, Evidence, Limits
from runpod_client.model import Pod, PodStatus, Protocol

_CRASH_LOOP_STARTS = 3
_SSH_PORT = 22

_BY_TROUBLE = {
    Trouble.IMAGE_NOT_FOUND: Condition.IMAGE_NOT_FOUND,
    Trouble.IMAGE_NEEDS_CREDENTIALS: Condition.IMAGE_NEEDS_CREDENTIALS,
    Trouble.PULL_FAILED: Condition.PULL_FAILED,
    Trouble.CUDA_TOO_OLD: Condition.CUDA_TOO_OLD,
    Trouble.NO_GPU: Condition.START_FAILED,
    Trouble.START_FAILED: Condition.START_FAILED,
}
_BY_STAGE = {
    Stage.PULLING: Condition.PULLING_IMAGE,
    Stage.PULLED: Condition.CONTAINER_STARTING,
    Stage.STARTED: Condition.CONTAINER_STARTING,
}
_STUCK = {
    Condition.PULLING_IMAGE: Condition.PULL_STUCK,
    Condition.CONTAINER_STARTING: Condition.HOST_SILENT,
    Condition.COMING_UP: Condition.START_STUCK,
}
_BY_REASON = (
    ("outbid", Condition.OUTBID),
    ("exited by user", Condition.STOPPED_BY_USER),
    ("exited by runpod", Condition.STOPPED_BY_RUNPOD),
)


def find_condition(
    pod: Pod, now: datetime, boot: Boot, evidence: Evidence, limits: Limits
) -> Condition:
    """Return the one name that the facts prove."""
    match pod.status:
        case PodStatus.STARTING:
            return _judge_starting(pod, now, boot, evidence, limits)
        case PodStatus.RUNNING:
            return _judge_running(pod, now, boot, evidence, limits)
        case PodStatus.STOPPED:
            return _judge_stopped(pod, boot, evidence)
        case PodStatus.FAILED:
            return _BY_TROUBLE[boot.trouble] if boot.trouble else Condition.FAILED
        case PodStatus.TERMINATED:
            return Condition.TERMINATED
        case _:
            return Condition.UNKNOWN


def _judge_starting(
    pod: Pod, now: datetime, boot: Boot, evidence: Evidence, limits: Limits
) -> Condition:
    if boot.trouble is not None:
        return _BY_TROUBLE[boot.trouble]
    if boot.starts >= _CRASH_LOOP_STARTS:
        return Condition.CRASH_LOOP
    earlier = evidence.earlier
    if earlier and earlier.uptime_seconds is not None and _is_same_start(pod, earlier):
        return Condition.HOST_SILENT
    if not (pod.machine_id or pod.proxy_user or boot.stage):
        return Condition.WAITING_FOR_MACHINE
    condition = _BY_STAGE.get(boot.stage, Condition.COMING_UP)
    since, limit = pod.started_at or pod.created_at, limits.pull
    if condition is Condition.CONTAINER_STARTING and boot.reached_at is not None:
        since, limit = boot.reached_at, limits.report
    is_late = since is not None and now - since > limit
    return _STUCK[condition] if is_late else condition


def _judge_running(
    pod: Pod, now: datetime, boot: Boot, evidence: Evidence, limits: Limits
) -> Condition:
    if pod.uptime_seconds is None:
        return Condition.HOST_SILENT
    if _is_crashing(pod, now, boot, evidence.earlier, limits):
        return Condition.CRASH_LOOP
    if _lacks_gpus(pod):
        return Condition.NO_GPU
    if pod.ssh_address is None:
        return _judge_port(pod)
    if evidence.ssh_is_answering is False:
        return Condition.SSH_NOT_ANSWERING
    return Condition.LOCKED if pod.is_locked else Condition.READY


def _judge_stopped(pod: Pod, boot: Boot, evidence: Evidence) -> Condition:
    reason = pod.status_reason.lower()
    for start, condition in _BY_REASON:
        if not reason.startswith(start):
            continue
        if condition is Condition.STOPPED_BY_RUNPOD:
            if boot.trouble is not None:
                return _BY_TROUBLE[boot.trouble]
            if evidence.balance_usd is not None and evidence.balance_usd <= 0:
                return Condition.OUT_OF_CREDIT
        return condition
    return Condition.STOPPED


def _judge_port(pod: Pod) -> Condition:
    """Return why a running pod has no direct SSH address."""
    rows = [port for port in pod.ports if port.protocol is Protocol.TCP]
    if any(port.private_port == _SSH_PORT for port in rows):
        return Condition.NO_PUBLIC_IP
    if pod.asked_ports is None:
        # where the wire does not tell what was asked for, other ports tell
        return Condition.NO_SSH_PORT if rows else Condition.PORTS_NOT_MAPPED
    has_asked = f"{_SSH_PORT}/tcp" in {port.lower() for port in pod.asked_ports}
    return Condition.PORTS_NOT_MAPPED if has_asked else Condition.NO_SSH_PORT


def _is_crashing(
    pod: Pod, now: datetime, boot: Boot, earlier: Pod | None, limits: Limits
) -> bool:
    uptime = timedelta(seconds=pod.uptime_seconds or 0)
    if uptime >= limits.restart:
        return False
    if boot.starts >= _CRASH_LOOP_STARTS:
        return True
    if earlier is not None and _is_same_start(pod, earlier):
        return (earlier.uptime_seconds or 0) > (pod.uptime_seconds or 0)
    if pod.started_at is None:
        return False
    return now - pod.started_at - uptime > limits.slow_pull


def _is_same_start(pod: Pod, earlier: Pod) -> bool:
    return pod.pod_id == earlier.pod_id and pod.started_at == earlier.started_at


def _lacks_gpus(pod: Pod) -> bool:
    """Return whether a GPU pod runs on CPUs alone.

    GraphQL counts its GPUs as 0. REST v2 goes on naming them, and shows it by a
    price of nothing and no GPU at work; either alone has other causes.
    """
    is_free = pod.price_usd_per_hour == 0 and not pod.gpus
    return bool(pod.gpu_type) and (pod.gpu_count == 0 or is_free)
