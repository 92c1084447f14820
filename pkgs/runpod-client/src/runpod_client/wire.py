"""Reading RunPod's JSON into the model, shared by the dialects; pure, no I/O.

It must not know how an answer travelled. What is written `a -> b` reads: wire -> model.

    desiredStatus        runtime   lastStatusChange        PodStatus
    RUNNING              present                           RUNNING
    RUNNING              null                              STARTING
    CREATED, RESTARTING  any                               STARTING
    EXITED, PAUSED, DEAD any       "terminated by ..."     TERMINATED
    EXITED, PAUSED, DEAD any       anything else           STOPPED
    TERMINATED           any                               TERMINATED
    any other word       any                               UNKNOWN

`desiredStatus` is the wish; `runtime` is what the host reports. A stopped pod keeps
reporting its old runtime for a while, so runtime counts only beside RUNNING. The
capitals of `lastStatusChange` vary; it is compared without them. Right after a restart
the uptime can be negative and is read as 0.

    podType INTERRUPTABLE, BID   -> is_spot
    env ["K=V", ...]             -> {"K": "V"}
    ports row without an address or of a type other than tcp, http -> left out
    price 0 or null              -> None (not offered), except what a pod is billed
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from runpod_client.errors import ProtocolError
from runpod_client.model import (
    Account,
    CloudType,
    GPUType,
    GPUUtilization,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
)

Record = TypeVar("Record")

# every desiredStatus but RUNNING, which needs a second look
_PLAIN_STATUS: Mapping[str, PodStatus] = {
    "CREATED": PodStatus.STARTING,
    "RESTARTING": PodStatus.STARTING,
    "EXITED": PodStatus.STOPPED,
    "PAUSED": PodStatus.STOPPED,
    "DEAD": PodStatus.STOPPED,
    "TERMINATED": PodStatus.TERMINATED,
}
_TERMINATED = re.compile(r"terminated by\b", re.IGNORECASE)
_SPOT = frozenset({"INTERRUPTABLE", "BID"})
_UNKNOWN_GPU_TYPE = "unknown"  # a placeholder row that the catalogue carries


class WirePort(msgspec.Struct, rename="camel"):
    """A row of `runtime.ports`."""

    ip: str | None = None
    is_ip_public: bool | None = None
    private_port: int | None = None
    public_port: int | None = None
    type: str | None = None


class WireGPU(msgspec.Struct, rename="camel"):
    """A row of `runtime.gpus`."""

    id: str | None = None
    gpu_util_percent: int | None = None
    memory_util_percent: int | None = None


class WireRuntime(msgspec.Struct, rename="camel"):
    """What the host reports of a pod's container."""

    uptime_in_seconds: int | None = None
    ports: list[WirePort | None] | None = None
    gpus: list[WireGPU | None] | None = None


class WireMachine(msgspec.Struct, rename="camel"):
    """The machine a pod was placed on."""

    pod_host_id: str | None = None
    gpu_type_id: str | None = None
    gpu_display_name: str | None = None
    secure_cloud: bool | None = None
    data_center_id: str | None = None


class WirePod(msgspec.Struct, rename="camel"):
    """A pod as GraphQL answers it."""

    id: str
    desired_status: str
    name: str | None = None
    image_name: str | None = None
    gpu_count: int | None = None
    cost_per_hr: Decimal | None = None
    adjusted_cost_per_hr: Decimal | None = None
    last_status_change: str | None = None
    last_started_at: str | None = None
    created_at: str | None = None
    machine_id: str | None = None
    pod_type: str | None = None
    env: list[str | None] | None = None
    volume_in_gb: Decimal | None = None
    container_disk_in_gb: Decimal | None = None
    memory_in_gb: Decimal | None = None
    vcpu_count: Decimal | None = None
    locked: bool | None = None
    runtime: WireRuntime | None = None
    machine: WireMachine | None = None


class WirePrice(msgspec.Struct, rename="camel"):
    """The lowest price of a GPU type now."""

    minimum_bid_price: Decimal | None = None
    uninterruptable_price: Decimal | None = None
    stock_status: str | None = None


class WireGPUType(msgspec.Struct, rename="camel"):
    """A row of the GPU catalogue."""

    id: str | None = None
    display_name: str | None = None
    memory_in_gb: int | None = None
    secure_cloud: bool | None = None
    community_cloud: bool | None = None
    secure_price: Decimal | None = None
    community_price: Decimal | None = None
    lowest_price: WirePrice | None = None


class WireAccount(msgspec.Struct, rename="camel"):
    """The account's money."""

    id: str | None = None
    client_balance: Decimal | None = None
    current_spend_per_hr: Decimal | None = None
    spend_limit: Decimal | None = None


def decode(body: bytes, record: type[Record], *, operation: str) -> Record:
    """Read a JSON answer as `record`.

    Raises:
        ProtocolError: It is no JSON, or not shaped as documented.
    """
    try:
        return msgspec.json.decode(body, type=record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(
            f"RunPod's answer to {operation} is not as documented: {error}",
            operation=operation,
            hint="If this stays so, RunPod has changed its API; look for an update.",
        ) from error


def parse_pod(wire: WirePod) -> Pod:
    """Return the pod an answer describes.

    Raises:
        ProtocolError: A figure or a time in it makes no sense.
    """
    status, reason = parse_status(
        wire.desired_status,
        wire.last_status_change or "",
        has_runtime=wire.runtime is not None,
    )
    runtime = wire.runtime if status is PodStatus.RUNNING else None
    machine = wire.machine or WireMachine()
    price = _money(wire.cost_per_hr) or _money(wire.adjusted_cost_per_hr)
    created_at = parse_time(wire.created_at)
    return Pod(
        pod_id=wire.id,
        name=wire.name or "",
        status=status,
        status_reason=reason,
        gpu_type=machine.gpu_type_id or machine.gpu_display_name or "",
        gpu_count=wire.gpu_count or 0,
        image=wire.image_name or "",
        price_usd_per_hour=price or Decimal(0),
        cloud_type=_parse_cloud_type(machine.secure_cloud),
        is_spot=wire.pod_type in _SPOT,
        machine_id=wire.machine_id or "",
        data_center_id=machine.data_center_id or "",
        created_at=created_at,
        started_at=parse_time(wire.last_started_at) or created_at,
        uptime_seconds=_parse_uptime(runtime),
        volume_gb=int(_figure(wire.volume_in_gb)),
        container_disk_gb=int(_figure(wire.container_disk_in_gb)),
        memory_gb=_figure(wire.memory_in_gb),
        vcpu_count=_figure(wire.vcpu_count),
        ports=_parse_ports(runtime),
        gpus=_parse_gpus(runtime),
        env=parse_env(wire.env or []),
        proxy_user=machine.pod_host_id or "",
        is_locked=bool(wire.locked),
    )


def parse_status(
    desired: str, last_change: str, *, has_runtime: bool
) -> tuple[PodStatus, str]:
    """Return what a pod really is, and why, by the table above."""
    if desired == "RUNNING":
        if has_runtime:
            return PodStatus.RUNNING, last_change
        return PodStatus.STARTING, last_change or "no report from the host yet"
    status = _PLAIN_STATUS.get(desired)
    if status is None:
        return PodStatus.UNKNOWN, f"RunPod calls it {desired!r}"
    if status is PodStatus.STOPPED and _TERMINATED.match(last_change):
        status = PodStatus.TERMINATED
    return status, last_change or desired


def parse_env(rows: list[str | None]) -> dict[str, str]:
    """Return `K=V` rows as a mapping; a row without `=` has an empty value."""
    pairs = (row.partition("=") for row in rows if row)
    return {key: value for key, _, value in pairs}


def parse_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time as aware UTC; None stays None.

    Raises:
        ProtocolError: The text is no such time.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"RunPod gives the time as {text!r}") from error


def parse_gpu_types(rows: list[WireGPUType | None]) -> list[GPUType]:
    """Return the GPU catalogue without its placeholder row."""
    return [
        _parse_gpu_type(row)
        for row in rows
        if row is not None and row.id and row.id != _UNKNOWN_GPU_TYPE
    ]


def parse_account(wire: WireAccount) -> Account:
    """Return the account's figures.

    Raises:
        ProtocolError: It has no id, or a figure makes no sense.
    """
    if not wire.id:
        raise ProtocolError("RunPod answered with an account that has no id")
    return Account(
        account_id=wire.id,
        balance_usd=_figure(wire.client_balance),
        spend_usd_per_hour=_figure(wire.current_spend_per_hr),
        spend_limit_usd_per_hour=_money(wire.spend_limit),
    )


def _parse_gpu_type(wire: WireGPUType) -> GPUType:
    price = wire.lowest_price or WirePrice()
    stock = price.stock_status or ""
    return GPUType(
        gpu_type=wire.id or "",
        display_name=wire.display_name or wire.id or "",
        memory_gb=wire.memory_in_gb or 0,
        is_secure=bool(wire.secure_cloud),
        is_community=bool(wire.community_cloud),
        stock="" if stock == "None" else stock,
        on_demand_usd_per_hour=_money(price.uninterruptable_price),
        minimum_bid_usd_per_hour=_money(price.minimum_bid_price),
        secure_usd_per_hour=_money(wire.secure_price),
        community_usd_per_hour=_money(wire.community_price),
    )


def _parse_cloud_type(is_secure: bool | None) -> CloudType | None:  # noqa: FBT001  # the wire's tri-state
    by_flag: Mapping[Any, CloudType] = {
        True: CloudType.SECURE,
        False: CloudType.COMMUNITY,
    }
    return by_flag.get(is_secure)


def _parse_uptime(runtime: WireRuntime | None) -> int | None:
    if runtime is None or runtime.uptime_in_seconds is None:
        return None
    return max(runtime.uptime_in_seconds, 0)


def _parse_ports(runtime: WireRuntime | None) -> tuple[PortMapping, ...]:
    rows = (runtime.ports if runtime else None) or []
    return tuple(
        PortMapping(
            private_port=row.private_port,
            public_port=row.public_port,
            ip=row.ip,
            is_public=bool(row.is_ip_public),
            protocol=Protocol(row.type),
        )
        for row in rows
        if row is not None
        and row.ip
        and row.private_port is not None
        and row.public_port is not None
        and row.type in set(Protocol)
    )


def _parse_gpus(runtime: WireRuntime | None) -> tuple[GPUUtilization, ...]:
    rows = (runtime.gpus if runtime else None) or []
    return tuple(
        GPUUtilization(
            gpu_id=row.id or "",
            gpu_percent=row.gpu_util_percent,
            memory_percent=row.memory_util_percent,
        )
        for row in rows
        if row is not None
    )


def _figure(value: Decimal | None) -> Decimal:
    """Return a figure, 0 for null; NaN and infinity are no figures."""
    if value is None:
        return Decimal(0)
    # a JSON string may spell any Decimal; int() of 1E+999999 would never end
    if not value.is_finite() or abs(value) > 10**12:
        raise ProtocolError(f"RunPod gives a figure as {value}")
    return value


def _money(value: Decimal | None) -> Decimal | None:
    """Return a price; RunPod writes 0 and null for what is not offered."""
    return _figure(value) or None
