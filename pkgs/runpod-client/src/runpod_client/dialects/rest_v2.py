"""RunPod's REST API, version 2, as a `Cloud`.

It has no spot pods, no balance, and no way to start a pod without its GPUs.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from runpod_client.dialects import rest_bodies as bodies
from runpod_client.dialects import rest_records as records
from runpod_client.dialects import rest_wire as wire
from runpod_client.dialects.capabilities import Dialect, render_missing
from runpod_client.dialects.rest_calls import RestCalls, quoted
from runpod_client.errors import NotFoundError, RejectedError
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

LOG_SECONDS = 3.0  # a log has no end; what was written is sent within this time
MAX_LOG_LINES = 5000  # v2 sends no more
_WITH_STOCK = {"include": "AVAILABILITY", "product": "POD"}


class RestV2Cloud:
    """`Cloud` over REST v2."""

    def __init__(
        self,
        transport: Transport,
        *,
        read_priority: Priority = Priority.CONTROL,
        log_seconds: float = LOG_SECONDS,
    ) -> None:
        """Speak over a transport.

        Args:
            read_priority: Of reads; what is only watched waits for what is controlled.
            log_seconds: How long a log, which has no end, is read at most.
        """
        self._calls = RestCalls(transport, read_priority)
        self._log_seconds = log_seconds

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def create_pod(self, spec: PodSpec, placement: Placement) -> Pod:
        """Rent a pod at one place; it bills from the moment it returns."""
        body = bodies.render_create(spec, placement)
        made = self._calls.make("createPod", "/pods", records.RestPod, body)
        return wire.parse_pod(made)

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account, without the members of clusters."""
        answer = self._calls.read("listPods", "/pods", records.RestPods)
        return wire.parse_pods(answer.pods)

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""
        found = self._find(pod_id)
        return None if found is None else wire.parse_pod(found)

    def start_pod(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None = None
    ) -> None:
        """Ask for a container to be started anew; it bills again."""
        if pod.is_spot or bid_usd_per_gpu_hour is not None:
            raise render_missing(Capability.SPOT, Dialect.REST_V2, operation="startPod")
        self._act("startPod", pod.pod_id, "start")

    def start_pod_without_gpus(self, pod_id: str) -> None:  # noqa: ARG002  # the protocol's
        """Refuse: there is no such action."""
        raise render_missing(
            Capability.START_WITHOUT_GPUS,
            Dialect.REST_V2,
            operation="startPodWithoutGpus",
        )

    def restart_pod(self, pod_id: str) -> None:
        """Ask for a running pod's container to be restarted in place."""
        self._act("restartPod", pod_id, "restart")

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released."""
        try:
            self._act("stopPod", pod_id, "stop", ends_spending=True)
        except RejectedError as error:
            # a stop that is sent again after a lost answer finds nothing to stop
            seen = self.find_pod(pod_id) if error.http_status == 409 else None
            if seen is None or seen.status is not PodStatus.STOPPED:
                raise

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed."""
        self._calls.change(
            "terminatePod", "DELETE", f"/pods/{quoted(pod_id)}", ends_spending=True
        )

    def rename_pod(self, pod_id: str, wire_name: str) -> None:
        """Give a pod another name."""
        path = f"/pods/{quoted(pod_id)}"
        body = {"name": wire_name}
        self._calls.change("renamePod", "PATCH", path, body, is_idempotent=True)

    def edit_pod(self, pod: Pod, edit: PodEdit) -> None:
        """Change what a pod runs; its container starts anew."""
        mount_path = ""
        if edit.volume_gb is not None:
            # a mount is changed as a whole, and the model does not keep its path
            mount_path = self._get_mount_path(pod.pod_id)
        body = bodies.render_update(edit, volume_mount_path=mount_path)
        self._calls.change("editPod", "PATCH", f"/pods/{quoted(pod.pod_id)}", body)

    def read_logs(
        self,
        pod_id: str,
        *,
        is_system: bool,
        tail: int = 200,
        until: Callable[[LogLine], bool] | None = None,
    ) -> list[LogLine]:
        """Return the last lines of a pod's host or of its container.

        The API follows a log for ever: this reads until it has `tail` lines, or until
        what was written so far must have come.
        """
        tail = min(max(tail, 1), MAX_LOG_LINES)
        query = {"source": "system" if is_system else "container", "tail": str(tail)}
        path = f"/pods/{quoted(pod_id)}/logs"
        found: list[LogLine] = []
        with self._calls.follow(
            "readLogs", path, query, seconds=self._log_seconds
        ) as lines:
            for line in lines:
                field, _, data = line.partition(":")
                if field != "data":
                    continue
                found.append(wire.parse_log_line(data.strip()))
                if len(found) == tail or (until is not None and until(found[-1])):
                    break
        return found

    def list_gpu_offers(self, *, gpu_count: int = 1) -> list[GPUOffer]:
        """Return the GPU catalogue with today's prices, by one call per cloud."""
        rows_by_cloud = {
            cloud: self._calls.read(
                "listGpuTypes",
                "/catalog/gpus",
                records.RestGPUTypes,
                {**_WITH_STOCK, "count": str(gpu_count), "cloud": word},
            ).gpus
            for cloud, word in bodies.CLOUDS.items()
        }
        return wire.parse_gpu_offers(rows_by_cloud)

    def list_cpu_types(self) -> list[CPUType]:
        """Return the CPU catalogue."""
        answer = self._calls.read(
            "listCpuTypes", "/catalog/cpus", records.RestCPUTypes, _WITH_STOCK
        )
        return [wire.parse_cpu_type(row) for row in answer.cpus if row.id]

    def list_data_centers(self) -> list[DataCenter]:
        """Return the data centers with their stock."""
        answer = self._calls.read(
            "listDataCenters",
            "/catalog/datacenters",
            records.RestDataCenters,
            {"include": "GPU_AVAILABILITY"},
        )
        return [wire.parse_data_center(row) for row in answer.data_centers if row.id]

    def get_account(self) -> Account:
        """Refuse: v2 tells neither balance nor spending."""
        raise render_missing(
            Capability.BALANCE, Dialect.REST_V2, operation="getAccount"
        )

    def list_account_keys(self) -> list[str]:
        """Return the account's public SSH keys, an authorized_keys line each."""
        path = "/account/ssh-keys"
        return self._calls.read("listAccountKeys", path, records.RestKeys).keys

    def replace_account_keys(self, keys: Sequence[str]) -> None:
        """Make these the account's only SSH keys."""
        body = {"keys": list(keys)}
        self._calls.change("replaceAccountKeys", "PUT", "/account/ssh-keys", body)

    def list_network_volumes(self) -> list[NetworkVolume]:
        """Return the account's network volumes."""
        answer = self._calls.read(
            "listNetworkVolumes", "/network-volumes", records.RestNetworkVolumes
        )
        return [wire.parse_network_volume(row) for row in answer.network_volumes]

    def create_network_volume(
        self, *, name: str, size_gb: int, data_center_id: str
    ) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted."""
        made = self._calls.make(
            "createNetworkVolume",
            "/network-volumes",
            records.RestNetworkVolume,
            {"name": name, "size": size_gb, "dataCenter": data_center_id},
        )
        return wire.parse_network_volume(made)

    def delete_network_volume(self, volume_id: str) -> None:
        """Destroy a network volume and what is on it."""
        path = f"/network-volumes/{quoted(volume_id)}"
        self._calls.change("deleteNetworkVolume", "DELETE", path)

    def list_templates(self) -> list[Template]:
        """Return the account's own templates."""
        answer = self._calls.read("listTemplates", "/templates", records.RestTemplates)
        return [wire.parse_template(row) for row in answer.templates]

    def create_template(self, template: Template) -> Template:
        """Keep a template; its id is RunPod's to give."""
        body = bodies.render_template(template)
        made = self._calls.make(
            "createTemplate", "/templates", records.RestTemplate, body
        )
        return wire.parse_template(made)

    def delete_template(self, template_id: str) -> None:
        """Delete a template of the account."""
        path = f"/templates/{quoted(template_id)}"
        self._calls.change("deleteTemplate", "DELETE", path)

    def _find(self, pod_id: str) -> records.RestPod | None:
        path = f"/pods/{quoted(pod_id)}"
        found = self._calls.find("findPod", path, records.RestPod)
        # a cluster's pods are the cluster's: nothing here can change them
        return None if found is None or found.cluster is not None else found

    def _get_mount_path(self, pod_id: str) -> str:
        found = self._find(pod_id)
        if found is None:
            raise NotFoundError(f"there is no pod {pod_id}", operation="editPod")
        disk = found.mounts.persistent if found.mounts else None
        if disk is None:
            raise RejectedError(
                f"pod {pod_id} has no volume disk, and none can be added to a pod",
                operation="editPod",
                hint="Create a pod with a volume, and move over.",
            )
        return disk.path

    def _act(
        self, operation: str, pod_id: str, action: str, *, ends_spending: bool = False
    ) -> None:
        self._calls.change(
            operation,
            "POST",
            f"/pods/{quoted(pod_id)}/action",
            {"action": action},
            ends_spending=ends_spending,
        )
