"""Naming what state a pod is in, for people: half-way states above all; pure.

It must not know which wire the pod came over, and so names only what the facts given
prove. `runpod_client.boot_logs` reads the host's log, which only REST v2 has.

    condition                proved by (G GraphQL, R REST v2, L the host's log)
    WAITING_FOR_MACHINE      coming up, no machine yet                        G R
    PULLING_IMAGE            the log's latest word is of the pull             L
    PULL_STUCK               the same, for longer than `Limits.pull`          L
    IMAGE_NOT_FOUND          the registry knows no such image                 L
    IMAGE_NEEDS_CREDENTIALS  the registry refuses                             L
    PULL_FAILED              the pull failed otherwise: rate limit, full disk L
    CONTAINER_STARTING       the log says the image is there                  L
    COMING_UP                any of these six: G never tells which, R only by L
    START_STUCK              COMING_UP for longer than `Limits.pull`          G R
    CUDA_TOO_OLD             the host's driver is too old for the image       L
    START_FAILED             the host could not start the container           L
    CRASH_LOOP               the log shows three starts, or the uptime fell,
                             or it is far younger than the start              G R L
    HOST_SILENT              R: RUNNING without runtime; G cannot tell it from
                             COMING_UP, unless it was seen running before     G R
    NO_GPU                   started without its GPUs                         G R
    NO_SSH_PORT              22/tcp was not asked for                         G R
    NO_PUBLIC_IP             port 22 is mapped to a private address           G R
    PORTS_NOT_MAPPED         port 22 was asked for and is not mapped          G R
    SSH_NOT_ANSWERING        a probe of the mapped port failed                probe
    STOPPED                  stopped; by whom is not told                     R
    STOPPED_BY_USER          "Exited by user"                                 G
    STOPPED_BY_RUNPOD        "Exited by Runpod": credit, image or host, which
                             of them is not told                              G
    OUTBID                   "Outbid"                                         G
    OUT_OF_CREDIT            STOPPED_BY_RUNPOD with no credit left            G
    FAILED                   ERROR, and no log that says why                  R
    LOCKED                   ready, but refuses to be stopped                 G R
    TERMINATED, READY        as they say                                      G R
    UNKNOWN                  a word of RunPod's that is new                   G R

Facts are from docs/runpod-api.md: `desiredStatus` RUNNING is the wish, `runtime` is
null while anything before the container's first report is going on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from runpod_client.boot_logs import Boot, read_boot
from runpod_client.condition_kinds import Condition, Evidence, Limits
from runpod_client.judgement import find_condition
from runpod_client.model import CloudType, LogLine, Pod, PodStatus
from runpod_client.prices import (
    HOURS_PER_MONTH,
    STOPPED_VOLUME_USD_PER_GB_MONTH,
)

__all__ = ["Condition", "Diagnosis", "Evidence", "Limits", "diagnose"]

_DATE = re.compile(r"\w{3} (\w{3} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000)")

# the container runs and reports, whatever may be missing besides
_UP = frozenset(
    {
        Condition.NO_GPU,
        Condition.NO_SSH_PORT,
        Condition.NO_PUBLIC_IP,
        Condition.PORTS_NOT_MAPPED,
        Condition.SSH_NOT_ANSWERING,
        Condition.LOCKED,
        Condition.READY,
    }
)
# waiting does not help: somebody has to do something
_TERMINAL = frozenset(
    {
        Condition.IMAGE_NOT_FOUND,
        Condition.IMAGE_NEEDS_CREDENTIALS,
        Condition.CUDA_TOO_OLD,
        Condition.START_FAILED,
        Condition.NO_SSH_PORT,
        Condition.NO_PUBLIC_IP,
        Condition.STOPPED,
        Condition.STOPPED_BY_USER,
        Condition.STOPPED_BY_RUNPOD,
        Condition.OUTBID,
        Condition.OUT_OF_CREDIT,
        Condition.FAILED,
        Condition.TERMINATED,
    }
)

_ENDED = frozenset({PodStatus.STOPPED, PodStatus.FAILED, PodStatus.TERMINATED})
# {pod} is the pod's id
_HINTS: Mapping[Condition, str] = {
    Condition.WAITING_FOR_MACHINE: "Give it up: runpod-client pods terminate {pod}",
    Condition.PULLING_IMAGE: "Follow it: runpod-client pods logs {pod} --system",
    Condition.PULL_STUCK: "Try another host: runpod-client pods terminate {pod}",
    Condition.IMAGE_NOT_FOUND: "Correct it: runpod-client pods edit {pod} --image ...",
    Condition.IMAGE_NEEDS_CREDENTIALS: "Correct the image's name, or store the "
    "registry's credentials at RunPod; end it: runpod-client pods terminate {pod}",
    Condition.PULL_FAILED: "Try another host: runpod-client pods terminate {pod}",
    Condition.CONTAINER_STARTING: "Follow it: runpod-client pods logs {pod}",
    Condition.COMING_UP: "See the host's log: runpod-client pods logs {pod} --system",
    Condition.START_STUCK: "See the host's log: runpod-client pods logs {pod} "
    "--system; or try another host: runpod-client pods terminate {pod}",
    Condition.CUDA_TOO_OLD: "Rent one with a newer driver (--min-cuda), and end this "
    "one: runpod-client pods terminate {pod}",
    Condition.START_FAILED: "Correct its command or image: runpod-client pods edit "
    "{pod} --help",
    Condition.CRASH_LOOP: "See why it ends: runpod-client pods logs {pod}",
    Condition.HOST_SILENT: "If it stays so, try another host: runpod-client pods "
    "terminate {pod}",
    Condition.NO_GPU: "Save its data, then: runpod-client pods stop {pod}",
    Condition.NO_SSH_PORT: "Add it, which restarts the pod: runpod-client pods edit "
    "{pod} --port 22/tcp{ports}",
    Condition.NO_PUBLIC_IP: "Rent one in the secure cloud, and end this one: "
    "runpod-client pods terminate {pod}",
    Condition.PORTS_NOT_MAPPED: "Wait for it: runpod-client pods wait {pod} --for ssh",
    Condition.SSH_NOT_ANSWERING: "Does the image start an sshd? See: runpod-client "
    "pods logs {pod}",
    Condition.STOPPED: "Start it: runpod-client pods start {pod}",
    Condition.STOPPED_BY_USER: "Start it: runpod-client pods start {pod}",
    Condition.STOPPED_BY_RUNPOD: "See the credit: runpod-client account show",
    Condition.OUTBID: "Bid more: runpod-client pods start {pod} --bid USD",
    Condition.OUT_OF_CREDIT: "Add credit, then: runpod-client pods start {pod}",
    Condition.FAILED: "See the host's log: runpod-client pods logs {pod} --system",
    Condition.LOCKED: "Unlock it in RunPod's console before it is to stop.",
    Condition.TERMINATED: "Rent another: runpod-client pods create",
    Condition.UNKNOWN: "Look for an update of these tools.",
}
_SENTENCES: Mapping[Condition, str] = {
    Condition.WAITING_FOR_MACHINE: "RunPod has no machine for it yet",
    Condition.PULLING_IMAGE: "its host is pulling {image}",
    Condition.PULL_STUCK: "its host still has not pulled {image}",
    Condition.IMAGE_NOT_FOUND: "there is no image {image}",
    Condition.IMAGE_NEEDS_CREDENTIALS: "the registry does not give {image} without "
    "credentials, or has no such image",
    Condition.PULL_FAILED: "pulling {image} failed",
    Condition.CONTAINER_STARTING: "its image is there and its container is starting",
    Condition.COMING_UP: "its image is being pulled or its container is starting, "
    "RunPod does not say which",
    Condition.START_STUCK: "its host has reported no container yet: the image pull "
    "hangs, or the host is silent",
    Condition.CUDA_TOO_OLD: "its host's driver is too old for {image}",
    Condition.START_FAILED: "its host cannot start the container",
    Condition.CRASH_LOOP: "its container ends and is started again",
    Condition.HOST_SILENT: "it should be running, and its host reports nothing",
    Condition.NO_GPU: "it runs on CPUs alone, without its GPUs",
    Condition.NO_SSH_PORT: "it runs, and no port 22/tcp was asked for",
    Condition.NO_PUBLIC_IP: "it runs, and its host has no public IP: port 22 cannot be "
    "reached from outside",
    Condition.PORTS_NOT_MAPPED: "it runs, and port 22 has no public address yet",
    Condition.SSH_NOT_ANSWERING: "it runs, and no sshd answers at {address}",
    Condition.STOPPED: "it is stopped, RunPod does not say by whom",
    Condition.STOPPED_BY_USER: "it was stopped by a user of the account",
    Condition.STOPPED_BY_RUNPOD: "RunPod stopped it and does not say why: no credit, "
    "its image or its host",
    Condition.OUTBID: "a higher bid took its GPUs",
    Condition.OUT_OF_CREDIT: "RunPod stopped it: the account has no credit left",
    Condition.FAILED: "RunPod calls it {wire_status}: its container or its host has "
    "failed for good",
    Condition.LOCKED: "it is ready, and locked: it cannot be stopped",
    Condition.TERMINATED: "it is terminated",
    Condition.READY: "it is ready",
    Condition.UNKNOWN: "RunPod calls its state {wire_status!r}, which is new",
}
# a sentence of these takes the words behind it as its proof
_QUOTING = frozenset(
    {
        Condition.IMAGE_NOT_FOUND,
        Condition.IMAGE_NEEDS_CREDENTIALS,
        Condition.PULL_FAILED,
        Condition.CUDA_TOO_OLD,
        Condition.START_FAILED,
    }
)


_NOTHING = Evidence()
_USUAL = Limits()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What state a pod is in.

    Attributes:
        sentence: For people; without a full stop, to stand in other sentences.
        hint: A whole sentence with a command that helps; empty where nothing is to do.
        is_terminal: Waiting does not change it.
        lasts_seconds: How long it has been so, as far as that is known.
        spent_usd: What that time has cost.
    """

    condition: Condition
    sentence: str
    hint: str = ""
    is_terminal: bool = False
    lasts_seconds: float | None = None
    spent_usd: Decimal | None = None

    @property
    def is_up(self) -> bool:
        """Return whether the container runs and reports, be it without SSH."""
        return self.condition in _UP


def diagnose(
    pod: Pod,
    *,
    now: datetime,
    logs: Sequence[LogLine] = (),
    evidence: Evidence = _NOTHING,
    limits: Limits = _USUAL,
) -> Diagnosis:
    """Return what state a pod is in, as far as the facts prove it.

    Args:
        logs: The host's lines, oldest first; the container's own are passed over.
    """
    boot = read_boot(logs, since=pod.started_at)
    condition = find_condition(pod, now, boot, evidence, limits)
    lasts = _find_duration(pod, now)
    spent = _find_cost(pod, lasts)
    return Diagnosis(
        condition=condition,
        sentence=_render_sentence(pod, condition, boot, evidence)
        + _render_toll(lasts, spent),
        hint=_render_hint(pod, condition),
        is_terminal=condition in _TERMINAL or pod.status in _ENDED,
        lasts_seconds=lasts,
        spent_usd=spent,
    )


def _render_sentence(
    pod: Pod, condition: Condition, boot: Boot, evidence: Evidence
) -> str:
    sentence = _SENTENCES[condition].format(
        image=pod.image or "its image",
        address=pod.ssh_address,
        wire_status=pod.wire_status or pod.status.value,
    )
    if condition in _QUOTING:
        return f"{sentence} ({boot.quote})"
    if condition is Condition.CRASH_LOOP and boot.starts > 1:
        return f"{sentence}, {boot.starts} times so far"
    if condition is Condition.SSH_NOT_ANSWERING and evidence.ssh_status:
        return f"{sentence} ({evidence.ssh_status})"
    if (
        condition is Condition.PORTS_NOT_MAPPED
        and pod.cloud_type is CloudType.COMMUNITY
    ):
        return f"{sentence}; not every host of the community cloud has one"
    return sentence


def _render_hint(pod: Pod, condition: Condition) -> str:
    # an edit replaces all ports: those it has are to be kept
    ports = "".join(f" --port {port}" for port in pod.asked_ports or ())
    return _HINTS.get(condition, "").format(pod=pod.pod_id, ports=ports)


def _render_toll(seconds: float | None, spent: Decimal | None) -> str:
    """Return how long it is so, and what that has cost, as far as it is known."""
    if seconds is None:
        return ""
    minutes = int(seconds // 60)
    time = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
    time = f"{int(seconds)} s" if minutes < 2 else time
    money = f" (${spent:.2f})" if spent else ""
    return f", for {time}{money}"


def _find_duration(pod: Pod, now: datetime) -> float | None:
    """Return for how many seconds it is so; of a stopped pod the reason tells."""
    since: datetime | None
    if pod.status in {PodStatus.STARTING, PodStatus.FAILED}:
        since = pod.started_at or pod.created_at
    elif pod.status is PodStatus.STOPPED:
        since = _parse_date(pod.status_reason)
    elif pod.status is PodStatus.RUNNING and pod.uptime_seconds is not None:
        return float(pod.uptime_seconds)
    else:
        since = pod.started_at if pod.status is PodStatus.RUNNING else None
    return None if since is None else max((now - since).total_seconds(), 0.0)


def _find_cost(pod: Pod, seconds: float | None) -> Decimal | None:
    if seconds is None:
        return None
    price = pod.price_usd_per_hour
    if not pod.status.is_billed:
        price = pod.volume_gb * STOPPED_VOLUME_USD_PER_GB_MONTH / HOURS_PER_MONTH
    return price * Decimal(seconds) / 3600


def _parse_date(reason: str) -> datetime | None:
    """Return the moment at the end of a `lastStatusChange`, None where there is none."""
    found = _DATE.search(reason)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%b %d %Y %H:%M:%S GMT%z")
    except ValueError:
        return None
