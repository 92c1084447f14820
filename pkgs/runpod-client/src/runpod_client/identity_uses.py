"""Which pod an SSH identity was made for, and whether anybody still needs it."""

from collections.abc import Iterable
from dataclasses import dataclass

from runpod_client.cloud import PodCloud
from runpod_client.intents import OPEN_STATES, Journal
from runpod_client.model import Pod, PodStatus


@dataclass(frozen=True, kw_only=True)
class IdentityUse:
    """What an identity is for.

    Attributes:
        pod_id: As far as it is known; empty else.
        pod: None when it is gone, or not there yet.
        is_orphan: Whether its pod is gone for good.
    """

    name: str
    pod_id: str
    pod: Pod | None
    is_orphan: bool


def find_use(
    name: str, pods: Iterable[Pod], journal: Journal, cloud: PodCloud
) -> IdentityUse:
    """Return what an identity is for; asks RunPod about a pod the listing lacks.

    Args:
        pods: A listing made just now.
    """
    # a listing that tells no environment shows the first eight digits
    pod = next((pod for pod in pods if pod.intent_id in {name, name[:8]}), None)
    if pod is not None:
        return IdentityUse(name=name, pod_id=pod.pod_id, pod=pod, is_orphan=False)
    try:
        intent = journal.get(name)
    except KeyError:
        return IdentityUse(name=name, pod_id="", pod=None, is_orphan=True)
    pod_id = intent.pod_id or ""
    if intent.state in OPEN_STATES:  # it is being made, or nobody knows yet
        return IdentityUse(name=name, pod_id=pod_id, pod=None, is_orphan=False)
    pod = cloud.find_pod(pod_id) if pod_id else None
    is_gone = pod is None or pod.status is PodStatus.TERMINATED
    return IdentityUse(name=name, pod_id=pod_id, pod=pod, is_orphan=is_gone)
