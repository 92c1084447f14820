"""GraphQL's root fields as operations of the service.

Each method bears the field's name and takes its arguments; graphql-core calls them.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from runpod_sim.graphql_view import (
    parse_instance,
    render_cpu_flavor,
    render_data_center,
    render_gpu_type,
    render_network_volume,
    render_pod,
    render_user,
)
from runpod_sim.model import Account, DeclinedError, Pod, PodSpec, Refusal
from runpod_sim.refusals import NO_CAPACITY, POD_UNKNOWN, SOMETHING_WRONG
from runpod_sim.service import Service

# The verb a fault may name instead of the field, the same for both wire faces.
VERBS = {
    "podFindAndDeployOnDemand": "deploy",
    "podRentInterruptable": "deploy",
    "deployCpuPod": "deploy",
    "podResume": "resume",
    "podBidResume": "resume",
    "podResumeZeroGpu": "resume",
    "podStop": "stop",
    "podTerminate": "terminate",
    "podEditJob": "edit",
    "podEditName": "edit",
    "podReset": "restart",
    "myself": "list",
    "pod": "get",
    "gpuTypes": "catalog",
    "cpuTypes": "catalog",
    "cpuFlavors": "catalog",
    "dataCenters": "catalog",
    "updateUserSettings": "account",
}
UNAUTHENTICATED = Refusal("Unauthorized", "UNAUTHENTICATED", 401)

Input = Mapping[str, Any]


def split_ports(text: str | None) -> tuple[str, ...]:
    """Return the entries of a ports string such as `8888/http,22/tcp`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def parse_env(rows: list[Mapping[str, str]] | None) -> tuple[tuple[str, str], ...]:
    """Return environment variables given as key and value rows."""
    return tuple((row["key"], row["value"]) for row in rows or ())


def parse_spec(given: Input) -> PodSpec:
    """Return what a deploy asks for.

    Raises:
        DeclinedError: There is neither an image nor a template.
    """
    if not given.get("imageName") and not given.get("templateId"):
        raise DeclinedError(SOMETHING_WRONG)
    center = given.get("dataCenterId")
    types = given.get("gpuTypeIdList") or [given.get("gpuTypeId")]
    return PodSpec(
        name=given.get("name") or "",
        image=given.get("imageName") or "runpod/base:0.0.0",
        gpu_type_ids=tuple(item for item in types if item),
        gpu_count=given.get("gpuCount") or 1,
        cloud_type=given.get("cloudType") or "ALL",
        docker_args=given.get("dockerArgs") or "",
        env=parse_env(given.get("env")),
        ports=split_ports(given.get("ports")),
        container_disk_gb=given.get("containerDiskInGb") or 10,
        volume_gb=given.get("volumeInGb") or 0,
        volume_mount_path=given.get("volumeMountPath") or "/workspace",
        network_volume_id=given.get("networkVolumeId"),
        data_center_ids=(center,) if center else (),
        country_code=given.get("countryCode"),
        support_public_ip=bool(given.get("supportPublicIp")),
        start_ssh=bool(given.get("startSsh")),
        start_jupyter=bool(given.get("startJupyter")),
        template_id=given.get("templateId"),
        minimum_memory_gb=given.get("minMemoryInGb") or 0,
        minimum_vcpu_count=given.get("minVcpuCount") or 0,
        cuda_versions=tuple(given.get("allowedCudaVersions") or ()),
    )


class Operations:
    """The root of one request, on behalf of the key's account."""

    def __init__(self, service: Service, account: Account | None) -> None:
        self._service = service
        self._maybe_account = account
        self._now = service.now()

    @property
    def _account(self) -> Account:
        if self._maybe_account is None:
            raise DeclinedError(UNAUTHENTICATED)
        return self._maybe_account

    def _render(self, pod: Pod) -> dict[str, Any]:
        return render_pod(self._service, pod, self._now)

    def _require(self, pod_id: str) -> Pod:
        pod = self._service.world.find_pod(self._account.id, pod_id)
        if pod is None:
            raise DeclinedError(POD_UNKNOWN)
        return pod

    # Queries --------------------------------------------------------------------

    def myself(self, _info: Any) -> dict[str, Any]:
        """Return the account behind the key."""
        return render_user(self._service, self._account, self._now)

    def pod(self, _info: Any, *, input: Input | None = None) -> dict[str, Any] | None:  # noqa: A002 - the API's name
        """Return one pod, None when there is none."""
        if not input:
            return None
        pod = self._service.world.find_pod(self._account.id, input["podId"])
        return self._render(pod) if pod else None

    def gpuTypes(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> list[dict[str, Any]]:
        """Return the GPU types."""
        wanted = input or {}
        ids = set(wanted.get("ids") or ())
        if wanted.get("id"):
            ids.add(wanted["id"])
        return [
            render_gpu_type(self._service, gpu_type)
            for gpu_type in self._service.world.catalog.gpu_types
            if not ids or gpu_type.id in ids
        ]

    def cpuTypes(self, _info: Any) -> list[dict[str, Any]]:  # noqa: N802 - the API's name
        """Return the processor models."""
        return [
            {
                "id": "AMD EPYC 9754",
                "displayName": "AMD EPYC 9754",
                "manufacturer": "AMD",
                "cores": 128,
                "threadsPerCore": 2,
                "groupId": "cpu5",
            }
        ]

    def cpuFlavors(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> list[dict[str, Any]]:
        """Return the families of CPU pods."""
        wanted = (input or {}).get("id")
        return [
            render_cpu_flavor(flavor)
            for flavor in self._service.world.catalog.cpu_flavors
            if wanted in {None, flavor.id}
        ]

    def dataCenters(self, _info: Any) -> list[dict[str, Any]]:  # noqa: N802 - the API's name
        """Return the data centers."""
        return [
            render_data_center(self._service, center)
            for center in self._service.world.catalog.data_centers
        ]

    # Pods -----------------------------------------------------------------------

    def podFindAndDeployOnDemand(  # noqa: N802 - the API's name
        self,
        info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Rent a pod on demand."""
        return self._deploy(info, parse_spec(input or {}))

    def podRentInterruptable(  # noqa: N802 - the API's name
        self,
        info: Any,
        *,
        input: Input,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Rent a spot pod."""
        bid = Decimal(repr(input.get("bidPerGpu") or 0.0))
        return self._deploy(info, replace(parse_spec(input), bid_usd_per_hour=bid))

    def deployCpuPod(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Rent a CPU pod."""
        flavor_id, vcpu, memory_gb = parse_instance(input["instanceId"])
        flavor = self._service.world.catalog.find_cpu_flavor(flavor_id)
        if flavor is None or not flavor.min_vcpu <= vcpu <= flavor.max_vcpu:
            raise DeclinedError(NO_CAPACITY)
        spec = replace(
            parse_spec(input),
            gpu_type_ids=(),
            gpu_count=0,
            cpu_flavor_id=flavor.id,
            vcpu_count=vcpu,
            memory_gb=memory_gb,
        )
        return self._deploy(info, spec)

    def _deploy(self, info: Any, spec: PodSpec) -> dict[str, Any]:
        names = ("deploy", info.field_name)
        return self._render(self._service.deploy(self._account, spec, names))

    def podResume(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped on-demand pod."""
        pod = self._service.resume(
            self._account,
            input["podId"],
            ("resume", info.field_name),
            gpu_count=input.get("gpuCount"),
        )
        return self._render(pod)

    def podBidResume(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped spot pod."""
        bid = input["bidPerGpu"]
        pod = self._service.resume(
            self._account,
            input["podId"],
            ("resume", info.field_name),
            gpu_count=input["gpuCount"],
            bid_usd_per_hour=Decimal(repr(bid)) if math.isfinite(bid) else Decimal(0),
        )
        return self._render(pod)

    def podResumeZeroGpu(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Start a stopped pod with CPUs alone."""
        pod = self._service.resume(
            self._account, input["podId"], ("resume", info.field_name), zero_gpu=True
        )
        return self._render(pod)

    def podStop(self, _info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Stop a pod."""
        return self._render(self._service.stop(self._account, input["podId"]))

    def podTerminate(self, _info: Any, *, input: Input) -> None:  # noqa: A002, N802 - the API's names
        """Delete a pod."""
        self._service.terminate(self._account, input["podId"])

    def podReset(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Restart a pod's container."""
        pod = self._service.restart(
            self._account, input["podId"], ("restart", info.field_name)
        )
        return self._render(pod)

    def podEditJob(self, info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Change a pod's container."""
        pod = self._require(input["podId"])
        old = pod.spec
        env = input.get("env")
        ports = input.get("ports")
        spec = replace(
            old,
            image=input["imageName"],
            container_disk_gb=input["containerDiskInGb"],
            env=old.env if env is None else parse_env(env),
            ports=old.ports if ports is None else split_ports(ports),
            docker_args=input.get("dockerArgs") or old.docker_args,
            volume_gb=int(input.get("volumeInGb") or old.volume_gb),
            volume_mount_path=input.get("volumeMountPath") or old.volume_mount_path,
        )
        edited = self._service.edit(
            self._account, pod.id, spec, ("edit", info.field_name)
        )
        return self._render(edited)

    def podEditName(self, _info: Any, *, input: Input) -> dict[str, Any]:  # noqa: A002, N802 - the API's names
        """Rename a pod."""
        pod = self._service.rename(self._account, input["podId"], input["name"])
        return self._render(pod)

    # Account --------------------------------------------------------------------

    def updateUserSettings(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input | None = None,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Replace the account's SSH public keys."""
        world = self._service.world
        if input is not None:
            world.set_pub_key(self._account.id, input["pubKey"])
        return render_user(self._service, self._account, self._now)

    def createNetworkVolume(  # noqa: N802 - the API's name
        self,
        _info: Any,
        *,
        input: Input,  # noqa: A002 - the API's name
    ) -> dict[str, Any]:
        """Make a network volume."""
        volume = self._service.create_network_volume(
            self._account,
            input.get("name") or "",
            input.get("size") or 10,
            input["dataCenterId"],
        )
        return render_network_volume(self._service, volume)

    def deleteNetworkVolume(self, _info: Any, *, input: Input) -> None:  # noqa: A002, N802 - the API's names
        """Delete a network volume."""
        world = self._service.world
        world.delete_network_volume(self._account.id, input["id"], self._service.now())
