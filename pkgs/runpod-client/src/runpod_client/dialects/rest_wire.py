"""The reading of REST v2's answers into the model; pure, no I/O.

What is written `a -> b` reads: wire -> model.

    status                  PodStatus    DesiredStatus
    PROVISIONING, STARTING  STARTING     RUNNING
    RUNNING                 RUNNING      RUNNING
    ERROR                   FAILED       RUNNING
    EXITED                  STOPPED      STOPPED
    TERMINATED              TERMINATED   TERMINATED
    any other word          UNKNOWN      UNKNOWN

`status` is what a pod really is; what it was asked to be is derived. v2 does not tell
spot pods from others, so the bid among a pod's marks does. It gives no reasons, no
machine, no memory of GPU pods, and cost 0 for what does not run.

    cluster present                    -> the pod is not shown: it is its cluster's
    runtime.ports tcp, 100.64.0.0/10   -> is_public False
    runtime.ports http, no address     -> kept, its address empty
    price 0                            -> None (not offered), except what a pod is billed
"""

from collections.abc import Iterable, Mapping

import msgspec

from runpod_client.dialects.rest_records import (
    RestCPU,
    RestCPUPrice,
    RestCPUType,
    RestDataCenter,
    RestGPU,
    RestGPUType,
    RestLogEvent,
    RestMounts,
    RestNetworkVolume,
    RestPerCloud,
    RestPod,
    RestRange,
    RestRuntime,
    RestTemplate,
)
from runpod_client.errors import ProtocolError
from runpod_client.marks import parse_marks
from runpod_client.model import (
    CloudType,
    CPUType,
    DataCenter,
    DesiredStatus,
    GPUOffer,
    GPUUtilization,
    LogLine,
    NetworkVolume,
    Pod,
    PodStatus,
    PortMapping,
    Protocol,
    Template,
)
from runpod_client.wire import (
    UNKNOWN_GPU_TYPE,
    is_carrier_grade,
    parse_cloud_type,
    parse_figure,
    parse_money,
    parse_stock,
    parse_time,
)

_STATUS: Mapping[str, tuple[PodStatus, DesiredStatus]] = {
    "PROVISIONING": (PodStatus.STARTING, DesiredStatus.RUNNING),
    "STARTING": (PodStatus.STARTING, DesiredStatus.RUNNING),
    "RUNNING": (PodStatus.RUNNING, DesiredStatus.RUNNING),
    "ERROR": (PodStatus.FAILED, DesiredStatus.RUNNING),
    "EXITED": (PodStatus.STOPPED, DesiredStatus.STOPPED),
    "TERMINATED": (PodStatus.TERMINATED, DesiredStatus.TERMINATED),
}
_PROTOCOLS: Mapping[str | None, Protocol] = {"tcp": Protocol.TCP, "http": Protocol.HTTP}


def parse_pods(rows: Iterable[RestPod]) -> list[Pod]:
    """Return the pods of a listing, without those of clusters."""
    return [parse_pod(row) for row in rows if row.cluster is None]


def parse_pod(wire: RestPod) -> Pod:
    """Return the pod an answer describes.

    Raises:
        ProtocolError: A figure or a time in it makes no sense.
    """
    status, desired = _STATUS.get(
        wire.status, (PodStatus.UNKNOWN, DesiredStatus.UNKNOWN)
    )
    runtime = wire.runtime if status is PodStatus.RUNNING else None
    gpu = wire.gpu or RestGPU()
    cpu = wire.cpu or RestCPU()
    mounts = wire.mounts or RestMounts()
    env = wire.env or {}
    marks = parse_marks(wire.name or "", env)
    created_at = parse_time(wire.created_at)
    # a stopped pod has no present start, and its creation is none either
    present_start = created_at if status.is_billed else None
    return Pod(
        pod_id=wire.id,
        name=marks.name,
        status=status,
        status_reason=_render_reason(wire.status, status),
        desired=desired,
        wire_status=wire.status,
        gpu_type=gpu.id or "",
        gpu_count=(gpu.count or 0) if wire.gpu else 0,
        image=wire.image or "",
        price_usd_per_hour=parse_figure(wire.cost),
        cloud_type=parse_cloud_type(wire.cloud),
        is_spot=marks.bid_usd_per_gpu_hour is not None,
        data_center_id=wire.data_center_id or "",
        created_at=created_at,
        started_at=parse_time(wire.started_at) or present_start,
        uptime_seconds=_parse_uptime(runtime),
        volume_gb=mounts.persistent.size if mounts.persistent else 0,
        container_disk_gb=int(parse_figure(wire.disk)),
        memory_gb=parse_figure(cpu.memory),
        vcpu_count=parse_figure(cpu.vcpu_count),
        ports=_parse_ports(runtime),
        gpus=_parse_gpus(runtime),
        env=env,
        asked_ports=None if wire.ports is None else tuple(wire.ports),
        network_volume_id=_find_network_volume(mounts),
        cuda_version=wire.cuda_version or "",
        proxy_user=(wire.ssh and wire.ssh.proxy and wire.ssh.proxy.username) or "",
        is_locked=bool(wire.locked),
        owner=marks.owner,
        intent_id=marks.intent_id,
        lease_ends_at=marks.lease_ends_at,
    )


def parse_gpu_offers(
    rows_by_cloud: Mapping[CloudType, Iterable[RestGPUType]],
) -> list[GPUOffer]:
    """Return each GPU type once per cloud that has it; v2 knows no bids."""
    found = [
        (place, _parse_offer(row, cloud))
        for cloud, rows in rows_by_cloud.items()
        for place, row in enumerate(rows)
        if row.id
        and row.id != UNKNOWN_GPU_TYPE
        and (row.secure if cloud is CloudType.SECURE else row.community)
    ]
    return [offer for _, offer in sorted(found, key=lambda pair: pair[0])]


def parse_cpu_type(wire: RestCPUType) -> CPUType:
    """Return a kind of CPU."""
    vcpu = wire.vcpu or RestRange()
    price = wire.price or RestCPUPrice()
    return CPUType(
        cpu_type=wire.id or "",
        display_name=wire.name or wire.id or "",
        min_vcpu_count=vcpu.min or 0,
        max_vcpu_count=vcpu.max or 0,
        memory_gb_per_vcpu=parse_figure(wire.ram_gb_per_vcpu),
        usd_per_vcpu_hour=parse_money(price.secure_per_vcpu),
        stock=parse_stock(wire.availability or "?"),
    )


def parse_data_center(wire: RestDataCenter) -> DataCenter:
    """Return a data center with its stock of GPU types."""
    return DataCenter(
        data_center_id=wire.id or "",
        name=wire.name or wire.id or "",
        region=wire.region or "",
        has_network_volumes=bool(wire.network_volume_types),
        gpu_stock={
            row.id: parse_stock(row.availability or "?")
            for row in wire.gpu_availability or []
            if row is not None and row.id
        },
    )


def parse_network_volume(wire: RestNetworkVolume) -> NetworkVolume:
    """Return a network volume."""
    return NetworkVolume(
        volume_id=wire.id,
        name=wire.name or "",
        size_gb=wire.size or 0,
        data_center_id=wire.data_center or "",
    )


def parse_template(wire: RestTemplate) -> Template:
    """Return a template."""
    disk = wire.mounts.persistent if wire.mounts else None
    return Template(
        template_id=wire.id,
        name=wire.name or "",
        image=wire.image or "",
        container_disk_gb=wire.disk or 0,
        volume_gb=disk.size if disk else 0,
        volume_mount_path=disk.path if disk else "",
        ports=tuple(wire.ports or ()),
        env=wire.env or {},
        start_command=wire.args or "",
        is_public=bool(wire.public),
        is_serverless=bool(wire.serverless),
    )


def parse_log_line(data: str) -> LogLine:
    """Return the line of a log event's data.

    Raises:
        ProtocolError: It is no such line, or its time is none.
    """
    try:
        event = msgspec.json.decode(data.encode(), type=RestLogEvent)
    except msgspec.DecodeError as error:
        raise ProtocolError("RunPod's log holds something that is no line") from error
    return LogLine(
        text=event.line,
        is_system=event.source == "system",
        written_at=parse_time(event.ts),
    )


def _parse_offer(row: RestGPUType, cloud: CloudType) -> GPUOffer:
    is_secure = cloud is CloudType.SECURE
    price = row.price or RestPerCloud()
    ceiling = row.max_count or RestPerCloud()
    most = ceiling.secure if is_secure else ceiling.community
    places = [place for place in row.data_centers or [] if place and place.id]
    return GPUOffer(
        gpu_type=row.id or "",
        display_name=row.name or row.id or "",
        memory_gb=row.memory or 0,
        cloud_type=cloud,
        usd_per_gpu_hour=parse_money(price.secure if is_secure else price.community),
        stock=parse_stock(row.availability or "?"),
        max_gpu_count=None if most is None else int(parse_figure(most)),
        data_centers={
            place.id or "": parse_stock(place.availability or "?") for place in places
        },
        cuda_versions=tuple(
            cuda.version for cuda in row.cuda_versions or [] if cuda and cuda.version
        ),
    )


def _render_reason(word: str, status: PodStatus) -> str:
    """Return what there is to say of a state that v2 gives no reasons for."""
    if status is PodStatus.UNKNOWN:
        return f"RunPod calls it {word!r}"
    return "" if status is PodStatus.RUNNING else word


def _parse_uptime(runtime: RestRuntime | None) -> int | None:
    if runtime is None or runtime.uptime is None:
        return None
    return max(runtime.uptime, 0)


def _parse_ports(runtime: RestRuntime | None) -> tuple[PortMapping, ...]:
    rows = (runtime.ports if runtime else None) or []
    return tuple(
        PortMapping(
            private_port=row.private,
            public_port=row.public,
            ip=row.ip or "",
            is_public=row.type == "tcp" and not is_carrier_grade(row.ip or ""),
            protocol=_PROTOCOLS[row.type],
        )
        for row in rows
        if row is not None
        and row.private is not None
        and row.public is not None
        and row.type in _PROTOCOLS
        # HTTP goes through RunPod's proxy, whose address follows from the pod's id
        and (row.ip or row.type == "http")
    )


def _parse_gpus(runtime: RestRuntime | None) -> tuple[GPUUtilization, ...]:
    rows = (runtime.gpus if runtime else None) or []
    return tuple(
        GPUUtilization(
            gpu_id=str(index), gpu_percent=row.util, memory_percent=row.memory_util
        )
        for index, row in enumerate(rows)
        if row is not None
    )


def _find_network_volume(mounts: RestMounts) -> str:
    found = (mount.volume_id for mount in mounts.network or [] if mount is not None)
    return next((volume_id for volume_id in found if volume_id), "")
