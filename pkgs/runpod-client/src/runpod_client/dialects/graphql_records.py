"""The shapes of GraphQL's answers: what is selected, as msgspec reads it.

Everything may be null but what a pod cannot be without. Their meaning is
`graphql_wire`'s matter.
"""

from decimal import Decimal

import msgspec


class WirePort(msgspec.Struct, rename="camel", gc=False):
    """A row of `runtime.ports`."""

    ip: str | None = None
    is_ip_public: bool | None = None
    private_port: int | None = None
    public_port: int | None = None
    type: str | None = None


class WireGPU(msgspec.Struct, rename="camel", gc=False):
    """A row of `runtime.gpus`."""

    id: str | None = None
    gpu_util_percent: int | None = None
    memory_util_percent: int | None = None


class WireRuntime(msgspec.Struct, rename="camel", gc=False):
    """What the host reports of a pod's container."""

    uptime_in_seconds: int | None = None
    ports: list[WirePort | None] | None = None
    gpus: list[WireGPU | None] | None = None


class WireMachine(msgspec.Struct, rename="camel", gc=False):
    """The machine a pod was placed on."""

    pod_host_id: str | None = None
    gpu_type_id: str | None = None
    gpu_display_name: str | None = None
    secure_cloud: bool | None = None
    data_center_id: str | None = None


class WirePod(msgspec.Struct, rename="camel", gc=False):
    """A pod."""

    id: str
    desired_status: str
    name: str | None = None
    image_name: str | None = None
    gpu_count: int | None = None
    cost_per_hr: Decimal | None = None
    adjusted_cost_per_hr: Decimal | None = None
    last_status_change: str | None = None
    last_started_at: str | None = None
    created_at: str | None = None
    machine_id: str | None = None
    pod_type: str | None = None
    env: list[str | None] | None = None
    ports: str | None = None
    volume_in_gb: Decimal | None = None
    container_disk_in_gb: Decimal | None = None
    memory_in_gb: Decimal | None = None
    vcpu_count: Decimal | None = None
    network_volume_id: str | None = None
    locked: bool | None = None
    runtime: WireRuntime | None = None
    machine: WireMachine | None = None


class WirePrice(msgspec.Struct, rename="camel", gc=False):
    """The lowest price of a GPU type in one cloud now."""

    minimum_bid_price: Decimal | None = None
    uninterruptable_price: Decimal | None = None
    stock_status: str | None = None


class WireGPUType(msgspec.Struct, rename="camel", gc=False):
    """A row of the GPU catalogue."""

    id: str | None = None
    display_name: str | None = None
    memory_in_gb: int | None = None
    secure_cloud: bool | None = None
    community_cloud: bool | None = None
    secure_price: Decimal | None = None
    community_price: Decimal | None = None
    max_gpu_count_secure_cloud: int | None = None
    max_gpu_count_community_cloud: int | None = None
    secure: WirePrice | None = None
    community: WirePrice | None = None


class WireAvailability(msgspec.Struct, rename="camel", gc=False):
    """A GPU type's stock in one data center."""

    gpu_type_id: str | None = None
    available: bool | None = None
    stock_status: str | None = None


class WireDataCenter(msgspec.Struct, rename="camel", gc=False):
    """A data center, with its stock once or once per cloud."""

    id: str | None = None
    name: str | None = None
    region: str | None = None
    storage_support: bool | None = None
    gpu_availability: list[WireAvailability | None] | None = None
    secure: list[WireAvailability | None] | None = None
    community: list[WireAvailability | None] | None = None


class WireCPUFlavor(msgspec.Struct, rename="camel", gc=False):
    """A kind of CPU pods."""

    id: str | None = None
    display_name: str | None = None
    min_vcpu: Decimal | None = None
    max_vcpu: Decimal | None = None
    ram_multiplier: Decimal | None = None


class WireNetworkVolume(msgspec.Struct, rename="camel", gc=False):
    """A network volume."""

    id: str | None = None
    name: str | None = None
    size: int | None = None
    data_center_id: str | None = None


class WireVariable(msgspec.Struct, gc=False):
    """A variable of a template."""

    key: str | None = None
    value: str | None = None


class WireTemplate(msgspec.Struct, rename="camel", gc=False):
    """A template kept at RunPod."""

    id: str | None = None
    name: str | None = None
    image_name: str | None = None
    container_disk_in_gb: int | None = None
    volume_in_gb: int | None = None
    volume_mount_path: str | None = None
    ports: str | None = None
    env: list[WireVariable | None] | None = None
    docker_args: str | None = None
    is_public: bool | None = None
    is_serverless: bool | None = None


class WireAccount(msgspec.Struct, rename="camel", gc=False):
    """The account's money."""

    id: str | None = None
    client_balance: Decimal | None = None
    current_spend_per_hr: Decimal | None = None
    spend_limit: Decimal | None = None
