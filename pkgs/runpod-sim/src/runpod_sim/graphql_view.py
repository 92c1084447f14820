"""The world's values as GraphQL objects: what each field of a pod or GPU type shows.

It only reads. Money stays Decimal until it is written out.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

from runpod_sim import billing
from runpod_sim.catalog import CpuFlavor, DataCenter, GpuType
from runpod_sim.model import (
    Account,
    DeclinedError,
    Machine,
    NetworkVolume,
    Pod,
    Refusal,
    Runtime,
)
from runpod_sim.service import Service
from runpod_sim.stock import stock_status

CLOUDS = ("SECURE", "COMMUNITY")
CARRIER_GRADE_IP = "100.65.0.1"
PUBLIC_IP = "127.0.0.1"
MAX_GPUS = 8


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
    volume = next(
        (
            v
            for v in world.network_volumes_of(pod.account_id)
            if v.id == spec.network_volume_id
        ),
        None,
    )
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
        "gpus": [{"id": gpu, "podId": pod.id} for gpu in gpu_ids(pod)],
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
        "cpuFlavor": render_cpu_flavor(flavor) if flavor else None,
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
    runtime, uptime_seconds = service.runtime_of(pod, now)
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
    # rule SIM-PORT-3
    is_public = pod.cloud_type == "SECURE" or pod.spec.support_public_ip
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
        "supportPublicIp": machine.cloud_type == "SECURE" or pod.spec.support_public_ip,
        "minPodGpuCount": 1,
        "dataCenterId": machine.data_center_id,
        "cpuCount": pod.vcpu_count,
        "vcpuTotal": pod.vcpu_count,
        "memoryTotal": pod.memory_gb,
    }


def render_gpu_type(service: Service, gpu_type: GpuType) -> dict[str, Any]:
    """Return a GPU type with its list prices."""
    secure = gpu_type.secure_usd_per_hour
    community = gpu_type.community_usd_per_hour
    return {
        "id": gpu_type.id,
        "displayName": gpu_type.display_name,
        "manufacturer": "unknown" if gpu_type.id == "unknown" else "Nvidia",
        "memoryInGb": gpu_type.memory_gb,
        "cudaCores": 0,
        "secureCloud": secure is not None,
        "communityCloud": community is not None,
        "securePrice": secure,
        "communityPrice": community,
        "secureSpotPrice": gpu_type.minimum_bid_usd_per_hour("SECURE"),
        "communitySpotPrice": gpu_type.minimum_bid_usd_per_hour("COMMUNITY"),
        "maxGpuCount": MAX_GPUS,
        "maxGpuCountSecureCloud": MAX_GPUS if secure else 0,
        "maxGpuCountCommunityCloud": MAX_GPUS if community else 0,
        "lowestPrice": lambda _info, **given: lowest_price(
            service, gpu_type, given.get("input")
        ),
    }


def lowest_price(
    service: Service, gpu_type: GpuType, given: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the cheapest offer of a GPU type that meets the input."""
    wanted = given or {"gpuCount": 1}
    count = wanted.get("gpuCount") or 1
    secure = wanted.get("secureCloud")
    clouds = CLOUDS if secure is None else (("SECURE",) if secure else ("COMMUNITY",))
    stock = service.world.stock
    used = service.world.used_gpus()
    center = wanted.get("dataCenterId")
    offers = stock.offers(
        gpu_type.id,
        cloud_types=clouds,
        data_center_ids=(center,) if center else (),
        country_code=wanted.get("countryCode"),
        cuda_versions=wanted.get("allowedCudaVersions") or (),
    )
    free = {machine.id: stock.free_gpus(machine.id, used) for machine in offers}
    fitting = [machine for machine in offers if free[machine.id] >= count]
    most = max((free[machine.id] for machine in fitting), default=0)
    return {
        "gpuName": gpu_type.display_name,
        "gpuTypeId": gpu_type.id,
        "uninterruptablePrice": _cheapest(gpu_type, offers, spot=False),
        "minimumBidPrice": _cheapest(gpu_type, offers, spot=True),
        "minMemory": gpu_type.host_memory_gb_per_gpu * count if offers else None,
        "minVcpu": gpu_type.vcpu_per_gpu * count if offers else None,
        "stockStatus": stock_status(sum(free[m.id] for m in fitting)),
        "totalCount": sum(machine.gpu_count for machine in offers),
        "rentedCount": sum(m.gpu_count - free[m.id] for m in offers),
        "countryCode": wanted.get("countryCode"),
        "supportPublicIp": wanted.get("supportPublicIp"),
        "maxGpuCount": MAX_GPUS if offers else 0,
        "maxUnreservedGpuCount": most,
        "availableGpuCounts": [n for n in (1, 2, 4, 8) if n <= most],
    }


def _cheapest(
    gpu_type: GpuType, offers: list[Machine], *, spot: bool
) -> Decimal | None:
    prices = []
    for cloud in {machine.cloud_type for machine in offers}:
        price = (
            gpu_type.minimum_bid_usd_per_hour(cloud)
            if spot
            else gpu_type.usd_per_hour(cloud)
        )
        if price is not None:
            prices.append(price)
    return min(prices, default=None)


def render_data_center(service: Service, center: DataCenter) -> dict[str, Any]:
    """Return a data center with the GPU types it has."""
    return {
        "id": center.id,
        "name": center.name,
        "location": center.location,
        "region": center.region,
        "listed": True,
        "storageSupport": True,
        "globalNetwork": True,
        "s3apiEnabled": False,
        "compliance": [],
        "gpuAvailability": lambda _info, **given: gpu_availability(
            service, center, given.get("input") or {}
        ),
    }


def gpu_availability(
    service: Service, center: DataCenter, wanted: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return each GPU type with its stock in one data center."""
    found = []
    for gpu_type in service.world.catalog.gpu_types:
        offer = lowest_price(
            service,
            gpu_type,
            {
                "gpuCount": wanted.get("gpuCount") or 1,
                "secureCloud": wanted.get("secureCloud"),
                "dataCenterId": center.id,
            },
        )
        if offer["totalCount"]:
            found.append(
                {
                    "id": gpu_type.id,
                    "gpuTypeId": gpu_type.id,
                    "gpuType": render_gpu_type(service, gpu_type),
                    "displayName": gpu_type.display_name,
                    "gpuTypeDisplayName": gpu_type.display_name,
                    "available": offer["stockStatus"] is not None,
                    "stockStatus": offer["stockStatus"],
                }
            )
    return found


def render_cpu_flavor(flavor: CpuFlavor) -> dict[str, Any]:
    """Return a family of CPU pods."""

    def specifics(_info: Any, **given: Any) -> dict[str, Any]:
        instance = (given.get("input") or {}).get("instanceId") or f"{flavor.id}-2-4"
        try:
            vcpu = parse_instance(instance)[1]
        except DeclinedError:
            vcpu = flavor.min_vcpu
        return {
            "stockStatus": "High",
            "securePrice": flavor.usd_per_vcpu_hour * vcpu,
            "slsPrice": flavor.usd_per_vcpu_hour * vcpu,
        }

    return {
        "id": flavor.id,
        "groupId": flavor.group_id,
        "groupName": flavor.group_name,
        "displayName": flavor.display_name,
        "minVcpu": flavor.min_vcpu,
        "maxVcpu": flavor.max_vcpu,
        "vcpuBurstable": False,
        "ramMultiplier": flavor.ram_gb_per_vcpu,
        "diskLimitPerVcpu": 10,
        "specifics": specifics,
    }


def parse_instance(instance_id: str) -> tuple[str, int, int]:
    """Return flavor, vCPUs and GB of a CPU instance id such as cpu3c-2-4.

    Raises:
        DeclinedError: It is not of that form.
    """
    flavor, _, rest = instance_id.partition("-")
    vcpu, _, memory = rest.partition("-")
    if not (flavor and vcpu.isdigit() and memory.isdigit()):
        message = f"{instance_id} is no CPU instance"
        raise DeclinedError(Refusal(message, "BAD_USER_INPUT", 400))
    return flavor, int(vcpu), int(memory)


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


def render_user(service: Service, account: Account, now: datetime) -> dict[str, Any]:
    """Return the account behind the key."""
    world = service.world
    account = world.get_account(account.id)
    pods = world.pods_of(account.id)
    storage = sum(billing.storage_usd_per_hour(pod) for pod in pods)
    volumes = world.network_volumes_of(account.id)
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
    }
