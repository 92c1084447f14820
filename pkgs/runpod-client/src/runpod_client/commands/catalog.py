"""`runpod-client cpus` and `data-centers`: what can be rented besides GPUs, and where."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from runpod_client.commands.arguments import examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient
    from runpod_client.model import CPUType, DataCenter
    from runpod_client.sheets import Sheet


@click.group()
def cpus() -> None:
    """See the CPU catalogue."""


@cpus.command(
    "list",
    epilog=examples(
        "  runpod-client cpus list\n"
        "  runpod-client cpus list --json | jq -r '.cpu_types[].cpu_type'\n"
    ),
)
@with_client
def list_cpus(session: Session, client: "RunPodClient") -> None:
    """List the kinds of CPU, with stock and price per vCPU-hour."""
    found = client.cloud.list_cpu_types()
    session.emit(
        {"cpu_types": [render_cpu_type(cpu) for cpu in found]},
        lambda: render_cpu_sheet(found),
        names=lambda: [cpu.cpu_type for cpu in found],
    )


@click.group("data-centers")
def data_centers() -> None:
    """See where pods can run."""


@data_centers.command(
    "list",
    epilog=examples(
        "  runpod-client data-centers list\n"
        '  runpod-client data-centers list --gpu "RTX 4090"\n'
        "  runpod-client data-centers list --volumes -o name\n"
    ),
)
@click.option("--gpu", metavar="GPU", help="Only where this GPU type is in stock.")
@click.option("--volumes", is_flag=True, help="Only where network volumes can be kept.")
@with_client
def list_data_centers(
    session: Session, client: "RunPodClient", *, gpu: str | None, volumes: bool
) -> None:
    """List the data centers, with the GPU types in stock there."""
    from runpod_client.model import Stock  # noqa: PLC0415  # slow
    from runpod_client.selection import select_gpu_types  # noqa: PLC0415

    found = client.cloud.list_data_centers()
    if volumes:
        found = [center for center in found if center.has_network_volumes]
    gpu_type = None
    if gpu is not None:
        (gpu_type,) = select_gpu_types(client.list_gpu_offers(), [gpu])
        found = [
            center
            for center in found
            if center.gpu_stock.get(gpu_type, Stock.NONE) is not Stock.NONE
        ]
    session.emit(
        {"data_centers": [render_data_center(center) for center in found]},
        lambda: render_center_sheet(found, gpu_type=gpu_type),
        names=lambda: [center.data_center_id for center in found],
    )


def render_cpu_type(cpu: "CPUType") -> dict[str, Any]:
    """Return a kind of CPU for programs; null is what the wire does not tell."""
    from runpod_client.model import Stock  # noqa: PLC0415  # slow

    return {
        "cpu_type": cpu.cpu_type,
        "display_name": cpu.display_name,
        "min_vcpu_count": cpu.min_vcpu_count,
        "max_vcpu_count": cpu.max_vcpu_count,
        "memory_gb_per_vcpu": cpu.memory_gb_per_vcpu,
        "price_usd_per_vcpu_hour": cpu.usd_per_vcpu_hour,
        "stock": None if cpu.stock is Stock.UNKNOWN else cpu.stock,
    }


def render_cpu_sheet(found: "Sequence[CPUType]") -> "Sheet":
    """Return the kinds of CPU as a table; prices per vCPU-hour."""
    from runpod_client.model import Stock  # noqa: PLC0415  # slow
    from runpod_client.prices import render_usd  # noqa: PLC0415
    from runpod_client.sheets import Sheet  # noqa: PLC0415

    return Sheet(
        headings=("CPU", "ID", "VCPUS", ">GB/VCPU", ">$/VCPU-H", "STOCK"),
        rows=[
            [
                cpu.display_name,
                cpu.cpu_type,
                f"{cpu.min_vcpu_count}-{cpu.max_vcpu_count}",
                f"{cpu.memory_gb_per_vcpu.normalize():f}",
                "-"
                if cpu.usd_per_vcpu_hour is None
                else render_usd(cpu.usd_per_vcpu_hour),
                "-" if cpu.stock is Stock.UNKNOWN else cpu.stock.value,
            ]
            for cpu in found
        ],
        empty="RunPod lists no CPUs now.",
    )


def render_data_center(center: "DataCenter") -> dict[str, Any]:
    """Return a data center for programs."""
    return {
        "data_center_id": center.data_center_id,
        "name": center.name,
        "region": center.region or None,
        "has_network_volumes": center.has_network_volumes,
        "gpu_stock": dict(center.gpu_stock),
    }


def render_center_sheet(
    found: "Sequence[DataCenter]", *, gpu_type: str | None
) -> "Sheet":
    """Return the data centers as a table.

    Args:
        gpu_type: Shows the stock of this type; None counts the types in stock.
    """
    from runpod_client.model import Stock  # noqa: PLC0415  # slow
    from runpod_client.sheets import Sheet  # noqa: PLC0415

    def stock(center: "DataCenter") -> str:
        if gpu_type is not None:
            return center.gpu_stock.get(gpu_type, Stock.UNKNOWN).value
        if not center.gpu_stock:
            return "-"
        return str(sum(level is not Stock.NONE for level in center.gpu_stock.values()))

    return Sheet(
        headings=(
            "ID",
            "NAME",
            "REGION",
            "VOLUMES",
            "STOCK" if gpu_type else ">GPU TYPES",
        ),
        rows=[
            [
                center.data_center_id,
                center.name,
                center.region or "-",
                "yes" if center.has_network_volumes else "no",
                stock(center),
            ]
            for center in found
        ],
        empty="No data center has that.",
    )
