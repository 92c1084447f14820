"""The values RunPod's world is made of: frozen, without I/O and without wire names.

Money is `Decimal` in US dollars. Every `_at` is an aware UTC datetime.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal


class Secret(str):
    """A text that must not be shown: its repr is stars, its str is itself.

    Logs and errors format values with repr, so a secret that slips into one of them
    stays hidden; only code that means to send it uses it as the string it is.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"


class PodStatus(enum.StrEnum):
    """What a pod really is, not what somebody wishes it to be.

    RunPod's `desiredStatus` says RUNNING from the moment of renting; `STARTING`
    stands for that time until the host reports a container.
    """

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_billed(self) -> bool:
        """Return whether GPUs may be billed; what is not known counts as billed."""
        return self not in {PodStatus.STOPPED, PodStatus.TERMINATED}


class DesiredStatus(enum.StrEnum):
    """What a pod was last asked to be, by whomever."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"


class Capability(enum.StrEnum):
    """A group of calls that a wire of RunPod has or lacks as a whole."""

    PODS = "pods"
    SPOT = "spot pods"
    START_WITHOUT_GPUS = "starting a pod without its GPUs"
    RESTART = "restarting in place"
    RENAME = "renaming without a restart"
    LOGS = "boot and container logs"
    CATALOG = "the catalogue of GPUs, CPUs and data centers"
    BALANCE = "balance and spending"
    VOLUMES = "network volumes"
    TEMPLATES = "templates"
    ACCOUNT_KEYS = "the account's SSH keys"


class Stock(enum.StrEnum):
    """How much of something RunPod says is free; a hint, no promise."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"
    UNKNOWN = "unknown"


class CloudType(enum.StrEnum):
    """Where a pod may be placed."""

    SECURE = "secure"
    COMMUNITY = "community"
    ANY = "any"


class Protocol(enum.StrEnum):
    """How a pod's port is exposed."""

    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, kw_only=True)
class PortMapping:
    """One port of a pod as the outside reaches it."""

    private_port: int
    public_port: int
    ip: str
    is_public: bool
    protocol: Protocol


@dataclass(frozen=True, kw_only=True)
class SSHAddress:
    """Where a pod's own sshd listens (a direct address, not RunPod's SSH proxy)."""

    host: str
    port: int
    user: str = "root"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class GPUUtilization:
    """A GPU's load as RunPod reports it, in percent."""

    gpu_id: str
    gpu_percent: int | None
    memory_percent: int | None


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as observed at one moment.

    Attributes:
        name: Without the mark that stands behind it on the wire (`runpod_client.marks`).
        status: What it really is; `status_reason` says why, in RunPod's words.
        desired: What it was asked to be.
        wire_status: RunPod's own word for its state.
        price_usd_per_hour: What it is billed while running, GPUs together.
        started_at: When its container's present start was asked for. Host keys and
            public ports are new at each start, so this tells starts apart.
        uptime_seconds: The container's real uptime; None while it has none.
        asked_ports: The ports it was created with, as RunPod writes them; None where
            the wire does not tell.
        env: Its environment as RunPod returns it, secrets in the clear: never log it.
        proxy_user: User name at RunPod's SSH proxy; empty while no machine is known.
        owner: Whose pod it is by its mark; None for a pod not made by these tools.
        intent_id: The intent it was made for; where only the name carries the mark,
            its first eight digits.
        lease_ends_at: When it is to end; None for never.
    """

    pod_id: str
    name: str
    status: PodStatus
    status_reason: str = ""
    desired: DesiredStatus = DesiredStatus.UNKNOWN
    wire_status: str = ""
    gpu_type: str
    gpu_count: int
    image: str
    price_usd_per_hour: Decimal
    cloud_type: CloudType | None = None
    is_spot: bool = False
    machine_id: str = ""
    data_center_id: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    uptime_seconds: int | None = None
    volume_gb: int = 0
    container_disk_gb: int = 0
    memory_gb: Decimal = Decimal(0)
    vcpu_count: Decimal = Decimal(0)
    ports: tuple[PortMapping, ...] = ()
    gpus: tuple[GPUUtilization, ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)
    asked_ports: tuple[str, ...] | None = None
    network_volume_id: str = ""
    cuda_version: str = ""
    proxy_user: str = ""
    is_locked: bool = False
    owner: str | None = None
    intent_id: str | None = None
    lease_ends_at: datetime | None = None

    @property
    def ssh_address(self) -> SSHAddress | None:
        """Return the direct address of the pod's sshd, None while it has none."""
        for port in self.ports:
            if (
                port.private_port == 22
                and port.is_public
                and port.protocol is Protocol.TCP
            ):
                return SSHAddress(host=port.ip, port=port.public_port)
        return None


class Preference(enum.StrEnum):
    """What comes first among the machines that would do."""

    ORDER = "order"
    PRICE = "price"


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a machine must have.

    Attributes:
        gpu_types: Acceptable GPU types by id, best first; empty accepts any.
        cloud_type: ANY accepts both clouds.
        data_center_ids: Acceptable data centers; empty accepts any.
        min_memory_gb: Per GPU.
        min_cuda: Lowest CUDA version of the host, like `12.4`.
        max_price_usd_per_hour: For the whole pod's GPUs.
        bid: A bid strategy as `runpod_client.bids` writes them; empty rents on demand.
        prefer: By the order of `gpu_types` and then by price, or by price alone.
    """

    gpu_types: tuple[str, ...] = ()
    gpu_count: int = 1
    cloud_type: CloudType = CloudType.ANY
    data_center_ids: tuple[str, ...] = ()
    min_memory_gb: int = 0
    min_cuda: str = ""
    max_price_usd_per_hour: Decimal | None = None
    bid: str = ""
    prefer: Preference = Preference.ORDER


@dataclass(frozen=True, kw_only=True)
class PodSpec:
    """What pod is wanted: where it may run, and what is to run there.

    Attributes:
        place: What its machine must have.
        fallbacks: Tried in this order where nothing that fits `place` is free.
        ports: As RunPod writes them, for instance `22/tcp` or `8188/http`.
        start_command: Replaces the image's command; None keeps it.
        network_volume_id: Mounted at `volume_mount_path` instead of a volume disk.
        template_id: A template of RunPod's to base it on; empty for none.
        lease: How long it may live from its creation on; None for no end.
    """

    name: str
    image: str
    place: Constraints
    fallbacks: tuple[Constraints, ...] = ()
    container_disk_gb: int = 20
    volume_gb: int = 0
    volume_mount_path: str = "/workspace"
    network_volume_id: str = ""
    template_id: str = ""
    ports: tuple[str, ...] = ("22/tcp",)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    start_command: str | None = None
    lease: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One way to rent a wanted pod: a GPU type in one cloud, at a price.

    Attributes:
        data_center_ids: It may be placed in any of these; empty for anywhere.
        bid_usd_per_gpu_hour: A spot pod at this bid; None rents on demand.
        price_usd_per_hour: For all its GPUs while it runs.
    """

    gpu_type: str
    gpu_count: int
    cloud_type: CloudType
    data_center_ids: tuple[str, ...] = ()
    min_cuda: str = ""
    bid_usd_per_gpu_hour: Decimal | None = None
    price_usd_per_hour: Decimal


@dataclass(frozen=True, kw_only=True)
class PodEdit:
    """What to change of a pod; None leaves a thing as it is.

    A new name applies at once. Anything else starts the container anew: what lies
    outside the volume is lost.
    """

    name: str | None = None
    image: str | None = None
    env: dict[str, str] | None = field(default=None, repr=False)
    ports: tuple[str, ...] | None = None
    container_disk_gb: int | None = None
    volume_gb: int | None = None
    start_command: str | None = None

    @property
    def restarts(self) -> bool:
        """Return whether the container has to be started anew for it."""
        return self != PodEdit(name=self.name)


@dataclass(frozen=True, kw_only=True)
class GPUOffer:
    """One GPU type in one cloud.

    Attributes:
        usd_per_gpu_hour: On demand; None where it is not to be had on demand.
        minimum_bid_usd_per_gpu_hour: The floor for spot; None where there is no spot,
            or the wire does not tell.
        max_gpu_count: Per pod; None where the wire does not tell.
        data_centers: Stock by data center; empty where the wire does not tell.
        cuda_versions: Of its machines; empty where the wire does not tell.
    """

    gpu_type: str
    display_name: str
    memory_gb: int
    cloud_type: CloudType
    usd_per_gpu_hour: Decimal | None
    minimum_bid_usd_per_gpu_hour: Decimal | None = None
    stock: Stock = Stock.UNKNOWN
    max_gpu_count: int | None = None
    data_centers: Mapping[str, Stock] = field(default_factory=dict)
    cuda_versions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CPUType:
    """A kind of CPU that can be rented; prices are per vCPU."""

    cpu_type: str
    display_name: str
    min_vcpu_count: int
    max_vcpu_count: int
    memory_gb_per_vcpu: Decimal
    usd_per_vcpu_hour: Decimal | None = None
    stock: Stock = Stock.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class DataCenter:
    """A place where pods run; `gpu_stock` by GPU type, empty where not told."""

    data_center_id: str
    name: str
    region: str = ""
    has_network_volumes: bool = False
    gpu_stock: Mapping[str, Stock] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NetworkVolume:
    """Storage that outlives pods, and bills until it is deleted."""

    volume_id: str
    name: str
    size_gb: int
    data_center_id: str


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template kept at RunPod: an image and its settings under a name."""

    template_id: str
    name: str
    image: str
    container_disk_gb: int = 0
    volume_gb: int = 0
    volume_mount_path: str = ""
    ports: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)
    start_command: str = ""
    is_public: bool = False
    is_serverless: bool = False


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line a pod's container, or its host, has written."""

    text: str
    is_system: bool
    written_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account behind the API key."""

    account_id: str
    balance_usd: Decimal
    spend_usd_per_hour: Decimal
    spend_limit_usd_per_hour: Decimal | None = None
