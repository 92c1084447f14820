"""The reading of GraphQL's answers into the model; pure, no I/O.

What is written `a -> b` reads: wire -> model.

    desiredStatus        runtime   lastStatusChange        PodStatus    DesiredStatus
    RUNNING              present                           RUNNING      RUNNING
    RUNNING              null                              STARTING     RUNNING
    CREATED, RESTARTING  any                               STARTING     RUNNING
    EXITED, PAUSED, DEAD any       "terminated by ..."     TERMINATED   TERMINATED
    EXITED, PAUSED, DEAD any       anything else           STOPPED      STOPPED
    TERMINATED           any                               TERMINATED   TERMINATED
    any other word       any                               UNKNOWN      UNKNOWN

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
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from runpod_client.dialects.graphql_records import (
    WireAccount,
    WireAvailability,
    WireCPUFlavor,
    WireDataCenter,
    WireGPUType,
    WireMachine,
    WireNetworkVolume,
    WirePod,
    WirePrice,
    WireRuntime,
    WireTemplate,
)
from runpod_client.errors import ProtocolError
from runpod_client.marks import parse_marks
from runpod_client.model import (
    Account,
    CloudType,
    CPUType,
    DataCenter,
    DesiredStatus,
    GPUOffer,
    GPUUtilization,
    NetworkVolume,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
    Stock,
    Template,
)
from runpod_client.wire import (
    UNKNOWN_GPU_TYPE,
    parse_figure,
    parse_money,
    parse_stock,
    parse_time,
    split_ports,
)

# every desiredStatus but RUNNING, which needs a second look
_PLAIN_STATUS: Mapping[str, PodStatus] = {
    "CREATED": PodStatus.STARTING,
    "RESTARTING": PodStatus.STARTING,
    "EXITED": PodStatus.STOPPED,
    "PAUSED": PodStatus.STOPPED,
    "DEAD": PodStatus.STOPPED,
    "TERMINATED": PodStatus.TERMINATED,
}
_DESIRED: Mapping[PodStatus, DesiredStatus] = {
    PodStatus.STARTING: DesiredStatus.RUNNING,
    PodStatus.RUNNING: DesiredStatus.RUNNING,
    PodStatus.STOPPED: DesiredStatus.STOPPED,
    PodStatus.TERMINATED: DesiredStatus.TERMINATED,
    PodStatus.UNKNOWN: DesiredStatus.UNKNOWN,
}
_TERMINATED = re.compile(r"terminated by\b", re.IGNORECASE)
_SPOT = frozenset({"INTERRUPTABLE", "BID"})
_PROTOCOLS: Mapping[str | None, Protocol] = {"tcp": Protocol.TCP, "http": Protocol.HTTP}
_CLOUDS: Mapping[Any, CloudType] = {
    True: CloudType.SECURE,
    False: CloudType.COMMUNITY,
}


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
    price = parse_money(wire.cost_per_hr) or parse_money(wire.adjusted_cost_per_hr)
    created_at = parse_time(wire.created_at)
    env = parse_env(wire.env or [])
    marks = parse_marks(wire.name or "", env)
    return Pod(
        pod_id=wire.id,
        name=marks.name,
        status=status,
        status_reason=reason,
        desired=_DESIRED[status],
        wire_status=wire.desired_status,
        gpu_type=machine.gpu_type_id or machine.gpu_display_name or "",
        gpu_count=wire.gpu_count or 0,
        image=wire.image_name or "",
        price_usd_per_hour=price or Decimal(0),
        cloud_type=_CLOUDS.get(machine.secure_cloud),
        is_spot=wire.pod_type in _SPOT,
        machine_id=wire.machine_id or "",
        data_center_id=machine.data_center_id or "",
        created_at=created_at,
        started_at=parse_time(wire.last_started_at) or created_at,
        uptime_seconds=_parse_uptime(runtime),
        volume_gb=int(parse_figure(wire.volume_in_gb)),
        container_disk_gb=int(parse_figure(wire.container_disk_in_gb)),
        memory_gb=parse_figure(wire.memory_in_gb),
        vcpu_count=parse_figure(wire.vcpu_count),
        ports=_parse_ports(runtime),
        gpus=_parse_gpus(runtime),
        env=env,
        asked_ports=None if wire.ports is None else split_ports(wire.ports),
        network_volume_id=wire.network_volume_id or "",
        proxy_user=machine.pod_host_id or "",
        is_locked=bool(wire.locked),
        owner=marks.owner,
        intent_id=marks.intent_id,
        lease_ends_at=marks.lease_ends_at,
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


def parse_env(rows: Iterable[str | None]) -> dict[str, str]:
    """Return `K=V` rows as a mapping; a row without `=` has an empty value."""
    pairs = (row.partition("=") for row in rows if row)
    return {key: value for key, _, value in pairs}


def parse_gpu_offers(
    types: Iterable[WireGPUType | None], centers: Iterable[WireDataCenter | None]
) -> list[GPUOffer]:
    """Return each GPU type once per cloud that has it, without the placeholder row."""
    placed = [center for center in centers if center is not None]
    secure = _index_stock((center, center.secure) for center in placed)
    community = _index_stock((center, center.community) for center in placed)
    offers: list[GPUOffer] = []
    for row in types:
        if row is None or not row.id or row.id == UNKNOWN_GPU_TYPE:
            continue
        if row.secure_cloud:
            offers.append(_parse_offer(row, CloudType.SECURE, secure.get(row.id)))
        if row.community_cloud:
            offers.append(_parse_offer(row, CloudType.COMMUNITY, community.get(row.id)))
    return offers


def parse_data_center(wire: WireDataCenter) -> DataCenter:
    """Return a data center with its stock of GPU types."""
    return DataCenter(
        data_center_id=wire.id or "",
        name=wire.name or wire.id or "",
        region=wire.region or "",
        has_network_volumes=bool(wire.storage_support),
        gpu_stock={
            row.gpu_type_id: _parse_availability(row)
            for row in wire.gpu_availability or []
            if row is not None and row.gpu_type_id
        },
    )


def parse_cpu_type(wire: WireCPUFlavor) -> CPUType:
    """Return a kind of CPU; GraphQL prices single instances, not kinds."""
    return CPUType(
        cpu_type=wire.id or "",
        display_name=wire.display_name or wire.id or "",
        min_vcpu_count=int(parse_figure(wire.min_vcpu)),
        max_vcpu_count=int(parse_figure(wire.max_vcpu)),
        memory_gb_per_vcpu=parse_figure(wire.ram_multiplier),
    )


def parse_network_volume(wire: WireNetworkVolume) -> NetworkVolume:
    """Return a network volume.

    Raises:
        ProtocolError: It has no id, so that it could never be deleted.
    """
    if not wire.id:
        raise ProtocolError("RunPod answered with a network volume that has no id")
    return NetworkVolume(
        volume_id=wire.id,
        name=wire.name or "",
        size_gb=wire.size or 0,
        data_center_id=wire.data_center_id or "",
    )


def parse_template(wire: WireTemplate) -> Template:
    """Return a template.

    Raises:
        ProtocolError: It has no id.
    """
    if not wire.id:
        raise ProtocolError("RunPod answered with a template that has no id")
    return Template(
        template_id=wire.id,
        name=wire.name or "",
        image=wire.image_name or "",
        container_disk_gb=wire.container_disk_in_gb or 0,
        volume_gb=wire.volume_in_gb or 0,
        volume_mount_path=wire.volume_mount_path or "",
        ports=split_ports(wire.ports),
        env={
            row.key: row.value or ""
            for row in wire.env or []
            if row is not None and row.key
        },
        start_command=wire.docker_args or "",
        is_public=bool(wire.is_public),
        is_serverless=bool(wire.is_serverless),
    )


def parse_account(wire: WireAccount) -> Account:
    """Return the account's figures.

    Raises:
        ProtocolError: It has no id, or a figure makes no sense.
    """
    if not wire.id:
        raise ProtocolError("RunPod answered with an account that has no id")
    return Account(
        account_id=wire.id,
        balance_usd=parse_figure(wire.client_balance),
        spend_usd_per_hour=parse_figure(wire.current_spend_per_hr),
        spend_limit_usd_per_hour=parse_money(wire.spend_limit),
    )


def _index_stock(
    centers: Iterable[tuple[WireDataCenter, list[WireAvailability | None] | None]],
) -> dict[str, dict[str, Stock]]:
    """Return by GPU type its stock by data center."""
    found: dict[str, dict[str, Stock]] = {}
    for center, rows in centers:
        for row in rows or []:
            if center.id and row is not None and row.gpu_type_id:
                found.setdefault(row.gpu_type_id, {})[center.id] = _parse_availability(
                    row
                )
    return found


def _parse_offer(
    row: WireGPUType, cloud_type: CloudType, data_centers: dict[str, Stock] | None
) -> GPUOffer:
    is_secure = cloud_type is CloudType.SECURE
    now = (row.secure if is_secure else row.community) or WirePrice(stock_status="?")
    listed = row.secure_price if is_secure else row.community_price
    return GPUOffer(
        gpu_type=row.id or "",
        display_name=row.display_name or row.id or "",
        memory_gb=row.memory_in_gb or 0,
        cloud_type=cloud_type,
        # what is billed is the list price, which both wires tell
        usd_per_gpu_hour=parse_money(listed) or parse_money(now.uninterruptable_price),
        minimum_bid_usd_per_gpu_hour=parse_money(now.minimum_bid_price),
        stock=parse_stock(now.stock_status),
        max_gpu_count=(
            row.max_gpu_count_secure_cloud
            if is_secure
            else row.max_gpu_count_community_cloud
        ),
        data_centers=data_centers or {},
    )


def _parse_availability(row: WireAvailability) -> Stock:
    """Return the level; what is not available has none."""
    return parse_stock("" if row.available is False else row.stock_status)


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
            protocol=_PROTOCOLS[row.type],
        )
        for row in rows
        if row is not None
        and row.ip
        and row.private_port is not None
        and row.public_port is not None
        and row.type in _PROTOCOLS
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
