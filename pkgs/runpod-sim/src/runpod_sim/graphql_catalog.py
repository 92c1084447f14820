"""What is on offer as GraphQL objects: GPU types, CPU flavors, data centers, prices.

It only reads. Money stays Decimal until it is written out.
"""

from decimal import Decimal
from typing import Any

from runpod_sim.catalog import CpuFlavor, DataCenter, GpuType
from runpod_sim.graphql_input import parse_instance, parse_minimum_cuda
from runpod_sim.model import DeclinedError, Machine
from runpod_sim.service import Service
from runpod_sim.stock import stock_status

CLOUDS = ("SECURE", "COMMUNITY")
MAX_GPUS = 8


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
        country_codes=(wanted["countryCode"],) if wanted.get("countryCode") else (),
        cuda_versions=wanted.get("allowedCudaVersions") or (),
        minimum_cuda_version=parse_minimum_cuda(wanted),
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
        "storageSupport": bool(center.volume_types),
        "globalNetwork": center.has_global_network,
        "s3apiEnabled": False,
        "compliance": list(center.compliance),
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
                "allowedCudaVersions": wanted.get("allowedCudaVersions"),
                "minCudaVersion": wanted.get("minCudaVersion"),
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


def render_cpu_flavor(service: Service, flavor: CpuFlavor) -> dict[str, Any]:
    """Return a family of CPU pods."""

    def specifics(_info: Any, **given: Any) -> dict[str, Any]:
        wanted = given.get("input") or {}
        instance = wanted.get("instanceId") or f"{flavor.id}-2-4"
        center = wanted.get("dataCenterId")
        hosts = service.world.stock.cpu_hosts((center,) if center else ())
        try:
            vcpu = parse_instance(instance)[1]
        except DeclinedError:
            vcpu = flavor.min_vcpu
        return {
            "stockStatus": "High" if hosts and vcpu <= flavor.max_vcpu else None,
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
