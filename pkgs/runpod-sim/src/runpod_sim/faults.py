"""Scripted trouble: which operation goes wrong how, how often, reproducibly.

Pure bookkeeping. The wire faces and the service ask whether a fault strikes and do what
it says; nothing here cuts a connection or refuses a pod itself.
"""

import random
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What can go wrong."""

    # What the platform decides about a pod.
    NO_CAPACITY = "no_capacity"
    NULL_RESULT = "null_result"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    INTERNAL_ERROR = "internal_error"
    NO_GPU_ON_RESUME = "no_gpu_on_resume"
    SLOW_PULL = "slow_pull"
    PORTS_NEVER = "ports_never"
    RUNTIME_GAP = "runtime_gap"
    NEGATIVE_UPTIME = "negative_uptime"
    ZERO_GPU = "zero_gpu"
    NO_SSH_PORT = "no_ssh_port"
    # What is wrong with the next start, as long as that lasts.
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_AUTH = "image_auth"
    IMAGE_PULL_ERROR = "image_pull_error"
    CUDA_MISMATCH = "cuda_mismatch"
    PROVISIONING_FOREVER = "provisioning_forever"
    HOST_SILENT = "host_silent"
    CRASH_LOOP = "crash_loop"
    SSHD_NEVER = "sshd_never"
    NO_PUBLIC_IP = "no_public_ip"
    # What happens at once, when the fault is set.
    OUTBID = "outbid"
    BALANCE_ZERO = "balance_zero"
    HOST_LOST = "host_lost"
    LOCKED = "locked"
    # What happens to the request or its answer.
    RATE_LIMITED = "rate_limited"
    GONE = "gone"
    HTML_500 = "html_500"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NO_ANSWER = "no_answer"
    DROP_CONNECTION = "drop_connection"
    LOST_ANSWER = "lost_answer"
    SLOW_ANSWER = "slow_answer"
    MALFORMED_BODY = "malformed_body"


IMMEDIATE = frozenset({Kind.OUTBID, Kind.BALANCE_ZERO, Kind.HOST_LOST, Kind.LOCKED})
BEFORE_OPERATION = (
    Kind.GONE,
    Kind.RATE_LIMITED,
    Kind.HTML_500,
    Kind.BAD_GATEWAY,
    Kind.UNAVAILABLE,
    Kind.UNAUTHORIZED,
    Kind.FORBIDDEN,
    Kind.NO_ANSWER,
    Kind.DROP_CONNECTION,
)
AFTER_OPERATION = (Kind.LOST_ANSWER, Kind.MALFORMED_BODY)
WIRES = ("graphql", "rest")
LONGEST_SECONDS = 1e9
DEFAULT_SECONDS = {
    Kind.SLOW_PULL: 60.0,
    Kind.SLOW_ANSWER: 5.0,
    Kind.RATE_LIMITED: 1.0,
    Kind.NEGATIVE_UPTIME: 3.0,
    Kind.NO_ANSWER: 60.0,
    # Until RunPod gives up on the start.
    Kind.IMAGE_NOT_FOUND: 30.0,
    Kind.IMAGE_AUTH: 30.0,
    Kind.IMAGE_PULL_ERROR: 30.0,
    Kind.CUDA_MISMATCH: 30.0,
    # Until the host reports.
    Kind.HOST_SILENT: LONGEST_SECONDS,
    # From one crash to the next.
    Kind.CRASH_LOOP: 5.0,
}


class FaultError(ValueError):
    """A fault was described in a way that makes no sense; the message says how."""


@dataclass(frozen=True)
class Fault:
    """One scripted trouble.

    Args:
        operation: A verb (deploy, resume, stop, terminate, edit, list, get, catalog,
            account, storage, template, billing), a GraphQL root field or a REST operation id; None for any that
            the kind can strike.
        times: How often it still strikes; None without end.
        probability: Of striking each time it could, decided by `seed`.
        seconds: How long, or after how long, for the kinds that have a duration.
        pod_id: For the kinds that strike at once: this pod alone.
        wire: graphql or rest, for requests by that wire alone; None for both.
    """

    id: int
    kind: Kind
    operation: str | None = None
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float | None = None
    pod_id: str | None = None
    wire: str | None = None

    @property
    def duration_seconds(self) -> float:
        """Return the fault's duration or its kind's default."""
        if self.seconds is not None:
            return self.seconds
        return DEFAULT_SECONDS.get(self.kind, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the fault as the admin routes show it."""
        return asdict(self)


def parse_fault(body: Any, fault_id: int) -> Fault:
    """Return the fault a JSON object describes.

    Raises:
        FaultError: An unknown key or kind, or a value of the wrong type.
    """
    if not isinstance(body, dict):
        raise FaultError("a fault is a JSON object with at least a kind")
    known = {entry.name for entry in fields(Fault)} - {"id"}
    unknown = sorted(set(body) - known)
    if unknown:
        raise FaultError(f"a fault has no {', '.join(unknown)}")
    kinds = ", ".join(kind.value for kind in Kind)
    if body.get("kind") not in {kind.value for kind in Kind}:
        raise FaultError(f"{body.get('kind')!r} is no kind of fault; there are {kinds}")
    # A fault with a probability strikes for as long as it stands, unless told.
    times = body.get("times", None if "probability" in body else 1)
    if times is not None and (not isinstance(times, int) or times < 1):
        raise FaultError("times is a positive whole number, or null for no end")
    probability = body.get("probability", 1.0)
    if not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise FaultError("probability is a number from 0 to 1")
    check_details(body)
    return Fault(
        id=fault_id,
        kind=Kind(body["kind"]),
        operation=body.get("operation"),
        times=times,
        probability=float(probability),
        seed=body.get("seed", 0),
        seconds=body.get("seconds"),
        pod_id=body.get("pod_id"),
        wire=body.get("wire"),
    )


def check_details(body: dict[str, Any]) -> None:
    """Check what a fault says beyond its kind and how often it strikes.

    Raises:
        FaultError: A value of the wrong type.
    """
    seconds = body.get("seconds")
    if seconds is not None and (
        not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_SECONDS
    ):
        raise FaultError(f"seconds is a number from 0 to {LONGEST_SECONDS:g}")
    if not isinstance(body.get("seed", 0), int):
        raise FaultError("seed is a whole number")
    for name in ("operation", "pod_id"):
        if not isinstance(body.get(name), str | None):
            raise FaultError(f"{name} is text")
    if body.get("wire") not in {None, *WIRES}:
        raise FaultError(f"wire is {' or '.join(WIRES)}")


@dataclass
class FaultBook:
    """All faults that stand, and how often each struck."""

    _faults: dict[int, Fault] = field(default_factory=dict)
    _dice: dict[int, random.Random] = field(default_factory=dict)
    _struck: dict[int, int] = field(default_factory=dict)
    _last_id: int = 0

    def add(self, body: Any) -> Fault:
        """Set a fault described as JSON."""
        fault = parse_fault(body, self._last_id + 1)
        self._last_id = fault.id
        self._dice[fault.id] = random.Random(fault.seed)  # noqa: S311 - reproducible
        self._struck[fault.id] = 0
        if fault.kind not in IMMEDIATE:
            self._faults[fault.id] = fault
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Remove one fault or all; return how many there were."""
        if fault_id is None:
            count = len(self._faults)
            self._faults.clear()
            return count
        return 1 if self._faults.pop(fault_id, None) else 0

    def clear_kind(self, kind: Kind, wire: str) -> None:
        """Remove what strikes all of a wire in one way."""
        for fault in list(self._faults.values()):
            if (fault.kind, fault.wire, fault.operation) == (kind, wire, None):
                del self._faults[fault.id]

    def standing(self) -> list[dict[str, Any]]:
        """Return the faults that can still strike, with how often each did."""
        return [
            fault.to_json() | {"struck": self._struck[fault.id]}
            for fault in self._faults.values()
        ]

    def take(self, kind: Kind, operations: Collection[str]) -> Fault | None:
        """Return a fault of that kind that strikes one of these operations now.

        Args:
            operations: All names of what is being done, the wire's among them.
        """
        if not self._faults:
            return None
        for fault in list(self._faults.values()):
            if fault.kind is not kind:
                continue
            if fault.operation is not None and fault.operation not in operations:
                continue
            if fault.wire is not None and fault.wire not in operations:
                continue
            if self._dice[fault.id].random() >= fault.probability:
                continue
            self._use_up(fault)
            return fault
        return None

    def take_whole(self, kind: Kind, wire: str) -> Fault | None:
        """Return a fault of that kind that strikes all of a wire, whatever is asked."""
        for fault in list(self._faults.values()):
            is_whole = fault.operation is None and fault.probability >= 1
            if fault.kind is kind and is_whole and fault.wire == wire:
                self._use_up(fault)
                return fault
        return None

    def _use_up(self, fault: Fault) -> None:
        self._struck[fault.id] += 1
        if fault.times is None:
            return
        if fault.times <= 1:
            del self._faults[fault.id]
        else:
            self._faults[fault.id] = replace(fault, times=fault.times - 1)
