"""What a pod says of itself at one moment: frozen records, raw counters, no I/O.

None means the pod did not tell; 0 is a figure. What could not be read has its reason
in `Probe.problems`. Rates come from two probes: see `probe_rates`.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class CPU:
    """The processor time a pod may use and has used.

    Attributes:
        limit_cores: The quota of its cgroup; None where none is set.
        processor_count: Processors it may run on.
        used_seconds: Processor time used since its start, all cores together.
        throttled_seconds: Time it was held back by its quota, all cores together.
    """

    limit_cores: float | None
    processor_count: int | None
    used_seconds: float | None
    throttled_seconds: float | None

    @property
    def cores(self) -> float | None:
        """Return the cores it can use at most; None when unknown."""
        known = [n for n in (self.limit_cores, self.processor_count) if n is not None]
        return min(known, default=None)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory a pod may use and uses.

    Attributes:
        limit_bytes: The most it can have: its cgroup's limit, or the machine's memory.
        used_bytes: Without the file cache the kernel gives back when asked.
        is_limited: Whether the limit is the pod's own, not the machine's.
        is_machine: Whether these are figures of the whole machine, since the pod
            shows no cgroup of its own.
        oom_kill_count: Processes the kernel ended for want of memory.
    """

    limit_bytes: int | None
    used_bytes: int | None
    is_limited: bool
    is_machine: bool
    oom_kill_count: int | None


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A file system; a network volume reports the whole storage, not your quota."""

    path: str
    filesystem: str
    total_bytes: int
    used_bytes: int
    available_bytes: int


@dataclass(frozen=True, kw_only=True)
class NetworkInterface:
    """What went through an interface since the pod's start."""

    name: str
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """Runnable processes on the machine, not on the pod alone: averages."""

    one_minute: float
    five_minutes: float
    fifteen_minutes: float


@dataclass(frozen=True, kw_only=True)
class GPUSlice:
    """A MIG device: a part of a GPU.

    Attributes:
        index: Among the slices of its GPU.
        profile: Its size, for instance `1g.5gb`.
    """

    index: int
    uuid: str | None
    profile: str | None
    memory_used_mib: int | None
    memory_total_mib: int | None


@dataclass(frozen=True, kw_only=True)
class GPU:
    """A GPU.

    Attributes:
        utilization_percent: Share of the last moments in which any kernel ran.
        problem: What is wrong with it, for instance that it is lost; else empty.
    """

    index: int | None
    uuid: str | None
    bus_id: str | None
    name: str | None
    driver_version: str | None
    utilization_percent: float | None
    memory_utilization_percent: float | None
    memory_used_mib: int | None
    memory_total_mib: int | None
    temperature_celsius: float | None
    power_draw_watts: float | None
    power_limit_watts: float | None
    is_mig_enabled: bool | None
    slices: tuple[GPUSlice, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class GPUProcess:
    """A process that computes on a GPU; its pid is the machine's, not the pod's."""

    gpu_uuid: str | None
    pid: int | None
    name: str | None
    memory_used_mib: int | None


@dataclass(frozen=True, kw_only=True)
class ProbeProblem:
    """Why a part could not be told, or not wholly.

    Attributes:
        part: cpu, memory, disks, network, gpus or gpu_processes.
        is_timeout: Whether it did not answer in time; asking on may leave one stuck
            process after the other on the pod.
    """

    part: str
    reason: str
    is_timeout: bool = False


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A pod at one moment.

    Attributes:
        elapsed_seconds: From asking to having the answer.
        uptime_seconds: Since the pod's first process started.
        machine_uptime_seconds: The clock that counters are measured by; in a
            container it is the machine's and goes on when the pod restarts.
        gpus: None when the driver could not be asked; empty when there are none.
        gpu_processes: None when the driver could not be asked.
        process_count: Of the pod; `process_limit` is None where none is set.
    """

    taken_at: datetime
    elapsed_seconds: float
    hostname: str | None
    uptime_seconds: float | None
    machine_uptime_seconds: float | None
    load: Load | None
    cpu: CPU
    memory: Memory
    process_count: int | None
    process_limit: int | None
    disks: tuple[Disk, ...]
    network: tuple[NetworkInterface, ...]
    gpus: tuple[GPU, ...] | None
    gpu_processes: tuple[GPUProcess, ...] | None
    problems: tuple[ProbeProblem, ...]
