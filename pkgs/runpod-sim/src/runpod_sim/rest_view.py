"""The world's values as REST v2 shows them. It only reads."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_sim.catalog import CpuFlavor, DataCenter, GpuType
from runpod_sim.graphql_view import CARRIER_GRADE_IP, MAX_GPUS, PUBLIC_IP, rfc3339
from runpod_sim.model import LiveStatus, Pod, Runtime
from runpod_sim.pod_directory import SSH_PORT
from runpod_sim.runtime import live_status
from runpod_sim.service import Service
from runpod_sim.stock import stock_status

PROXY_HOST = "ssh.runpod.io"
# rule SIM-REST-2
ACTIONS = {
    LiveStatus.PROVISIONING: ("stop", "terminate"),
    LiveStatus.STARTING: ("stop", "terminate"),
    LiveStatus.RUNNING: ("stop", "restart", "terminate"),
    LiveStatus.EXITED: ("start", "terminate"),
    LiveStatus.TERMINATED: (),
}


def render_pod(service: Service, pod: Pod, now: datetime) -> dict[str, Any]:
    """Return a pod as REST v2 shows it."""
    spec = pod.spec
    status = live_status(pod, now)
    runtime, uptime_seconds = service.runtime_of(pod, now)
    if status is not LiveStatus.RUNNING:
        runtime = None
    machine = service.world.stock.get(pod.machine_id)
    shown: dict[str, Any] = {
        "id": pod.id,
        "name": spec.name,
        "status": status.value,
        "actions": list(ACTIONS[status]),
        "image": spec.image,
        "args": spec.docker_args,
        "disk": spec.container_disk_gb,
        "mounts": render_mounts(pod),
        "ports": list(spec.ports),
        "env": dict(spec.env),
        "registry": None,
        "cloud": pod.cloud_type,
        "dataCenterId": pod.data_center_id,
        "cudaVersion": machine.cuda_version,
        "ssh": render_ssh(pod, runtime),
        "template": None,
        # rule SIM-BILL-7
        "cost": pod.usd_per_hour if pod.is_running else Decimal(0),
        "locked": pod.locked,
        "runtime": render_runtime(pod, runtime, uptime_seconds),
        "createdAt": rfc3339(pod.created_at),
        "startedAt": rfc3339(pod.started_at) if pod.is_running else None,
        "globalNetworking": {"enabled": False},
    }
    if pod.gpu_type_id is not None:
        # A pod started without its GPUs still names them.
        count = pod.gpu_count or spec.gpu_count
        shown["gpu"] = {"id": pod.gpu_type_id, "count": count}
    else:
        shown["cpu"] = {
            "id": spec.cpu_flavor_id,
            "vcpuCount": pod.vcpu_count,
            "memory": pod.memory_gb,
        }
    return shown


def render_mounts(pod: Pod) -> dict[str, Any]:
    """Return the pod's storage."""
    spec = pod.spec
    if spec.network_volume_id:
        path = spec.volume_mount_path or "/workspace"
        return {"network": [{"volumeId": spec.network_volume_id, "path": path}]}
    if spec.volume_gb:
        return {"persistent": {"size": spec.volume_gb, "path": spec.volume_mount_path}}
    return {}


def render_ssh(pod: Pod, runtime: Runtime | None) -> dict[str, Any]:
    """Return both ways to reach the pod."""
    user = pod.host_id
    proxy = {
        "host": PROXY_HOST,
        "port": SSH_PORT,
        "username": user,
        "command": f"ssh {user}@{PROXY_HOST}",
    }
    ports = dict(runtime.public_ports or ()) if runtime else {}
    port = ports.get(SSH_PORT)
    if port is None or not is_public(pod):
        return {"proxy": proxy, "direct": None}
    direct = {
        "host": PUBLIC_IP,
        "port": port,
        "username": "root",
        "command": f"ssh root@{PUBLIC_IP} -p {port}",
    }
    return {"proxy": proxy, "direct": direct}


def is_public(pod: Pod) -> bool:
    """Say whether the pod's TCP ports are reachable from outside."""
    return pod.cloud_type == "SECURE" or pod.spec.support_public_ip


def render_runtime(
    pod: Pod, runtime: Runtime | None, uptime_seconds: int
) -> dict[str, Any] | None:
    """Return what the host reports, None where it reports nothing."""
    if runtime is None:
        return None
    ip = PUBLIC_IP if is_public(pod) else CARRIER_GRADE_IP
    rows = [
        {"private": private, "public": public, "type": "tcp", "ip": ip}
        for private, public in runtime.public_ports or ()
    ]
    if runtime.public_ports is not None:
        rows += [
            {"private": private, "public": public, "type": "http", "ip": None}
            for private, public in runtime.http_ports
        ]
    return {
        "uptime": uptime_seconds,
        "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(pod.gpu_count)],
        "cpu": {"util": 0},
        "memory": {"util": 1},
        "ports": rows,
    }


def level(free: int) -> str:
    """Return REST v2's word for a stock."""
    return (stock_status(free) or "None").upper()


def render_gpu_type(
    service: Service, gpu_type: GpuType, *, count: int, cloud: str | None
) -> dict[str, Any]:
    """Return a GPU type.

    Args:
        count: GPUs per pod for the availability; 0 to leave availability out.
        cloud: SECURE or COMMUNITY; None for SECURE.
    """
    secure = gpu_type.secure_usd_per_hour
    community = gpu_type.community_usd_per_hour
    shown: dict[str, Any] = {
        "id": gpu_type.id,
        "name": gpu_type.display_name,
        "pool": gpu_type.pool,
        "manufacturer": "UNKNOWN" if gpu_type.id == "unknown" else "NVIDIA",
        "memory": gpu_type.memory_gb,
        "secure": secure is not None,
        "community": community is not None,
        "price": {"secure": secure or 0, "community": community or 0},
        "maxCount": {
            "secure": MAX_GPUS if secure else 0,
            "community": MAX_GPUS if community else 0,
        },
    }
    if count:
        shown |= availability(service, gpu_type, count, cloud or "SECURE")
    return shown


def availability(
    service: Service, gpu_type: GpuType, count: int, cloud: str
) -> dict[str, Any]:
    """Return a GPU type's stock, overall and per data center."""
    stock = service.world.stock
    used = service.world.used_gpus()
    offers = stock.offers(gpu_type.id, cloud_types=(cloud,))
    free = {machine.id: stock.free_gpus(machine.id, used) for machine in offers}
    fitting = [machine for machine in offers if free[machine.id] >= count]
    centers = [
        {
            "id": center.id,
            "name": center.name,
            "availability": level(sum(free[m.id] for m in here)),
        }
        for center in service.world.catalog.data_centers
        if (here := [m for m in fitting if m.data_center_id == center.id])
    ]
    shown: dict[str, Any] = {
        "availability": level(sum(free[m.id] for m in fitting)),
        "cudaVersions": [
            {
                "version": version,
                "available": any(m.cuda_version == version for m in fitting),
            }
            for version in sorted({m.cuda_version for m in offers if m.cuda_version})
        ],
    }
    return shown | ({"dataCenters": centers} if centers else {})


def render_cpu_flavor(flavor: CpuFlavor, *, with_availability: bool) -> dict[str, Any]:
    """Return a family of CPU pods."""
    shown: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.display_name,
        "group": flavor.group_name,
        "vcpu": {"min": flavor.min_vcpu, "max": flavor.max_vcpu},
        "ramGbPerVcpu": flavor.ram_gb_per_vcpu,
        "price": {
            "securePerVcpu": flavor.usd_per_vcpu_hour,
            "serverlessPerVcpu": flavor.usd_per_vcpu_hour,
        },
    }
    return shown | ({"availability": "HIGH"} if with_availability else {})


def render_data_center(
    service: Service, center: DataCenter, include: set[str]
) -> dict[str, Any]:
    """Return a data center, with the stock that is asked for."""
    shown: dict[str, Any] = {
        "id": center.id,
        "name": center.name,
        "region": center.region,
        "networkVolumeTypes": ["STANDARD"],
        "compliance": [],
        "globalNetwork": True,
    }
    if "GPU_AVAILABILITY" in include:
        stock = service.world.stock
        used = service.world.used_gpus()
        rows = []
        for gpu_type in service.world.catalog.gpu_types:
            offers = stock.offers(
                gpu_type.id,
                cloud_types=("SECURE", "COMMUNITY"),
                data_center_ids=(center.id,),
            )
            if offers:
                free = sum(stock.free_gpus(m.id, used) for m in offers)
                rows.append(
                    {
                        "id": gpu_type.id,
                        "name": gpu_type.display_name,
                        "availability": level(free),
                    }
                )
        shown["gpuAvailability"] = rows
    if "CPU_AVAILABILITY" in include:
        shown["cpuAvailability"] = [
            {"id": f.id, "name": f.display_name, "availability": "HIGH"}
            for f in service.world.catalog.cpu_flavors
        ]
    return shown
