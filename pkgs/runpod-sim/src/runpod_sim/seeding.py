"""Many pods at once, for measuring clients: records without machines behind them.

Pure. The pods run, bill and show ports; nothing listens on those.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from runpod_sim.catalog import Catalog
from runpod_sim.model import BootPlan, DeclinedError, Pod, PodSpec
from runpod_sim.refusals import NO_CAPACITY
from runpod_sim.renting import Placement, make_pod, price_usd_per_hour
from runpod_sim.stock import GPUS_PER_MACHINE, Stock

MOST_PODS = 20_000
FIRST_PORT = 10_000
PORTS = 50_000


@dataclass(frozen=True)
class SeedOrder:
    """How many pods of which kind."""

    count: int
    gpu_type_id: str
    cloud_type: str
    name_prefix: str
    bid_usd_per_hour: Decimal | None = None


def make_pods(
    order: SeedOrder,
    account_id: str,
    catalog: Catalog,
    stock: Stock,
    rng: random.Random,
    now: datetime,
) -> Iterator[Pod]:
    """Yield the records of pods that have been up for a minute, on hosts of their own.

    Raises:
        DeclinedError: The GPU type is not offered on that cloud.
    """
    gpu_type = catalog.find_gpu_type(order.gpu_type_id)
    if gpu_type is None or gpu_type.usd_per_hour(order.cloud_type) is None:
        raise DeclinedError(NO_CAPACITY)
    began_at = now - timedelta(minutes=1)
    centers = catalog.data_centers
    for index in range(order.count):
        if index % GPUS_PER_MACHINE == 0:
            center = centers[index // GPUS_PER_MACHINE % len(centers)].id
            # rule SIM-SEED-1
            machine = stock.add_host(rng, order.gpu_type_id, order.cloud_type, center)
        spec = PodSpec(
            name=f"{order.name_prefix}{index}",
            image="runpod/base:0.0.0",
            gpu_type_ids=(order.gpu_type_id,),
            ports=("22/tcp", "8888/http"),
            support_public_ip=True,
            bid_usd_per_hour=order.bid_usd_per_hour,
        )
        price = price_usd_per_hour(catalog, spec, machine)
        boot = BootPlan(pull_seconds=0, ports_seconds=0)
        placement = Placement(account_id, spec, machine, price, boot)
        pod = make_pod(catalog, placement, rng, began_at)
        yield replace(
            pod,
            boot_requested=True,
            public_ports=((22, FIRST_PORT + index % PORTS),),
            http_ports=((8888, 60_000 + index % 1000),),
        )
