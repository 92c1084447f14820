"""`runpod-client gpus`: what GPUs can be rented, where, and for how much."""

from typing import TYPE_CHECKING

import click

from runpod_client.commands.arguments import examples, with_client
from runpod_client.console import Session

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient


@click.group()
def gpus() -> None:
    """See what can be rented."""


@gpus.command(
    "list",
    epilog=examples(
        "  runpod-client gpus list\n"
        "  runpod-client gpus list --min-memory 80 --gpu-count 4\n"
        "  runpod-client gpus list --json | jq -r '.gpu_types[] | select(.stock)'\n"
    ),
)
@click.option(
    "--gpu-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Stock for pods of this many GPUs.",
)
@click.option(
    "--min-memory",
    "min_memory_gb",
    type=click.IntRange(min=0),
    default=0,
    metavar="GB",
    help="Only GPUs with at least this much memory.",
)
@with_client
def list_gpus(
    session: Session, client: "RunPodClient", *, gpu_count: int, min_memory_gb: int
) -> None:
    """List GPU types with stock and today's prices per GPU-hour."""
    from runpod_client import tables  # noqa: PLC0415  # slow

    offers = client.list_gpu_offers(gpu_count=gpu_count)
    rows = [
        row
        for row in tables.gpu_type_documents(offers)
        if row["memory_gb"] >= min_memory_gb
    ]
    session.emit({"gpu_types": rows}, lambda: tables.gpu_type_sheet(rows))
