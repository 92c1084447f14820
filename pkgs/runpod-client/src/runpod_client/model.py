"""The values RunPod's world is made of: frozen, without I/O and without wire names.

Money is `Decimal` in US dollars. Every `_at` is an aware UTC datetime.
"""

import enum
from dataclasses import dataclass, field
from datetime import datetime
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
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"


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
        status: What it really is; `status_reason` says why, in RunPod's words.
        price_usd_per_hour: What it is billed while running, GPUs together.
        started_at: When its container's present start was asked for. Host keys and
            public ports are new at each start, so this tells starts apart.
        uptime_seconds: The container's real uptime; None while it has none.
        env: Its environment as RunPod returns it, secrets in the clear: never log it.
        proxy_user: User name at RunPod's SSH proxy; empty while no machine is known.
    """

    pod_id: str
    name: str
    status: PodStatus
    status_reason: str = ""
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
    proxy_user: str = ""
    is_locked: bool = False

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


@dataclass(frozen=True, kw_only=True)
class PodSpec:
    """What pod is wanted.

    Attributes:
        gpu_types: Acceptable GPU type ids, best first; the client walks on to the
            next one where the first is out of stock.
        ports: As RunPod writes them, for instance `22/tcp` or `8188/http`.
        bid_usd_per_gpu_hour: A spot pod at this bid; None rents on demand.
        start_command: Replaces the image's command; None keeps it.
    """

    name: str
    gpu_types: tuple[str, ...]
    image: str
    gpu_count: int = 1
    cloud_type: CloudType = CloudType.ANY
    container_disk_gb: int = 20
    volume_gb: int = 0
    volume_mount_path: str = "/workspace"
    ports: tuple[str, ...] = ("22/tcp",)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    data_center_id: str | None = None
    bid_usd_per_gpu_hour: Decimal | None = None
    start_command: str | None = None


@dataclass(frozen=True, kw_only=True)
class GPUType:
    """A kind of GPU that can be rented, with today's lowest prices per GPU-hour.

    Attributes:
        stock: RunPod's own hint (High, Medium, Low); empty when it gives none.
        on_demand_usd_per_hour: None where it is not offered at all now.
        minimum_bid_usd_per_hour: The floor for spot; None where there is no spot.
    """

    gpu_type: str
    display_name: str
    memory_gb: int
    is_secure: bool
    is_community: bool
    stock: str = ""
    on_demand_usd_per_hour: Decimal | None = None
    minimum_bid_usd_per_hour: Decimal | None = None
    secure_usd_per_hour: Decimal | None = None
    community_usd_per_hour: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account behind the API key."""

    account_id: str
    balance_usd: Decimal
    spend_usd_per_hour: Decimal
    spend_limit_usd_per_hour: Decimal | None = None
