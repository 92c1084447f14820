"""What can be rented: GPU types, CPU flavors, data centers and their prices, as data.

The figures are list prices seen in 2026 (docs/runpod-api.md says where); where no
source gives one, the price is None and that cloud does not offer the type. Nothing
here knows about pods, accounts or stock.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property


@dataclass(frozen=True)
class GpuType:
    """One GPU type as the catalog lists it.

    Args:
        secure_usd_per_hour: List price of one GPU on the secure cloud; None when the
            secure cloud does not offer it.
        spot_ratio: The lowest accepted bid as a share of the on-demand price.
        secure_bid_usd_per_hour: The lowest accepted bid where the market has moved it
            away from that share; None where it has not.
    """

    id: str
    display_name: str
    memory_gb: int
    secure_usd_per_hour: Decimal | None
    community_usd_per_hour: Decimal | None
    pool: str | None = None
    host_memory_gb_per_gpu: int = 62
    vcpu_per_gpu: int = 16
    spot_ratio: Decimal = Decimal("0.5")
    secure_bid_usd_per_hour: Decimal | None = None
    community_bid_usd_per_hour: Decimal | None = None

    def usd_per_hour(self, cloud_type: str) -> Decimal | None:
        """Return the on-demand price of one GPU, None where it is not offered."""
        if cloud_type == "SECURE":
            return self.secure_usd_per_hour
        return self.community_usd_per_hour

    def minimum_bid_usd_per_hour(self, cloud_type: str) -> Decimal | None:
        """Return the lowest accepted bid for one GPU, None where it is not offered."""
        price = self.usd_per_hour(cloud_type)
        if price is None:
            return None
        moved = (
            self.secure_bid_usd_per_hour
            if cloud_type == "SECURE"
            else self.community_bid_usd_per_hour
        )
        if moved is not None:
            return moved
        return (price * self.spot_ratio).quantize(Decimal("0.001"))


@dataclass(frozen=True)
class CpuFlavor:
    """One family of CPU pods; an instance is `<flavor>-<vCPU>-<GB>`."""

    id: str
    display_name: str
    group_id: str
    group_name: str
    min_vcpu: int
    max_vcpu: int
    ram_gb_per_vcpu: int
    usd_per_vcpu_hour: Decimal


@dataclass(frozen=True)
class DataCenter:
    """One site with machines; `volume_types` are its tiers of network volumes."""

    id: str
    name: str
    location: str
    region: str
    country_code: str
    volume_types: tuple[str, ...] = ("STANDARD",)
    compliance: tuple[str, ...] = ()
    has_global_network: bool = True


def _gpu(
    id_: str,
    display_name: str,
    memory_gb: int,
    secure: str | None,
    community: str | None,
    pool: str | None = None,
    host: tuple[int, int] = (62, 16),
) -> GpuType:
    return GpuType(
        id=id_,
        display_name=display_name,
        memory_gb=memory_gb,
        secure_usd_per_hour=Decimal(secure) if secure else None,
        community_usd_per_hour=Decimal(community) if community else None,
        pool=pool,
        host_memory_gb_per_gpu=host[0],
        vcpu_per_gpu=host[1],
    )


# rule SIM-CAT-1
GPU_TYPES: tuple[GpuType, ...] = (
    _gpu("NVIDIA RTX A4000", "RTX A4000", 16, "0.24", "0.17", "AMPERE_16", (25, 8)),
    _gpu("NVIDIA RTX A5000", "RTX A5000", 24, None, "0.34", "AMPERE_24", (31, 8)),
    _gpu("NVIDIA GeForce RTX 3090", "RTX 3090", 24, None, "0.22", "AMPERE_24"),
    _gpu("NVIDIA GeForce RTX 4090", "RTX 4090", 24, "0.69", "0.34", "ADA_24"),
    _gpu("NVIDIA GeForce RTX 5090", "RTX 5090", 32, None, "0.69", "ADA_32_PRO"),
    _gpu("NVIDIA L4", "L4", 24, "0.49", "0.44", "ADA_24", (50, 12)),
    _gpu("NVIDIA A40", "A40", 48, "0.44", None, "AMPERE_48", (50, 9)),
    _gpu("NVIDIA L40", "L40", 48, None, "0.69", "ADA_48_PRO"),
    _gpu("NVIDIA L40S", "L40S", 48, "0.86", "0.79", "ADA_48_PRO"),
    _gpu("NVIDIA RTX A6000", "RTX A6000", 48, "0.491", "0.69", "AMPERE_48", (50, 9)),
    _gpu(
        "NVIDIA A100 80GB PCIe", "A100 PCIe", 80, "1.39", "1.19", "AMPERE_80", (117, 8)
    ),
    _gpu(
        "NVIDIA A100-SXM4-80GB", "A100 SXM", 80, "1.59", "1.39", "AMPERE_80", (125, 16)
    ),
    _gpu("NVIDIA H100 PCIe", "H100 PCIe", 80, "2.89", "1.99", "ADA_80_PRO", (188, 16)),
    _gpu(
        "NVIDIA H100 80GB HBM3", "H100 SXM", 80, "3.29", "2.69", "ADA_80_PRO", (125, 20)
    ),
    _gpu("NVIDIA H100 NVL", "H100 NVL", 94, "3.19", "2.59", "ADA_80_PRO", (94, 16)),
    _gpu("NVIDIA H200", "H200 SXM", 141, "4.59", "3.59", "HOPPER_141", (276, 24)),
    _gpu("NVIDIA B200", "B200", 180, "6.79", "5.98", "BLACKWELL_180", (283, 28)),
    _gpu("NVIDIA B300 SXM6 AC", "B300", 288, "7.89", "6.94", None, (251, 32)),
    # The live catalog has this entry too, and clients have to leave it out.
    _gpu("unknown", "unknown", 0, None, None),
)

# rule SIM-CAT-2
CPU_FLAVORS: tuple[CpuFlavor, ...] = tuple(
    CpuFlavor(id_, name, group, group_name, 2, 32, ram, Decimal(price))
    for id_, name, group, group_name, ram, price in (
        ("cpu3c", "Compute-Optimized", "cpu3", "Gen 3", 2, "0.03"),
        ("cpu3g", "General Purpose", "cpu3", "Gen 3", 4, "0.04"),
        ("cpu5c", "Compute-Optimized", "cpu5", "Gen 5", 2, "0.035"),
        ("cpu5g", "General Purpose", "cpu5", "Gen 5", 4, "0.045"),
    )
)

_BOTH_TIERS = ("STANDARD", "HIGH_PERFORMANCE")
_AMERICA = "NORTH_AMERICA"

# rule SIM-CAT-3
DATA_CENTERS: tuple[DataCenter, ...] = (
    DataCenter(
        "US-TX-3",
        "US Texas 3",
        "United States",
        _AMERICA,
        "US",
        volume_types=_BOTH_TIERS,
        compliance=("SOC_2_TYPE_2", "ISO_IEC_27001"),
    ),
    DataCenter(
        "US-KS-2",
        "US Kansas 2",
        "United States",
        _AMERICA,
        "US",
        compliance=("SOC_2_TYPE_2",),
    ),
    DataCenter(
        "CA-MTL-1", "CA Montreal 1", "Canada", _AMERICA, "CA", has_global_network=False
    ),
    DataCenter(
        "EU-RO-1",
        "EU Romania 1",
        "Romania",
        "EUROPE",
        "RO",
        volume_types=_BOTH_TIERS,
        compliance=("GDPR", "ISO_IEC_27001"),
    ),
    DataCenter(
        "EU-SE-1", "EU Sweden 1", "Sweden", "EUROPE", "SE", compliance=("GDPR",)
    ),
    DataCenter("EUR-IS-1", "EUR Iceland 1", "Iceland", "EUROPE", "IS"),
    DataCenter("AP-JP-1", "AP Japan 1", "Japan", "ASIA", "JP", volume_types=()),
)


@dataclass(frozen=True)
class Catalog:
    """All that is on offer."""

    gpu_types: tuple[GpuType, ...] = GPU_TYPES
    cpu_flavors: tuple[CpuFlavor, ...] = CPU_FLAVORS
    data_centers: tuple[DataCenter, ...] = DATA_CENTERS

    @cached_property
    def _gpu_types(self) -> dict[str, GpuType]:
        return {gpu_type.id: gpu_type for gpu_type in self.gpu_types}

    def find_gpu_type(self, gpu_type_id: str) -> GpuType | None:
        """Return the GPU type of that id, None when there is none."""
        return self._gpu_types.get(gpu_type_id)

    def find_cpu_flavor(self, flavor_id: str) -> CpuFlavor | None:
        """Return the CPU flavor of that id, None when there is none."""
        return next((c for c in self.cpu_flavors if c.id == flavor_id), None)

    def find_data_center(self, data_center_id: str) -> DataCenter | None:
        """Return the data center of that id, None when there is none."""
        return next((d for d in self.data_centers if d.id == data_center_id), None)
