"""RunPod's GraphQL API as a `Cloud`.

Answers of refused requests are HTTP 200 with `errors`. A mutation that deploys may
also answer null without any error, which means that there was no capacity. It has no
call that restarts in place, and none for logs.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from runpod_client import refusals
from runpod_client.dialects import graphql_inputs as inputs
from runpod_client.dialects import graphql_records as records
from runpod_client.dialects import graphql_wire as wire
from runpod_client.dialects.capabilities import Dialect, render_missing
from runpod_client.dialects.graphql_calls import Data, GraphQLCalls
from runpod_client.dialects.graphql_documents import DOCUMENTS
from runpod_client.errors import (
    AuthenticationError,
    NoCapacityError,
    NotFoundError,
    ProtocolError,
    RejectedError,
)
from runpod_client.model import (
    Account,
    Capability,
    CPUType,
    DataCenter,
    GPUOffer,
    LogLine,
    NetworkVolume,
    Placement,
    Pod,
    PodEdit,
    PodSpec,
    PodStatus,
    Template,
)
from runpod_client.transport import Priority, Transport

__all__ = ["DOCUMENTS", "GraphQLCloud"]

Item = TypeVar("Item")


class _CreatedData(msgspec.Struct):
    created: records.WirePod | None = None


class _PodData(msgspec.Struct):
    pod: records.WirePod | None = None


class _User(msgspec.Struct, rename="camel"):
    """The account, of which each document selects a part."""

    pods: list[records.WirePod | None] | None = None
    pub_key: str | None = None
    network_volumes: list[records.WireNetworkVolume | None] | None = None
    pod_templates: list[records.WireTemplate | None] | None = None


class _UserData(msgspec.Struct):
    myself: _User | None = None


class _AccountData(msgspec.Struct):
    myself: records.WireAccount | None = None


class _CatalogData(msgspec.Struct, rename="camel"):
    gpu_types: list[records.WireGPUType | None] | None = None
    data_centers: list[records.WireDataCenter | None] | None = None
    cpu_flavors: list[records.WireCPUFlavor | None] | None = None


class _VolumeData(msgspec.Struct, rename="camel"):
    create_network_volume: records.WireNetworkVolume | None = None


class _TemplateData(msgspec.Struct, rename="camel"):
    save_template: records.WireTemplate | None = None


class GraphQLCloud:
    """`Cloud` over GraphQL."""

    def __init__(
        self, transport: Transport, *, read_priority: Priority = Priority.CONTROL
    ) -> None:
        """Speak over a transport.

        Args:
            read_priority: Of reads; what is only watched waits for what is controlled.
        """
        self._calls = GraphQLCalls(transport, read_priority)

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def create_pod(self, spec: PodSpec, placement: Placement) -> Pod:
        """Rent a pod at one place; it bills from the moment it returns.

        The API takes one data center; where several would do they are asked in turn,
        since a lack of capacity surely made nothing.
        """
        *first, last = placement.data_center_ids or (None,)
        for data_center_id in first:
            try:
                return self._deploy(spec, placement, data_center_id)
            except NoCapacityError:
                continue
        return self._deploy(spec, placement, last)

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""
        rows = self._query_user("listPods").pods
        if rows is None:
            # no list is not an empty one: creates would be given up by it
            raise ProtocolError(
                "RunPod's answer to listPods holds no pods", operation="listPods"
            )
        return [wire.parse_pod(row) for row in rows if row is not None]

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""
        data = self._calls.query("findPod", _PodData, {"input": {"podId": pod_id}})
        return None if data.pod is None else wire.parse_pod(data.pod)

    def start_pod(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None = None
    ) -> None:
        """Ask for a container to be started; a spot pod needs a bid for it."""
        if pod.is_spot:
            wanted = inputs.render_spot_start(pod, bid_usd_per_gpu_hour)
            self._calls.change("startSpotPod", {"input": wanted})
        else:
            self._calls.change("startPod", {"input": inputs.render_start(pod)})

    def start_pod_without_gpus(self, pod_id: str) -> None:
        """Ask for a stopped pod to be started with CPUs alone, to reach its volume."""
        self._calls.change("startPodWithoutGpus", {"input": {"podId": pod_id}})

    def restart_pod(self, pod_id: str) -> None:  # noqa: ARG002  # the protocol's
        """Refuse: no such mutation exists."""
        raise render_missing(
            Capability.RESTART, Dialect.GRAPHQL, operation="restartPod"
        )

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released."""
        try:
            self._end("stopPod", pod_id)
        except RejectedError:
            # a stop that is sent again after a lost answer finds nothing to stop
            seen = self.find_pod(pod_id)
            if seen is None or seen.status is not PodStatus.STOPPED:
                raise

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed."""
        self._end("terminatePod", pod_id)

    def _end(self, operation: str, pod_id: str) -> None:
        self._calls.change(
            operation,
            {"input": {"podId": pod_id}},
            is_idempotent=True,
            ends_spending=True,
        )

    def rename_pod(self, pod_id: str, wire_name: str) -> None:
        """Give a pod another name; its container runs on."""
        wanted = {"podId": pod_id, "name": wire_name}
        self._calls.change("renamePod", {"input": wanted}, is_idempotent=True)

    def edit_pod(self, pod: Pod, edit: PodEdit) -> None:
        """Change what a pod runs; its container starts anew."""
        self._calls.change("editPod", {"input": inputs.render_edit(pod, edit)})

    def read_logs(
        self,
        pod_id: str,  # noqa: ARG002  # the protocol's
        *,
        is_system: bool,  # noqa: ARG002
        tail: int = 200,  # noqa: ARG002
        until: Callable[[LogLine], bool] | None = None,  # noqa: ARG002
    ) -> list[LogLine]:
        """Refuse: no such query exists."""
        raise render_missing(Capability.LOGS, Dialect.GRAPHQL, operation="readLogs")

    def list_gpu_offers(self, *, gpu_count: int = 1) -> list[GPUOffer]:
        """Return the GPU catalogue of both clouds with today's prices, by one call."""
        secure = {"gpuCount": gpu_count, "secureCloud": True}
        community = {"gpuCount": gpu_count, "secureCloud": False}
        variables = {
            "securePrice": secure,
            "communityPrice": community,
            "secureStock": secure,
            "communityStock": community,
        }
        data = self._calls.query("listGpuTypes", _CatalogData, variables)
        return wire.parse_gpu_offers(data.gpu_types or [], data.data_centers or [])

    def list_cpu_types(self) -> list[CPUType]:
        """Return the CPU catalogue, without prices: GraphQL prices single instances."""
        data = self._calls.query("listCpuTypes", _CatalogData)
        rows = data.cpu_flavors or []
        return [wire.parse_cpu_type(row) for row in rows if row and row.id]

    def list_data_centers(self) -> list[DataCenter]:
        """Return the data centers with their stock of single GPUs."""
        variables = {"stock": {"gpuCount": 1}}
        data = self._calls.query("listDataCenters", _CatalogData, variables)
        rows = data.data_centers or []
        return [wire.parse_data_center(row) for row in rows if row and row.id]

    def get_account(self) -> Account:
        """Return the account's balance and spending."""
        data = self._calls.query("getAccount", _AccountData)
        return wire.parse_account(_require_account(data.myself, "getAccount"))

    def list_account_keys(self) -> list[str]:
        """Return the account's public SSH keys, an authorized_keys line each."""
        text = self._query_user("listAccountKeys").pub_key or ""
        return [line.strip() for line in text.splitlines() if line.strip()]

    def replace_account_keys(self, keys: Sequence[str]) -> None:
        """Make these the account's only SSH keys."""
        # RunPod keeps one text, and joins keys by an empty line itself
        wanted = {"pubKey": "\n\n".join(keys)}
        self._calls.change("replaceAccountKeys", {"input": wanted})

    def list_network_volumes(self) -> list[NetworkVolume]:
        """Return the account's network volumes."""
        rows = self._query_user("listNetworkVolumes").network_volumes or []
        return [wire.parse_network_volume(row) for row in rows if row is not None]

    def create_network_volume(
        self, *, name: str, size_gb: int, data_center_id: str
    ) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted."""
        operation = "createNetworkVolume"
        wanted = {"name": name, "size": size_gb, "dataCenterId": data_center_id}
        data = self._calls.mutate(operation, _VolumeData, {"input": wanted})
        made = data.create_network_volume if data else None
        return wire.parse_network_volume(_require_made(made, operation))

    def delete_network_volume(self, volume_id: str) -> None:
        """Destroy a network volume and what is on it."""
        self._calls.change("deleteNetworkVolume", {"input": {"id": volume_id}})

    def list_templates(self) -> list[Template]:
        """Return the account's own templates."""
        rows = self._query_user("listTemplates").pod_templates or []
        return [wire.parse_template(row) for row in rows if row is not None]

    def create_template(self, template: Template) -> Template:
        """Keep a template; its id is RunPod's to give."""
        operation = "createTemplate"
        variables = {"input": inputs.render_template(template)}
        data = self._calls.mutate(operation, _TemplateData, variables)
        made = data.save_template if data else None
        return wire.parse_template(_require_made(made, operation))

    def delete_template(self, template_id: str) -> None:
        """Delete a template of the account.

        The API deletes by name, so the name is looked up, and must be the only such.
        """
        templates = self.list_templates()
        name = next((t.name for t in templates if t.template_id == template_id), None)
        if name is None:
            raise NotFoundError(
                f"the account has no template {template_id}",
                operation="deleteTemplate",
                hint="List them: runpod-client templates list --account",
            )
        if sum(t.name == name for t in templates) > 1:
            raise RejectedError(
                f"GraphQL deletes templates by name, and several are named {name!r}",
                operation="deleteTemplate",
                hint="Rename one of them at https://console.runpod.io/user/templates.",
            )
        self._calls.change("deleteTemplate", {"name": name})

    def _deploy(
        self, spec: PodSpec, placement: Placement, data_center_id: str | None
    ) -> Pod:
        is_spot = placement.bid_usd_per_gpu_hour is not None
        operation = "createSpotPod" if is_spot else "createPod"
        wanted = inputs.render_deploy(spec, placement, data_center_id)
        data = self._calls.mutate(operation, _CreatedData, {"input": wanted})
        if data is None or data.created is None:
            raise NoCapacityError(
                f"RunPod made no pod of {placement.gpu_type} and gave no reason",
                gpu_type=placement.gpu_type,
                operation=operation,
                hint="Try again later, or name further GPU types.",
            )
        return wire.parse_pod(data.created)

    def _query_user(self, operation: str) -> _User:
        data = self._calls.query(operation, _UserData)
        return _require_account(data.myself, operation)


def _require_made(made: Item | None, operation: str) -> Item:
    if made is None:
        raise ProtocolError(
            f"RunPod's answer to {operation} does not say what was made",
            operation=operation,
        )
    return made


def _require_account(account: Data | None, operation: str) -> Data:
    """Return the account; RunPod answers null where it does not know the key's."""
    if account is None:
        raise AuthenticationError(
            "RunPod knows no account behind the API key",
            operation=operation,
            hint=refusals.KEY_HINT,
        )
    return account
