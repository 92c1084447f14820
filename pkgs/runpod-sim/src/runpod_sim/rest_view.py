"""The world's values as REST v2 shows them. It only reads."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_sim.graphql_view import CARRIER_GRADE_IP, PUBLIC_IP, rfc3339
from runpod_sim.model import (
    LiveStatus,
    Mishap,
    NetworkVolume,
    Pod,
    Runtime,
    Template,
)
from runpod_sim.pod_directory import SSH_PORT
from runpod_sim.runtime import has_public_ip, live_status
from runpod_sim.service import Service

PROXY_HOST = "ssh.runpod.io"
# rule SIM-REST-2
ACTIONS = {
    LiveStatus.PROVISIONING: ("stop", "terminate"),
    LiveStatus.STARTING: ("stop", "terminate"),
    LiveStatus.RUNNING: ("stop", "restart", "terminate"),
    LiveStatus.EXITED: ("start", "terminate"),
    LiveStatus.ERROR: ("start", "terminate"),
    LiveStatus.TERMINATED: (),
}


def render_pod(service: Service, pod: Pod, now: datetime) -> dict[str, Any]:
    """Return a pod as REST v2 shows it."""
    spec = pod.spec
    status = live_status(pod, now)
    runtime, uptime_seconds = service.runtime_of(pod, now, "rest")
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
        "template": spec.template_id,
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
    if port is None or not has_public_ip(pod):
        # rule SIM-HALF-5
        unplaced = pod.boot.mishap is Mishap.PROVISIONING_FOREVER
        return {"proxy": None if unplaced else proxy, "direct": None}
    direct = {
        "host": PUBLIC_IP,
        "port": port,
        "username": "root",
        "command": f"ssh root@{PUBLIC_IP} -p {port}",
    }
    return {"proxy": proxy, "direct": direct}


def render_runtime(
    pod: Pod, runtime: Runtime | None, uptime_seconds: int
) -> dict[str, Any] | None:
    """Return what the host reports, None where it reports nothing."""
    if runtime is None:
        return None
    ip = PUBLIC_IP if has_public_ip(pod) else CARRIER_GRADE_IP
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


def render_network_volume(volume: NetworkVolume) -> dict[str, Any]:
    """Return a network volume."""
    return {
        "id": volume.id,
        "name": volume.name,
        "size": volume.size_gb,
        "dataCenter": volume.data_center_id,
        "type": volume.tier,
    }


def render_template(template: Template, account_id: str) -> dict[str, Any]:
    """Return a template as that account sees it."""
    mounts: dict[str, Any] = {}
    if template.volume_gb:
        path = template.volume_mount_path
        mounts["persistent"] = {"size": template.volume_gb, "path": path}
    return {
        "id": template.id,
        "name": template.name,
        "image": template.image,
        "args": template.docker_args,
        "disk": template.container_disk_gb,
        "mounts": mounts,
        "ports": list(template.ports),
        "env": dict(template.env),
        # Null for templates one does not own.
        "registry": (
            template.registry_id if template.account_id == account_id else None
        ),
        "serverless": template.is_serverless,
        "public": template.is_public,
        "category": template.category,
        "startSsh": template.start_ssh,
        "startJupyter": template.start_jupyter,
        "allowedCudaVersions": list(template.cuda_versions),
    }
