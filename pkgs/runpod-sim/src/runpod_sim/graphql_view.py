"""The world's values as GraphQL objects: what each field of a pod or account shows.

It only reads. Money stays Decimal until it is written out.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_sim import billing
from runpod_sim.graphql_catalog import (
    render_cpu_flavor,
    render_data_center,
    render_gpu_type,
)
from runpod_sim.model import (
    Account,
    NetworkVolume,
    Pod,
    Runtime,
    Template,
)
from runpod_sim.runtime import has_public_ip
from runpod_sim.service import Service

CARRIER_GRADE_IP = "100.65.0.1"
PUBLIC_IP = "127.0.0.1"


def rfc3339(instant: datetime | None) -> str | None:
    """Return an instant as RunPod writes it, with milliseconds and Z."""
    if instant is None:
        return None
    return (
        instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"
    )


def render_pod(service: Service, pod: Pod, now: datetime) -> dict[str, Any]:
    """Return a pod as GraphQL shows it."""
    spec = pod.spec
    world = service.world
    volume = world.volumes.find(pod.account_id, spec.network_volume_id)
    flavor = world.catalog.find_cpu_flavor(spec.cpu_flavor_id or "")
    return {
        "id": pod.id,
        "name": spec.name,
        "consumerUserId": pod.account_id,
        "containerDiskInGb": spec.container_disk_gb,
        "costMultiplier": 1,
        # rule SIM-BILL-6
        "costPerHr": pod.usd_per_hour,
        "adjustedCostPerHr": pod.usd_per_hour,
        "lowestBidPriceToResume": lambda _info: _bid_to_resume(service, pod),
        "createdAt": rfc3339(pod.created_at),
        "lastStartedAt": rfc3339(pod.started_at),
        "desiredStatus": pod.desired_status.value,
        "lastStatusChange": pod.last_status_change,
        "dockerArgs": spec.docker_args,
        "dockerId": None,
        "env": [f"{name}={value}" for name, value in spec.env],
        "gpuCount": pod.gpu_count,
        "gpuPowerLimitPercent": 100,
        "gpus": lambda _info: [{"id": gpu, "podId": pod.id} for gpu in gpu_ids(pod)],
        "imageName": spec.image,
        "locked": pod.locked,
        "machineId": pod.machine_id,
        "machineType": None,
        "memoryInGb": pod.memory_gb,
        "podType": "INTERRUPTABLE" if pod.is_spot else "RESERVED",
        "port": None,
        "ports": ",".join(spec.ports) or None,
        "templateId": spec.template_id,
        # rule SIM-POD-4
        "uptimeSeconds": 0,
        "vcpuCount": pod.vcpu_count,
        "version": 0,
        "volumeEncrypted": False,
        "volumeInGb": spec.volume_gb,
        "volumeMountPath": spec.volume_mount_path,
        "cpuFlavorId": spec.cpu_flavor_id,
        "cpuFlavor": render_cpu_flavor(service, flavor) if flavor else None,
        "networkVolumeId": spec.network_volume_id,
        "networkVolume": render_network_volume(service, volume) if volume else None,
        "runtime": lambda _info: render_runtime(service, pod, now),
        "machine": lambda _info: render_machine(service, pod),
    }


def _bid_to_resume(service: Service, pod: Pod) -> Decimal | None:
    gpu_type = service.world.catalog.find_gpu_type(pod.gpu_type_id or "")
    if gpu_type is None or not pod.is_spot or pod.is_running:
        return None
    return gpu_type.minimum_bid_usd_per_hour(pod.cloud_type)


def gpu_ids(pod: Pod) -> list[str]:
    """Return the UUIDs of a pod's GPUs."""
    found = []
    for index in range(pod.gpu_count):
        seed = f"{pod.machine_id}/{pod.id}/{index}"
        text = hashlib.sha256(seed.encode()).hexdigest()
        parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:32])
        found.append("GPU-" + "-".join(parts))
    return found


def render_runtime(service: Service, pod: Pod, now: datetime) -> dict[str, Any] | None:
    """Return the pod's runtime as GraphQL shows it, null where there is none."""
    runtime, uptime_seconds = service.runtime_of(pod, now, "graphql")
    if runtime is None:
        return None
    return {
        "uptimeInSeconds": uptime_seconds,
        "container": {"cpuPercent": 0, "memoryPercent": 1},
        "gpus": [
            {"id": gpu, "gpuUtilPercent": 0, "memoryUtilPercent": 0}
            for gpu in gpu_ids(pod)
        ],
        "ports": render_ports(pod, runtime),
    }


def render_ports(pod: Pod, runtime: Runtime) -> list[dict[str, Any]] | None:
    """Return the mapped ports; null until the host has mapped them."""
    if runtime.public_ports is None:
        return None
    is_public = has_public_ip(pod)
    tcp = [
        {
            "ip": PUBLIC_IP if is_public else CARRIER_GRADE_IP,
            "isIpPublic": is_public,
            "privatePort": private,
            "publicPort": public,
            "type": "tcp",
        }
        for private, public in runtime.public_ports
    ]
    http = [
        {
            "ip": CARRIER_GRADE_IP,
            "isIpPublic": False,
            "privatePort": private,
            "publicPort": public,
            "type": "http",
        }
        for private, public in runtime.http_ports
    ]
    return tcp + http


def render_machine(service: Service, pod: Pod) -> dict[str, Any]:
    """Return the pod's host."""
    machine = service.world.stock.get(pod.machine_id)
    gpu_type = service.world.catalog.find_gpu_type(machine.gpu_type_id or "")
    price = gpu_type.usd_per_hour(machine.cloud_type) if gpu_type else None
    return {
        "id": machine.id,
        "costPerHr": pod.usd_per_hour,
        "currentPricePerGpu": price,
        "gpuAvailable": service.world.stock.free_gpus(
            machine.id, service.world.used_gpus()
        ),
        "gpuDisplayName": gpu_type.display_name if gpu_type else None,
        "gpuTypeId": machine.gpu_type_id,
        "gpuType": render_gpu_type(service, gpu_type) if gpu_type else None,
        "podHostId": pod.host_id,
        "secureCloud": machine.cloud_type == "SECURE",
        "supportPublicIp": has_public_ip(pod),
        "minPodGpuCount": 1,
        "dataCenterId": machine.data_center_id,
        "cpuCount": pod.vcpu_count,
        "vcpuTotal": pod.vcpu_count,
        "memoryTotal": pod.memory_gb,
    }


def render_network_volume(service: Service, volume: NetworkVolume) -> dict[str, Any]:
    """Return a network volume."""
    center = service.world.catalog.find_data_center(volume.data_center_id)
    return {
        "id": volume.id,
        "name": volume.name,
        "size": volume.size_gb,
        "dataCenterId": volume.data_center_id,
        "dataCenter": render_data_center(service, center) if center else None,
    }


def render_template(template: Template) -> dict[str, Any]:
    """Return a template."""
    return {
        "id": template.id,
        "name": template.name,
        "imageName": template.image,
        "dockerArgs": template.docker_args,
        "containerDiskInGb": template.container_disk_gb,
        "containerRegistryAuthId": template.registry_id,
        "volumeInGb": template.volume_gb,
        "volumeMountPath": template.volume_mount_path,
        "ports": ",".join(template.ports) or None,
        "env": [{"key": key, "value": value} for key, value in template.env],
        "isPublic": template.is_public,
        "isRunpod": template.account_id is None and template.source == "official",
        "isServerless": template.is_serverless,
        "category": template.category,
        "startSsh": template.start_ssh,
        "startJupyter": template.start_jupyter,
        "readme": template.readme,
        "userId": template.account_id,
        "advancedStart": False,
        "earned": 0,
        "runtimeInMin": 0,
    }


def render_user(service: Service, account: Account, now: datetime) -> dict[str, Any]:
    """Return the account behind the key."""
    world = service.world
    account = world.get_account(account.id)
    pods = world.pods_of(account.id)
    storage = sum(billing.storage_usd_per_hour(pod) for pod in pods)
    volumes = world.volumes.of(account.id)
    templates = world.templates.of(account.id)
    network = sum(billing.network_volume_usd_per_hour(v) for v in volumes)
    compute = sum(billing.compute_usd_per_hour(pod) for pod in pods)
    balance = billing.as_decimal(account.balance_exact_usd)

    def page(_info: Any, **given: Any) -> dict[str, Any]:
        wanted = (given.get("input") or {}).get("filter") or {}
        shown = [
            pod
            for pod in pods
            if wanted.get("name") in {None, pod.spec.name}
            and (not wanted.get("status") or pod.desired_status in wanted["status"])
        ]
        return {
            "edges": [render_pod(service, pod, now) for pod in shown],
            "pageInfo": {"endCursor": None, "hasNextPage": False},
        }

    return {
        "id": account.id,
        "email": account.email,
        "pubKey": account.pub_key,
        "pods": [render_pod(service, pod, now) for pod in pods],
        "podsConnection": page,
        "clientBalance": balance,
        "currentSpendPerHr": billing.as_decimal(world.spend_usd_per_hour(account.id)),
        "spendLimit": account.spend_limit_usd_per_hour,
        "clientLifetimeSpend": billing.as_decimal(account.charged_usd),
        "minBalance": 0,
        "underBalance": balance <= 0,
        "spendDetails": {
            "localStoragePerHour": float(storage),
            "networkStoragePerHour": float(network),
            "gpuComputePerHour": float(compute),
        },
        "notifyPodsStale": True,
        "notifyPodsGeneral": True,
        "notifyLowBalance": True,
        "notifyOther": False,
        "isTeam": False,
        "networkVolumes": [render_network_volume(service, v) for v in volumes],
        "podTemplates": [render_template(template) for template in templates],
    }
