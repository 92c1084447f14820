"""REST v2's catalog: GPU types, CPU flavors, data centers and public templates.

It only reads: what is on offer where, at what price, and how much of it is free.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runpod_sim.catalog import CpuFlavor, DataCenter, GpuType
from runpod_sim.graphql_catalog import MAX_GPUS
from runpod_sim.model import Machine
from runpod_sim.rest_body import Problem
from runpod_sim.rest_call import Call, Row, answer_json
from runpod_sim.rest_view import render_template
from runpod_sim.service import Service
from runpod_sim.stock import stock_status

PRODUCTS = ("POD", "CLUSTER", "SERVERLESS")
CPU_PRODUCTS = ("POD", "SERVERLESS")
SOURCES = ("official", "verified", "community")
MOST_TEMPLATES = 100
# Valid with include=AVAILABILITY alone.
STOCK_FILTERS = (
    "product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion",
    "vcpuCount",
)  # fmt: skip


@dataclass(frozen=True)
class StockQuery:
    """Whose availability is asked for.

    Args:
        count: GPUs per pod.
    """

    count: int = 1
    cloud: str = "SECURE"
    country_codes: tuple[str, ...] = ()
    cuda_versions: tuple[str, ...] = ()
    minimum_cuda_version: str | None = None


def parse_stock_query(call: Call, products: tuple[str, ...]) -> StockQuery | None:
    """Return whose availability a request asks for, None when for none.

    Raises:
        Problem: A filter without what it needs (400), or of the wrong form (422).
    """
    # rule SIM-CAT-5
    included = call.chosen("include", ("AVAILABILITY",))
    if not included:
        given = [name for name in STOCK_FILTERS if call.text(name)]
        if given:
            raise Problem(400, f"{given[0]} is valid only with include=AVAILABILITY")
        return None
    if not call.chosen("product", products):
        raise Problem(400, "product is required with include=AVAILABILITY")
    versions = call.matching("cudaVersions", r"\d+\.\d+")
    floor = call.matching("minCudaVersion", r"\d+(\.\d+)?")
    if versions and floor:
        raise Problem(400, "cudaVersions and minCudaVersion exclude each other")
    return StockQuery(
        count=call.number("count", 1),
        cloud=next(iter(call.chosen("cloud", ("SECURE", "COMMUNITY"))), "SECURE"),
        country_codes=call.matching("countryCodes", "[A-Z]{2}"),
        cuda_versions=versions,
        minimum_cuda_version=next(iter(floor), None),
    )


def level(free: int) -> str:
    """Return REST v2's word for a stock."""
    return (stock_status(free) or "None").upper()


class RestCatalog:
    """The handlers below /v2/catalog."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def rows(self) -> tuple[Row, ...]:
        """Return the routes."""
        root, verb = "/v2/catalog", "catalog"
        sites = f"{root}/datacenters"
        return (
            (f"{root}/gpus", "GET", "listGpuTypes", verb, self.list_gpus),
            (f"{root}/gpus/{{id:path}}", "GET", "getGpuType", verb, self.get_gpu),
            (f"{root}/cpus", "GET", "listCpuTypes", verb, self.list_cpus),
            (f"{root}/cpus/{{id}}", "GET", "getCpuType", verb, self.get_cpu),
            (sites, "GET", "listDataCenters", verb, self.list_data_centers),
            (f"{sites}/{{id}}", "GET", "getDataCenter", verb, self.get_data_center),
            (f"{root}/templates", "GET", "listPublicTemplates", verb, self.templates),
        )

    # GPUs -----------------------------------------------------------------------

    async def list_gpus(self, call: Call) -> Response:
        """List the GPU types."""
        query = parse_stock_query(call, PRODUCTS)
        rows = [
            self._gpu(gpu_type, query)
            for gpu_type in self._service.world.catalog.gpu_types
        ]
        if query is not None and query.country_codes:
            rows = [row for row in rows if "dataCenters" in row]
        return answer_json({"gpus": rows})

    async def get_gpu(self, call: Call) -> Response:
        """Show a GPU type."""
        gpu_type = self._service.world.catalog.find_gpu_type(call.subject_id)
        if gpu_type is None:
            raise Problem(404, "GPU type not found")
        return answer_json(self._gpu(gpu_type, parse_stock_query(call, PRODUCTS)))

    def _gpu(self, gpu_type: GpuType, query: StockQuery | None) -> dict[str, Any]:
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
        return shown if query is None else shown | self._stock(gpu_type, query)

    def _stock(self, gpu_type: GpuType, query: StockQuery) -> dict[str, Any]:
        offers = self._service.world.stock.offers(
            gpu_type.id,
            cloud_types=(query.cloud,),
            country_codes=query.country_codes,
            cuda_versions=query.cuda_versions,
            minimum_cuda_version=query.minimum_cuda_version,
        )
        free = self._free(offers)
        fitting = [machine for machine in offers if free[machine.id] >= query.count]
        shown: dict[str, Any] = {
            "availability": level(sum(free[machine.id] for machine in fitting))
        }
        versions = sorted({m.cuda_version for m in offers if m.cuda_version})
        if versions:
            shown["cudaVersions"] = [
                {
                    "version": version,
                    "available": any(m.cuda_version == version for m in fitting),
                }
                for version in versions
            ]
        sites = self._by_site(
            lambda center: [m for m in fitting if m.data_center_id == center.id], free
        )
        return shown | ({"dataCenters": sites} if sites else {})

    def _free(self, machines: list[Machine]) -> dict[str, int]:
        world = self._service.world
        used = world.used_gpus()
        return {m.id: world.stock.free_gpus(m.id, used) for m in machines}

    def _by_site(
        self, here: Callable[[DataCenter], list[Machine]], free: dict[str, int]
    ) -> list[dict[str, Any]]:
        return [
            {
                "id": center.id,
                "name": center.name,
                "availability": level(sum(free[machine.id] for machine in found)),
            }
            for center in self._service.world.catalog.data_centers
            if (found := here(center))
        ]

    # CPUs -----------------------------------------------------------------------

    async def list_cpus(self, call: Call) -> Response:
        """List the CPU flavors."""
        query = self._cpu_query(call)
        flavors = self._service.world.catalog.cpu_flavors
        return answer_json({"cpus": [self._cpu(f, query) for f in flavors]})

    async def get_cpu(self, call: Call) -> Response:
        """Show a CPU flavor."""
        flavor = self._service.world.catalog.find_cpu_flavor(call.subject_id)
        if flavor is None:
            raise Problem(404, "CPU type not found")
        return answer_json(self._cpu(flavor, self._cpu_query(call)))

    def _cpu_query(self, call: Call) -> int:
        """Return the vCPUs whose availability is asked for; 0 for none."""
        if parse_stock_query(call, CPU_PRODUCTS) is None:
            return 0
        count = call.number("vcpuCount", 2)
        if count < 2 or count & (count - 1):
            raise Problem(422, "vcpuCount is a power of two, 2 or more")
        return count

    def _cpu(self, flavor: CpuFlavor, vcpu_count: int) -> dict[str, Any]:
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
        if not vcpu_count:
            return shown
        sites = [
            {"id": center.id, "name": center.name, "availability": "HIGH"}
            for center in self._service.world.catalog.data_centers
            if vcpu_count <= flavor.max_vcpu
            and self._service.world.stock.cpu_hosts((center.id,))
        ]
        if not sites:
            return shown | {"availability": "NONE"}
        return shown | {"availability": "HIGH", "dataCenters": sites}

    # Data centers ---------------------------------------------------------------

    async def list_data_centers(self, call: Call) -> Response:
        """List the data centers."""
        include = self._site_include(call)
        # rule SIM-CAT-3
        regions = call.listed("regions")
        tiers = set(call.chosen("networkVolumeTypes", ("STANDARD", "HIGH_PERFORMANCE")))
        compliance = set(call.listed("compliance"))
        networked = call.chosen("globalNetwork", ("true", "false"))
        rows = [
            self._site(center, include)
            for center in self._service.world.catalog.data_centers
            if (not regions or center.region in regions)
            and tiers <= set(center.volume_types)
            and compliance <= set(center.compliance)
            and (not networked or center.has_global_network == ("true" in networked))
        ]
        return answer_json({"dataCenters": rows})

    async def get_data_center(self, call: Call) -> Response:
        """Show a data center."""
        center = self._service.world.catalog.find_data_center(call.subject_id)
        if center is None:
            raise Problem(404, "data center not found")
        return answer_json(self._site(center, self._site_include(call)))

    def _site_include(self, call: Call) -> tuple[str, ...]:
        return call.chosen("include", ("GPU_AVAILABILITY", "CPU_AVAILABILITY"))

    def _site(self, center: DataCenter, include: tuple[str, ...]) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": center.id,
            "name": center.name,
            "region": center.region,
            "networkVolumeTypes": list(center.volume_types),
            "compliance": list(center.compliance),
            "globalNetwork": center.has_global_network,
        }
        if "GPU_AVAILABILITY" in include and (rows := self._gpus_at(center)):
            shown["gpuAvailability"] = rows
        if "CPU_AVAILABILITY" in include and (rows := self._cpus_at(center)):
            shown["cpuAvailability"] = rows
        return shown

    def _gpus_at(self, center: DataCenter) -> list[dict[str, Any]]:
        world = self._service.world
        rows = []
        for gpu_type in world.catalog.gpu_types:
            offers = world.stock.offers(
                gpu_type.id,
                cloud_types=("SECURE", "COMMUNITY"),
                data_center_ids=(center.id,),
            )
            if offers:
                free = sum(self._free(offers).values())
                name = gpu_type.display_name
                rows.append(
                    {"id": gpu_type.id, "name": name, "availability": level(free)}
                )
        return rows

    def _cpus_at(self, center: DataCenter) -> list[dict[str, Any]]:
        if not self._service.world.stock.cpu_hosts((center.id,)):
            return []
        return [
            {"id": flavor.id, "name": flavor.display_name, "availability": "HIGH"}
            for flavor in self._service.world.catalog.cpu_flavors
        ]

    # Templates ------------------------------------------------------------------

    async def templates(self, call: Call) -> Response:
        """List the public templates of one source."""
        source = next(iter(call.chosen("source", SOURCES)), "official")
        found = [
            render_template(template, call.account.id)
            for template in self._service.world.templates.public()
            if template.source == source
        ]
        return answer_json({"templates": found[:MOST_TEMPLATES]})
