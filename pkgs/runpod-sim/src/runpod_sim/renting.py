"""What a request for a pod comes to: its completed settings, its price, its record.

Pure functions; the world decides where the pod goes and whether it may be rented.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from runpod_sim.catalog import Catalog
from runpod_sim.model import (
    BootPlan,
    DeclinedError,
    DesiredStatus,
    Machine,
    NetworkVolume,
    Pod,
    PodSpec,
)
from runpod_sim.refusals import NO_CAPACITY, NO_SPOT_CAPACITY
from runpod_sim.stock import new_id

DATE_FORMAT = "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"


def status_change(what: str, now: datetime) -> str:
    """Return the text of a pod's latest change of state."""
    return f"{what}: {now.strftime(DATE_FORMAT)}"


def complete_spec(
    spec: PodSpec, pub_key: str, make_password: Callable[[], str]
) -> PodSpec:
    """Return the settings with what the platform adds to the environment."""
    env = dict(spec.env)
    # rule SIM-SSH-1
    if spec.start_ssh and pub_key:
        env.setdefault("PUBLIC_KEY", pub_key)
    # rule SIM-SSH-2
    if spec.start_jupyter and "JUPYTER_PASSWORD" not in env:
        env["JUPYTER_PASSWORD"] = make_password()
    return replace(spec, env=tuple(env.items()))


def beside_volume(spec: PodSpec, volume: NetworkVolume) -> PodSpec:
    """Return the settings of a pod that has to be where its network volume is.

    Raises:
        DeclinedError: It is wanted somewhere else.
    """
    # rule SIM-VOL-5
    center = volume.data_center_id
    elsewhere = spec.data_center_ids and center not in spec.data_center_ids
    if elsewhere or spec.cloud_type == "COMMUNITY":
        raise DeclinedError(NO_CAPACITY)
    return replace(spec, data_center_ids=(center,), cloud_type="SECURE")


def price_usd_per_hour(catalog: Catalog, spec: PodSpec, machine: Machine) -> Decimal:
    """Return what a pod of these settings costs on a machine, for all its GPUs.

    Raises:
        DeclinedError: It is not offered there, or the bid is too low.
    """
    if spec.cpu_flavor_id is not None:
        flavor = catalog.find_cpu_flavor(spec.cpu_flavor_id)
        if flavor is None:
            raise DeclinedError(NO_CAPACITY)
        return flavor.usd_per_vcpu_hour * spec.vcpu_count
    gpu_type = catalog.find_gpu_type(machine.gpu_type_id or "")
    price = gpu_type.usd_per_hour(machine.cloud_type) if gpu_type else None
    if gpu_type is None or price is None:
        raise DeclinedError(NO_CAPACITY)
    if spec.bid_usd_per_hour is None:
        return price * spec.gpu_count
    # rule SIM-SPOT-1
    minimum = gpu_type.minimum_bid_usd_per_hour(machine.cloud_type)
    if minimum is None or spec.bid_usd_per_hour < minimum:
        raise DeclinedError(NO_SPOT_CAPACITY)
    return spec.bid_usd_per_hour * spec.gpu_count


@dataclass(frozen=True)
class Placement:
    """Where a pod goes, at which price, and how its start will go."""

    account_id: str
    spec: PodSpec
    machine: Machine
    usd_per_hour: Decimal
    boot: BootPlan


def make_pod(
    catalog: Catalog, placement: Placement, rng: random.Random, now: datetime
) -> Pod:
    """Return the record of a pod that was just rented."""
    spec, machine = placement.spec, placement.machine
    gpu_type = catalog.find_gpu_type(machine.gpu_type_id or "")
    memory_gb, vcpu_count = spec.memory_gb, spec.vcpu_count
    if gpu_type is not None:
        memory_gb = gpu_type.host_memory_gb_per_gpu * spec.gpu_count
        vcpu_count = gpu_type.vcpu_per_gpu * spec.gpu_count
    # rule SIM-ID-1
    return Pod(
        id=new_id(rng, 14),
        account_id=placement.account_id,
        spec=spec,
        machine_id=machine.id,
        host_suffix=f"{rng.getrandbits(32):08x}",
        cloud_type=machine.cloud_type,
        data_center_id=machine.data_center_id,
        gpu_type_id=machine.gpu_type_id,
        gpu_count=spec.gpu_count if gpu_type else 0,
        usd_per_hour=placement.usd_per_hour,
        memory_gb=memory_gb,
        vcpu_count=vcpu_count,
        # rule SIM-POD-1
        desired_status=DesiredStatus.RUNNING,
        last_status_change=status_change("Rented by User", now),
        created_at=now,
        started_at=now,
        boot=placement.boot,
    )
