"""The names of a pod's states, and what may be known besides the pod; pure.

What proves which is told in `runpod_client.conditions`.
"""

import enum
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from runpod_client.model import Pod


class Condition(enum.StrEnum):
    """A pod's state by one name; its value is how people are told."""

    WAITING_FOR_MACHINE = "waiting for a machine"
    PULLING_IMAGE = "pulling the image"
    PULL_STUCK = "image pull stuck"
    IMAGE_NOT_FOUND = "image not found"
    IMAGE_NEEDS_CREDENTIALS = "image needs credentials"
    PULL_FAILED = "image pull failed"
    CONTAINER_STARTING = "container starting"
    COMING_UP = "coming up"
    START_STUCK = "start stuck"
    CUDA_TOO_OLD = "host's CUDA too old"
    START_FAILED = "container cannot start"
    CRASH_LOOP = "crash loop"
    HOST_SILENT = "host silent"
    NO_GPU = "no GPU"
    NO_SSH_PORT = "no port 22 asked for"
    NO_PUBLIC_IP = "no public IP"
    PORTS_NOT_MAPPED = "port 22 not mapped yet"
    SSH_NOT_ANSWERING = "sshd not answering"
    STOPPED = "stopped"
    STOPPED_BY_USER = "stopped by user"
    STOPPED_BY_RUNPOD = "stopped by RunPod"
    OUTBID = "outbid"
    OUT_OF_CREDIT = "out of credit"
    FAILED = "failed"
    LOCKED = "locked"
    TERMINATED = "terminated"
    READY = "ready"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a state may take before it is called by a worse name.

    Attributes:
        pull: From the start to the container's first report: large images take long.
        report: From the container's start to its first report.
        restart: A container younger than this may belong to a crash loop.
        slow_pull: A container this much younger than its start was not just pulled.
    """

    pull: timedelta = timedelta(minutes=15)
    report: timedelta = timedelta(minutes=5)
    restart: timedelta = timedelta(minutes=5)
    slow_pull: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known besides the pod; None and empty mean: nobody looked.

    Attributes:
        ssh_is_answering: What a probe of port 22 found.
        ssh_status: The probe's words.
        earlier: The same pod as observed before.
        balance_usd: The account's credit.
    """

    ssh_is_answering: bool | None = None
    ssh_status: str = ""
    earlier: Pod | None = None
    balance_usd: Decimal | None = None
