"""RunPod's GraphQL API: documents as constants, values only ever as variables.

Answers of refused requests are HTTP 200 with `errors`. A mutation that deploys may
also answer null without any error, which means that there was no capacity.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from runpod_client import refusals, wire
from runpod_client.errors import (
    AuthenticationError,
    NoCapacityError,
    ProtocolError,
)
from runpod_client.model import Account, CloudType, GPUType, Pod, PodSpec
from runpod_client.transport import Request, Transport

Data = TypeVar("Data", bound=msgspec.Struct)

# what a deploy answers with: the container is not there yet, so no runtime
_POD_FIELDS = """
  id name desiredStatus lastStatusChange imageName gpuCount costPerHr
  adjustedCostPerHr createdAt lastStartedAt machineId podType env volumeInGb
  containerDiskInGb memoryInGb vcpuCount locked
  machine { podHostId gpuTypeId gpuDisplayName secureCloud dataCenterId }
"""
_RUNTIME_FIELDS = """
  runtime {
    uptimeInSeconds
    ports { ip isIpPublic privatePort publicPort type }
    gpus { id gpuUtilPercent memoryUtilPercent }
  }
"""

CREATE_ON_DEMAND = f"""
mutation createPod($input: PodFindAndDeployOnDemandInput) {{
  created: podFindAndDeployOnDemand(input: $input) {{ {_POD_FIELDS} }}
}}"""
CREATE_SPOT = f"""
mutation createSpotPod($input: PodRentInterruptableInput!) {{
  created: podRentInterruptable(input: $input) {{ {_POD_FIELDS} }}
}}"""
LIST_PODS = f"""
query listPods {{
  myself {{ pods {{ {_POD_FIELDS} {_RUNTIME_FIELDS} }} }}
}}"""
FIND_POD = f"""
query findPod($input: PodFilter) {{
  pod(input: $input) {{ {_POD_FIELDS} {_RUNTIME_FIELDS} }}
}}"""
START_ON_DEMAND = """
mutation startPod($input: PodResumeInput!) {
  podResume(input: $input) { id desiredStatus }
}"""
START_SPOT = """
mutation startSpotPod($input: PodBidResumeInput!) {
  podBidResume(input: $input) { id desiredStatus }
}"""
STOP_POD = """
mutation stopPod($input: PodStopInput!) {
  podStop(input: $input) { id desiredStatus }
}"""
TERMINATE_POD = """
mutation terminatePod($input: PodTerminateInput!) {
  podTerminate(input: $input)
}"""
LIST_GPU_TYPES = """
query listGpuTypes($price: GpuLowestPriceInput) {
  gpuTypes {
    id displayName memoryInGb secureCloud communityCloud securePrice communityPrice
    lowestPrice(input: $price) { minimumBidPrice uninterruptablePrice stockStatus }
  }
}"""
GET_ACCOUNT = """
query getAccount {
  myself { id clientBalance currentSpendPerHr spendLimit }
}"""

DOCUMENTS: Mapping[str, str] = {
    "createPod": CREATE_ON_DEMAND,
    "createSpotPod": CREATE_SPOT,
    "listPods": LIST_PODS,
    "findPod": FIND_POD,
    "startPod": START_ON_DEMAND,
    "startSpotPod": START_SPOT,
    "stopPod": STOP_POD,
    "terminatePod": TERMINATE_POD,
    "listGpuTypes": LIST_GPU_TYPES,
    "getAccount": GET_ACCOUNT,
}

_CLOUD_TYPES: Mapping[CloudType, str] = {
    CloudType.SECURE: "SECURE",
    CloudType.COMMUNITY: "COMMUNITY",
    CloudType.ANY: "ALL",
}


class _Envelope(msgspec.Struct, Generic[Data]):
    """What every answer is wrapped in."""

    data: Data | None = None
    errors: list[refusals.Refusal] | None = None


class _CreatedData(msgspec.Struct):
    created: wire.WirePod | None = None


class _PodData(msgspec.Struct):
    pod: wire.WirePod | None = None


class _MyPods(msgspec.Struct):
    pods: list[wire.WirePod | None] | None = None


class _MyPodsData(msgspec.Struct):
    myself: _MyPods | None = None


class _AccountData(msgspec.Struct):
    myself: wire.WireAccount | None = None


class _GPUTypesData(msgspec.Struct, rename="camel"):
    gpu_types: list[wire.WireGPUType | None] | None = None


class _AnyData(msgspec.Struct):
    """The answer of a mutation whose effect is observed, not believed."""


class GraphQLCloud:
    """`Cloud` over GraphQL."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def create_pod(self, spec: PodSpec, gpu_type: str) -> Pod:
        """Rent a pod; see `Cloud.create_pod`."""
        operation = "createSpotPod" if spec.bid_usd_per_gpu_hour else "createPod"
        data = self._mutate(
            operation, {"input": render_deploy_input(spec, gpu_type)}, _CreatedData
        )
        if data is None or data.created is None:
            raise NoCapacityError(
                f"RunPod has no {gpu_type} free that fits",
                gpu_type=gpu_type,
                operation=operation,
                hint="Try again later or name further GPU types.",
            )
        return wire.parse_pod(data.created)

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""
        data = self._query("listPods", {}, _MyPodsData)
        myself = _require_account(data.myself, "listPods")
        return [wire.parse_pod(pod) for pod in myself.pods or [] if pod is not None]

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""
        data = self._query("findPod", {"input": {"podId": pod_id}}, _PodData)
        return None if data.pod is None else wire.parse_pod(data.pod)

    def start_pod(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None = None
    ) -> None:
        """Ask for a container to be started; a spot pod needs a bid for it."""
        wanted: dict[str, Any] = {"podId": pod.pod_id, "gpuCount": pod.gpu_count}
        if pod.is_spot:
            bid = bid_usd_per_gpu_hour or pod.price_usd_per_hour / (pod.gpu_count or 1)
            wanted["bidPerGpu"] = bid
        operation = "startSpotPod" if pod.is_spot else "startPod"
        self._mutate(operation, {"input": wanted}, _AnyData)

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released."""
        self._mutate("stopPod", {"input": {"podId": pod_id}}, _AnyData)

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed."""
        self._mutate("terminatePod", {"input": {"podId": pod_id}}, _AnyData)

    def list_gpu_types(self, *, gpu_count: int = 1) -> list[GPUType]:
        """Return the GPU catalogue with today's prices."""
        variables = {"price": {"gpuCount": gpu_count}}
        data = self._query("listGpuTypes", variables, _GPUTypesData)
        return wire.parse_gpu_types(data.gpu_types or [])

    def get_account(self) -> Account:
        """Return the account's balance and spending."""
        data = self._query("getAccount", {}, _AccountData)
        return wire.parse_account(_require_account(data.myself, "getAccount"))

    def _query(
        self, operation: str, variables: dict[str, Any], data_type: type[Data]
    ) -> Data:
        data = self._call(operation, variables, data_type, is_read=True)
        if data is None:
            raise ProtocolError(
                f"RunPod's answer to {operation} holds no data", operation=operation
            )
        return data

    def _mutate(
        self, operation: str, variables: dict[str, Any], data_type: type[Data]
    ) -> Data | None:
        return self._call(operation, variables, data_type, is_read=False)

    def _call(
        self,
        operation: str,
        variables: dict[str, Any],
        data_type: type[Data],
        *,
        is_read: bool,
    ) -> Data | None:
        body: dict[str, Any] = {
            "operationName": operation,
            "query": DOCUMENTS[operation],
        }
        if variables:
            body["variables"] = variables
        envelope_type = _Envelope[data_type]  # type: ignore[valid-type]  # msgspec reads the parameter at run time

        def parse(answer: bytes) -> Data | None:
            envelope = wire.decode(answer, envelope_type, operation=operation)
            if envelope.errors:
                raise refusals.render_error(envelope.errors, operation=operation)
            return envelope.data

        request = Request(
            operation=operation, path="/graphql", body=body, is_read=is_read
        )
        return self._transport.send(request, parse)


def render_deploy_input(spec: PodSpec, gpu_type: str) -> dict[str, Any]:
    """Return the input of the deploying mutations for one GPU type."""
    has_ssh = "22/tcp" in spec.ports
    rendered: dict[str, Any] = {
        "name": spec.name,
        "imageName": spec.image,
        "gpuTypeId": gpu_type,
        "gpuCount": spec.gpu_count,
        "cloudType": _CLOUD_TYPES[spec.cloud_type],
        "containerDiskInGb": spec.container_disk_gb,
        "volumeInGb": spec.volume_gb,
        "volumeMountPath": spec.volume_mount_path,
        "ports": ",".join(spec.ports),
        "env": [{"key": key, "value": value} for key, value in spec.env.items()],
        "startSsh": has_ssh,
        # Community hosts may lack a public address, and then nothing reaches port 22
        "supportPublicIp": has_ssh,
        "dataCenterId": spec.data_center_id,
        "bidPerGpu": spec.bid_usd_per_gpu_hour,
        # "" is not the same as absent: it keeps some images' own start script away
        "dockerArgs": spec.start_command,
    }
    return {key: value for key, value in rendered.items() if value is not None}


def _require_account(account: Data | None, operation: str) -> Data:
    """Return the account; RunPod answers null where it does not know the key's."""
    if account is None:
        raise AuthenticationError(
            "RunPod knows no account behind the API key",
            operation=operation,
            hint=refusals.KEY_HINT,
        )
    return account
