"""The hosts: which machines there are, how many of their GPUs are free, placement.

Pure: the pods on a machine are passed in as counts. It knows no accounts and no money.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from runpod_sim.catalog import Catalog
from runpod_sim.model import Machine, PodSpec

GPUS_PER_MACHINE = 8
MACHINES_PER_OFFER = 2
HIGH_STOCK_GPUS = 16
MEDIUM_STOCK_GPUS = 8
CUDA_VERSIONS = ("12.8", "13.0")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id(rng: random.Random, length: int) -> str:
    """Return an identifier as RunPod makes them: lower-case letters and digits."""
    return "".join(rng.choices(LETTERS, k=length))


class Stock:
    """All hosts and their free GPUs."""

    def __init__(self, catalog: Catalog, rng: random.Random) -> None:
        self._catalog = catalog
        self._machines: dict[str, Machine] = {}
        self._hosts: dict[str, list[str]] = {}
        centers = [center.id for center in catalog.data_centers]
        for gpu_type in catalog.gpu_types:
            for cloud_type in ("SECURE", "COMMUNITY"):
                if gpu_type.usd_per_hour(cloud_type) is not None:
                    for center in rng.sample(centers, MACHINES_PER_OFFER):
                        self._add(rng, gpu_type.id, cloud_type, center)
        for center in centers:
            self._add(rng, None, "SECURE", center)

    def _add(
        self, rng: random.Random, gpu_type_id: str | None, cloud_type: str, center: str
    ) -> Machine:
        machine = Machine(
            id=new_id(rng, 12),
            gpu_type_id=gpu_type_id,
            cloud_type=cloud_type,
            data_center_id=center,
            gpu_count=GPUS_PER_MACHINE if gpu_type_id else 0,
            cuda_version=rng.choice(CUDA_VERSIONS) if gpu_type_id else None,
        )
        self._machines[machine.id] = machine
        if gpu_type_id is not None:
            self._hosts.setdefault(gpu_type_id, []).append(machine.id)
        return machine

    def get(self, machine_id: str) -> Machine:
        """Return the machine of that id."""
        return self._machines[machine_id]

    def machines(self) -> tuple[Machine, ...]:
        """Return every machine."""
        return tuple(self._machines.values())

    def take(self, machine_id: str, gpus: int) -> Machine:
        """Let other customers hold that many of a machine's GPUs from now on."""
        machine = self._machines[machine_id]
        taken = max(0, min(machine.gpu_count, gpus))
        self._machines[machine_id] = replace(machine, taken_gpus=taken)
        return self._machines[machine_id]

    def lose(self, machine_id: str, *, is_lost: bool = True) -> Machine:
        """Take a machine off, or bring it back."""
        machine = replace(self._machines[machine_id], is_lost=is_lost)
        self._machines[machine_id] = machine
        return machine

    def add_host(
        self, rng: random.Random, gpu_type_id: str, cloud_type: str, center: str
    ) -> Machine:
        """Add a machine with GPUs."""
        return self._add(rng, gpu_type_id, cloud_type, center)

    def free_gpus(self, machine_id: str, used: Mapping[str, int]) -> int:
        """Return a machine's free GPUs, given those our pods use by machine id."""
        machine = self._machines[machine_id]
        if machine.is_lost:
            return 0
        return max(0, machine.gpu_count - machine.taken_gpus - used.get(machine_id, 0))

    def offers(
        self,
        gpu_type_id: str,
        *,
        cloud_types: Iterable[str],
        data_center_ids: Iterable[str] = (),
        country_codes: Iterable[str] = (),
        cuda_versions: Iterable[str] = (),
        minimum_cuda_version: str | None = None,
    ) -> list[Machine]:
        """Return the machines of a GPU type that meet the constraints, full or not."""
        wanted_centers = set(data_center_ids)
        wanted_countries = set(country_codes)
        wanted_cuda = set(cuda_versions)
        clouds = list(cloud_types)
        hosts = (self._machines[id_] for id_ in self._hosts.get(gpu_type_id, ()))
        # rule SIM-CAT-4
        found = [
            machine
            for machine in hosts
            if machine.cloud_type in clouds
            and not machine.is_lost
            and (not wanted_centers or machine.data_center_id in wanted_centers)
            and (not wanted_cuda or machine.cuda_version in wanted_cuda)
            and is_at_least(machine.cuda_version, minimum_cuda_version)
            and (not wanted_countries or self._country(machine) in wanted_countries)
        ]
        return sorted(found, key=lambda machine: clouds.index(machine.cloud_type))

    def _country(self, machine: Machine) -> str:
        center = self._catalog.find_data_center(machine.data_center_id)
        return center.country_code if center else ""

    def cpu_hosts(self, data_center_ids: Iterable[str] = ()) -> list[Machine]:
        """Return the machines for CPU pods in these data centers, or in all."""
        wanted = set(data_center_ids)
        return [
            machine
            for machine in self._machines.values()
            if machine.gpu_type_id is None
            and not machine.is_lost
            and (not wanted or machine.data_center_id in wanted)
        ]

    def place(self, spec: PodSpec, used: Mapping[str, int]) -> Machine | None:
        """Return the machine that takes a pod of this spec, None when none does."""
        if spec.cpu_flavor_id is not None:
            return next(iter(self.cpu_hosts(spec.data_center_ids)), None)
        # rule SIM-POD-12
        clouds = (
            ("SECURE", "COMMUNITY") if spec.cloud_type == "ALL" else (spec.cloud_type,)
        )
        for gpu_type_id in spec.gpu_type_ids:
            for machine in self.offers(
                gpu_type_id,
                cloud_types=clouds,
                data_center_ids=spec.data_center_ids,
                country_codes=(spec.country_code,) if spec.country_code else (),
                cuda_versions=spec.cuda_versions,
                minimum_cuda_version=spec.minimum_cuda_version,
            ):
                if self.free_gpus(machine.id, used) >= max(1, spec.gpu_count) and (
                    self._is_large_enough(machine, spec)
                ):
                    return machine
        return None

    def _is_large_enough(self, machine: Machine, spec: PodSpec) -> bool:
        gpu_type = self._catalog.find_gpu_type(machine.gpu_type_id or "")
        if gpu_type is None:
            return False
        memory_gb = gpu_type.host_memory_gb_per_gpu * spec.gpu_count
        vcpu = gpu_type.vcpu_per_gpu * spec.gpu_count
        return spec.minimum_memory_gb <= memory_gb and spec.minimum_vcpu_count <= vcpu


def parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as 12.8, so that 12.11 is above 12.2."""
    return tuple(int(part) for part in version.split("."))


def is_at_least(version: str | None, floor: str | None) -> bool:
    """Say whether a host's CUDA version is not below a floor; no floor takes any."""
    if floor is None:
        return True
    return version is not None and parse_version(version) >= parse_version(floor)


def stock_status(free_gpus: int) -> str | None:
    """Return RunPod's word for how many GPUs are free; None when there are none."""
    if free_gpus >= HIGH_STOCK_GPUS:
        return "High"
    if free_gpus >= MEDIUM_STOCK_GPUS:
        return "Medium"
    return "Low" if free_gpus else None
