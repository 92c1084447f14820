"""Both wires as one `Cloud`: each call goes where it is to be had.

`capabilities.ORDER` says which wire is preferred for what, `router` how it is found out
whether that wire is there. This knows what one wire can add to the other's answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from runpod_client.cloud import Cloud
from runpod_client.dialects.capabilities import Dialect
from runpod_client.dialects.decisions import Decisions
from runpod_client.dialects.router import Router
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


class RoutedCloud:
    """`Cloud` over whichever wire has what is asked for."""

    def __init__(
        self,
        open_graphql: Callable[[], Cloud],
        open_rest_v2: Callable[[], Cloud],
        decisions: Decisions,
    ) -> None:
        openers = {Dialect.GRAPHQL: open_graphql, Dialect.REST_V2: open_rest_v2}
        self._router = Router(openers, decisions)

    def close(self) -> None:
        """Close the connections of both wires."""
        self._router.close()

    def create_pod(self, spec: PodSpec, placement: Placement) -> Pod:
        """Rent a pod at one place; it bills from the moment it returns."""
        is_spot = placement.bid_usd_per_gpu_hour is not None
        capability = Capability.SPOT if is_spot else Capability.PODS
        return self._router.change(capability, lambda c: c.create_pod(spec, placement))

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account, by one call."""
        return self._router.get(Capability.PODS, lambda c: c.list_pods())

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id.

        REST v2 gives no reasons; GraphQL, where it is there, is asked for the one that
        a pod stopped for.
        """
        dialect, pod = self._router.read(Capability.PODS, lambda c: c.find_pod(pod_id))
        if dialect is Dialect.GRAPHQL or pod is None or not _needs_reason(pod):
            return pod
        told = self._router.find(
            Dialect.GRAPHQL, Capability.PODS, lambda c: c.find_pod(pod_id)
        )
        if told is None or not _needs_reason(told):
            return pod
        return replace(pod, status_reason=told.status_reason)

    def start_pod(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None = None
    ) -> None:
        """Ask for a stopped pod's container to be started anew; it bills again."""
        is_spot = pod.is_spot or bid_usd_per_gpu_hour is not None
        self._router.change(
            Capability.SPOT if is_spot else Capability.PODS,
            lambda c: c.start_pod(pod, bid_usd_per_gpu_hour=bid_usd_per_gpu_hour),
        )

    def start_pod_without_gpus(self, pod_id: str) -> None:
        """Ask for a stopped pod to be started with CPUs alone, to reach its volume."""
        self._router.change(
            Capability.START_WITHOUT_GPUS, lambda c: c.start_pod_without_gpus(pod_id)
        )

    def restart_pod(self, pod_id: str) -> None:
        """Ask for a running pod's container to be restarted in place."""
        self._router.change(Capability.RESTART, lambda c: c.restart_pod(pod_id))

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released."""
        self._router.end(Capability.PODS, lambda c: c.stop_pod(pod_id))

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed."""
        self._router.end(Capability.PODS, lambda c: c.terminate_pod(pod_id))

    def rename_pod(self, pod_id: str, wire_name: str) -> None:
        """Give a pod another name, if possible without a restart."""
        self._router.change(
            Capability.RENAME, lambda c: c.rename_pod(pod_id, wire_name)
        )

    def edit_pod(self, pod: Pod, edit: PodEdit) -> None:
        """Change what a pod runs; its container starts anew."""
        self._router.change(Capability.PODS, lambda c: c.edit_pod(pod, edit))

    def read_logs(
        self,
        pod_id: str,
        *,
        is_system: bool,
        tail: int = 200,
        until: Callable[[LogLine], bool] | None = None,
    ) -> list[LogLine]:
        """Return the last lines of a pod's host or of its container."""
        return self._router.get(
            Capability.LOGS,
            lambda c: c.read_logs(pod_id, is_system=is_system, tail=tail, until=until),
        )

    def list_gpu_offers(self, *, gpu_count: int = 1) -> list[GPUOffer]:
        """Return the GPU catalogue; its bids are GraphQL's, where that is there."""
        dialect, offers = self._router.read(
            Capability.CATALOG, lambda c: c.list_gpu_offers(gpu_count=gpu_count)
        )
        if dialect is Dialect.GRAPHQL:
            return offers
        told = self._router.find(
            Dialect.GRAPHQL,
            Capability.CATALOG,
            lambda c: c.list_gpu_offers(gpu_count=gpu_count),
        )
        return offers if told is None else _with_bids(offers, told)

    def list_cpu_types(self) -> list[CPUType]:
        """Return the CPU catalogue."""
        return self._router.get(Capability.CATALOG, lambda c: c.list_cpu_types())

    def list_data_centers(self) -> list[DataCenter]:
        """Return the data centers."""
        return self._router.get(Capability.CATALOG, lambda c: c.list_data_centers())

    def get_account(self) -> Account:
        """Return the account's balance and spending."""
        return self._router.get(Capability.BALANCE, lambda c: c.get_account())

    def list_account_keys(self) -> list[str]:
        """Return the account's public SSH keys, an authorized_keys line each."""
        return self._router.get(
            Capability.ACCOUNT_KEYS, lambda c: c.list_account_keys()
        )

    def replace_account_keys(self, keys: Sequence[str]) -> None:
        """Make these the account's only SSH keys."""
        self._router.change(
            Capability.ACCOUNT_KEYS, lambda c: c.replace_account_keys(keys)
        )

    def list_network_volumes(self) -> list[NetworkVolume]:
        """Return the account's network volumes."""
        return self._router.get(Capability.VOLUMES, lambda c: c.list_network_volumes())

    def create_network_volume(
        self, *, name: str, size_gb: int, data_center_id: str
    ) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted."""
        return self._router.change(
            Capability.VOLUMES,
            lambda c: c.create_network_volume(
                name=name, size_gb=size_gb, data_center_id=data_center_id
            ),
        )

    def delete_network_volume(self, volume_id: str) -> None:
        """Destroy a network volume and what is on it."""
        self._router.change(
            Capability.VOLUMES, lambda c: c.delete_network_volume(volume_id)
        )

    def list_templates(self) -> list[Template]:
        """Return the account's own templates."""
        return self._router.get(Capability.TEMPLATES, lambda c: c.list_templates())

    def create_template(self, template: Template) -> Template:
        """Keep a template; its id is RunPod's to give."""
        return self._router.change(
            Capability.TEMPLATES, lambda c: c.create_template(template)
        )

    def delete_template(self, template_id: str) -> None:
        """Delete a template of the account."""
        self._router.change(
            Capability.TEMPLATES, lambda c: c.delete_template(template_id)
        )


def _needs_reason(pod: Pod) -> bool:
    return pod.status in {PodStatus.STOPPED, PodStatus.FAILED, PodStatus.TERMINATED}


def _with_bids(offers: list[GPUOffer], told: list[GPUOffer]) -> list[GPUOffer]:
    bids = {
        (offer.gpu_type, offer.cloud_type): offer.minimum_bid_usd_per_gpu_hour
        for offer in told
    }
    return [
        replace(
            offer,
            minimum_bid_usd_per_gpu_hour=bids.get((offer.gpu_type, offer.cloud_type)),
        )
        for offer in offers
    ]
