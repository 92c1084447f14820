"""The shapes of REST v2's answers: the parts that are read, as msgspec reads them.

Almost everything may be missing: what v2 promises is more than what it once kept.
Their meaning is `rest_wire`'s matter.
"""

from decimal import Decimal

import msgspec


class RestPort(msgspec.Struct, gc=False):
    """A row of `runtime.ports`."""

    private: int | None = None
    public: int | None = None
    type: str | None = None
    ip: str | None = None


class RestGPULoad(msgspec.Struct, rename="camel", gc=False):
    """A row of `runtime.gpus`."""

    util: int | None = None
    memory_util: int | None = None


class RestRuntime(msgspec.Struct, gc=False):
    """What the host reports of a pod's container."""

    uptime: int | None = None
    gpus: list[RestGPULoad | None] | None = None
    ports: list[RestPort | None] | None = None


class RestPersistent(msgspec.Struct, gc=False):
    """A volume disk."""

    size: int = 0
    path: str = ""


class RestNetworkMount(msgspec.Struct, rename="camel", gc=False):
    """A mounted network volume."""

    volume_id: str | None = None


class RestMounts(msgspec.Struct, gc=False):
    """A pod's storage."""

    persistent: RestPersistent | None = None
    network: list[RestNetworkMount | None] | None = None


class RestGPU(msgspec.Struct, gc=False):
    """A pod's GPUs."""

    id: str | None = None
    count: int | None = None


class RestCPU(msgspec.Struct, rename="camel", gc=False):
    """A CPU pod's processors and memory."""

    vcpu_count: Decimal | None = None
    memory: Decimal | None = None


class RestSSHEndpoint(msgspec.Struct, gc=False):
    """One way to reach a pod."""

    username: str | None = None


class RestSSH(msgspec.Struct, gc=False):
    """Both ways to reach a pod."""

    proxy: RestSSHEndpoint | None = None


class RestCluster(msgspec.Struct, gc=False):
    """The cluster a pod belongs to."""

    id: str | None = None


class RestPod(msgspec.Struct, rename="camel", gc=False):
    """A pod."""

    id: str
    status: str
    name: str | None = None
    image: str | None = None
    disk: Decimal | None = None
    mounts: RestMounts | None = None
    ports: list[str] | None = None
    env: dict[str, str] | None = None
    gpu: RestGPU | None = None
    cpu: RestCPU | None = None
    cloud: str | None = None
    data_center_id: str | None = None
    cuda_version: str | None = None
    ssh: RestSSH | None = None
    cluster: RestCluster | None = None
    cost: Decimal | None = None
    locked: bool | None = None
    runtime: RestRuntime | None = None
    created_at: str | None = None
    started_at: str | None = None


class RestPods(msgspec.Struct, gc=False):
    """The account's pods."""

    pods: list[RestPod]


class RestPlace(msgspec.Struct, gc=False):
    """Stock by the id of a data center, or of what it has."""

    id: str | None = None
    availability: str | None = None


class RestCUDA(msgspec.Struct, gc=False):
    """A CUDA version that a GPU type's machines have."""

    version: str | None = None


class RestPerCloud(msgspec.Struct, gc=False):
    """A figure for each cloud."""

    secure: Decimal | None = None
    community: Decimal | None = None


class RestGPUType(msgspec.Struct, rename="camel", gc=False):
    """A row of the GPU catalogue."""

    id: str | None = None
    name: str | None = None
    memory: int | None = None
    secure: bool | None = None
    community: bool | None = None
    price: RestPerCloud | None = None
    max_count: RestPerCloud | None = None
    availability: str | None = None
    data_centers: list[RestPlace | None] | None = None
    cuda_versions: list[RestCUDA | None] | None = None


class RestGPUTypes(msgspec.Struct, gc=False):
    """The GPU catalogue."""

    gpus: list[RestGPUType]


class RestRange(msgspec.Struct, gc=False):
    """From, to."""

    min: int | None = None
    max: int | None = None


class RestCPUPrice(msgspec.Struct, rename="camel", gc=False):
    """What a vCPU costs."""

    secure_per_vcpu: Decimal | None = None


class RestCPUType(msgspec.Struct, rename="camel", gc=False):
    """A row of the CPU catalogue."""

    id: str | None = None
    name: str | None = None
    vcpu: RestRange | None = None
    ram_gb_per_vcpu: Decimal | None = None
    price: RestCPUPrice | None = None
    availability: str | None = None


class RestCPUTypes(msgspec.Struct, gc=False):
    """The CPU catalogue."""

    cpus: list[RestCPUType]


class RestDataCenter(msgspec.Struct, rename="camel", gc=False):
    """A data center."""

    id: str | None = None
    name: str | None = None
    region: str | None = None
    network_volume_types: list[str] | None = None
    gpu_availability: list[RestPlace | None] | None = None


class RestDataCenters(msgspec.Struct, rename="camel", gc=False):
    """The data centers."""

    data_centers: list[RestDataCenter]


class RestNetworkVolume(msgspec.Struct, rename="camel", gc=False):
    """A network volume."""

    id: str
    name: str | None = None
    size: int | None = None
    data_center: str | None = None


class RestNetworkVolumes(msgspec.Struct, rename="camel", gc=False):
    """The account's network volumes."""

    network_volumes: list[RestNetworkVolume]


class RestTemplate(msgspec.Struct, gc=False):
    """A template kept at RunPod."""

    id: str
    name: str | None = None
    image: str | None = None
    args: str | None = None
    disk: int | None = None
    mounts: RestMounts | None = None
    ports: list[str] | None = None
    env: dict[str, str] | None = None
    serverless: bool | None = None
    public: bool | None = None


class RestTemplates(msgspec.Struct, gc=False):
    """The account's templates."""

    templates: list[RestTemplate]


class RestKeys(msgspec.Struct, gc=False):
    """The account's public SSH keys."""

    keys: list[str]


class RestLogEvent(msgspec.Struct, gc=False):
    """The data of one event of a log."""

    line: str = ""
    source: str | None = None
    ts: str | None = None
