"""The simulated RunPod's values: pods, accounts, machines, effects and refusals.

Frozen records only. Nothing here knows the wire or does anything; the world replaces
these records and the shell performs the effects.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction


class DesiredStatus(StrEnum):
    """What was asked for; not what is."""

    RUNNING = "RUNNING"
    EXITED = "EXITED"
    TERMINATED = "TERMINATED"


class LiveStatus(StrEnum):
    """What is, as REST v2 reports it."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


class Mishap(StrEnum):
    """What is wrong with one start of a pod, from its beginning to its end."""

    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_AUTH = "image_auth"
    IMAGE_PULL_ERROR = "image_pull_error"
    CUDA_MISMATCH = "cuda_mismatch"
    PROVISIONING_FOREVER = "provisioning_forever"
    HOST_SILENT = "host_silent"
    CRASH_LOOP = "crash_loop"
    SSHD_NEVER = "sshd_never"
    NO_PUBLIC_IP = "no_public_ip"


@dataclass(frozen=True)
class Refusal:
    """What RunPod says when it declines an operation.

    Args:
        code: GraphQL's `extensions.code`.
        http_status: REST v2's status for the same refusal.
    """

    message: str
    code: str
    http_status: int


class DeclinedError(Exception):
    """RunPod declines an operation; the simulator has not failed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True)
class PodSpec:
    """What a client asked for when it deployed or edited a pod.

    Args:
        cloud_type: SECURE, COMMUNITY or ALL.
        bid_usd_per_hour: Per GPU; None for an on-demand pod.
        cpu_flavor_id: Set for CPU pods, and then `gpu_type_id` is None.
        ports: `<port>/<http or tcp>` entries.
    """

    name: str
    image: str
    gpu_type_ids: tuple[str, ...] = ()
    gpu_count: int = 1
    cloud_type: str = "ALL"
    cpu_flavor_id: str | None = None
    vcpu_count: int = 0
    memory_gb: int = 0
    docker_args: str = ""
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    container_disk_gb: int = 10
    volume_gb: int = 0
    volume_mount_path: str = "/workspace"
    network_volume_id: str | None = None
    data_center_ids: tuple[str, ...] = ()
    country_code: str | None = None
    support_public_ip: bool = False
    start_ssh: bool = False
    start_jupyter: bool = False
    template_id: str | None = None
    minimum_memory_gb: int = 0
    minimum_vcpu_count: int = 0
    cuda_versions: tuple[str, ...] = ()
    minimum_cuda_version: str | None = None
    bid_usd_per_hour: Decimal | None = None


@dataclass(frozen=True)
class BootPlan:
    """How the present start of a pod goes, in simulated seconds.

    Args:
        ports_seconds: From the runtime's appearance to the ports'; None for never.
        mishap_seconds: Until RunPod gives up, the host speaks again or the container
            crashes, whichever the mishap has.
    """

    pull_seconds: float
    ports_seconds: float | None
    mishap: Mishap | None = None
    mishap_seconds: float = 0.0


@dataclass(frozen=True)
class LogLine:
    """One line of a pod's log; `source` is container or system."""

    at: datetime
    source: str
    line: str


@dataclass(frozen=True)
class Pod:
    """One pod as the platform knows it.

    Args:
        usd_per_hour: Compute alone, for all GPUs, while running.
        start_number: 1 at the first start; each start is a new container.
        public_ports: Private to public port of this start, empty until the machine
            has come up.
        stopped_at: When the latest run ended; None while it runs.
        has_failed: RunPod ended the latest run because its container cannot start.
    """

    id: str
    account_id: str
    spec: PodSpec
    machine_id: str
    host_suffix: str
    cloud_type: str
    data_center_id: str
    gpu_type_id: str | None
    gpu_count: int
    usd_per_hour: Decimal
    memory_gb: int
    vcpu_count: int
    desired_status: DesiredStatus
    last_status_change: str
    created_at: datetime
    started_at: datetime
    boot: BootPlan
    start_number: int = 1
    boot_requested: bool = False
    public_ports: tuple[tuple[int, int], ...] = ()
    http_ports: tuple[tuple[int, int], ...] = ()
    stopped_at: datetime | None = None
    terminated_at: datetime | None = None
    locked: bool = False
    has_failed: bool = False

    @property
    def is_spot(self) -> bool:
        """Say whether the pod was rented by a bid."""
        return self.spec.bid_usd_per_hour is not None

    @property
    def is_running(self) -> bool:
        """Say whether the pod is meant to run."""
        return self.desired_status is DesiredStatus.RUNNING

    @property
    def host_id(self) -> str:
        """Return the user name for RunPod's SSH proxy."""
        return f"{self.id}-{self.host_suffix}"


@dataclass(frozen=True)
class Runtime:
    """What the host reports about a container.

    Args:
        public_ports: None until the host has mapped them.
    """

    uptime_seconds: int
    public_ports: tuple[tuple[int, int], ...] | None
    http_ports: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class NetworkVolume:
    """Storage that outlives pods; `tier` is STANDARD or HIGH_PERFORMANCE."""

    id: str
    account_id: str
    name: str
    size_gb: int
    data_center_id: str
    tier: str = "STANDARD"


@dataclass(frozen=True)
class Template:
    """A container's settings under a name.

    Args:
        account_id: Its owner; None for those of RunPod's own catalog.
        source: official, verified or community, for what the catalog lists.
        category: CPU, NVIDIA or AMD.
    """

    id: str
    account_id: str | None
    name: str
    image: str
    docker_args: str = ""
    container_disk_gb: int = 20
    volume_gb: int = 0
    volume_mount_path: str = ""
    ports: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    registry_id: str | None = None
    is_serverless: bool = False
    is_public: bool = False
    category: str = "NVIDIA"
    start_ssh: bool = True
    start_jupyter: bool = True
    cuda_versions: tuple[str, ...] = ()
    readme: str = ""
    source: str = "community"


@dataclass(frozen=True)
class Account:
    """One customer.

    Args:
        deposited_usd: All credit ever given.
        charged_usd: Exact sum of closed and open charges up to `settled_at`. A share
            of an hourly price has no finite decimal form, so it is a fraction inside
            and becomes a Decimal where it is shown.
    """

    id: str
    email: str
    deposited_usd: Decimal
    settled_at: datetime
    charged_usd: Fraction = Fraction(0)
    spend_limit_usd_per_hour: int = 80
    pub_key: str = ""

    @property
    def balance_exact_usd(self) -> Fraction:
        """Return the credit left."""
        return Fraction(self.deposited_usd) - self.charged_usd


@dataclass(frozen=True)
class Machine:
    """One host. `taken_gpus` are in use by other customers; a lost one is off."""

    id: str
    gpu_type_id: str | None
    cloud_type: str
    data_center_id: str
    gpu_count: int
    cuda_version: str | None
    taken_gpus: int = 0
    is_lost: bool = False


@dataclass(frozen=True)
class BootMachine:
    """Effect: bring up the pod's container for this start."""

    pod: Pod


@dataclass(frozen=True)
class StopMachine:
    """Effect: TERM all processes, KILL after the grace, wipe the container disk."""

    pod: Pod
    grace_seconds: float
    delete_volume: bool = False


Effect = BootMachine | StopMachine


@dataclass(frozen=True)
class Transition:
    """A pod after an operation, and what the shell must now do."""

    pod: Pod
    effects: tuple[Effect, ...] = ()
