"""What a pod cloud can do, as the rest of the package sees it.

Implementations know one wire each (`runpod_client.dialects`) and nothing of journals,
identities or people. Every call has a time limit of its own; reads, stopping and
terminating may be repeated by the implementation, the others never are.

Every call may raise `CapabilityMissingError` (this wire has no such call) or its child
`CapabilityRetiredError` (RunPod has withdrawn it), both before anything is sent or
done. Calls about one pod raise `NotFoundError` when there is none of that id.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from runpod_client.model import (
    Account,
    CPUType,
    DataCenter,
    GPUOffer,
    LogLine,
    NetworkVolume,
    Placement,
    Pod,
    PodEdit,
    PodSpec,
    Template,
)


class PodCloud(Protocol):
    """Pods."""

    def create_pod(self, spec: PodSpec, placement: Placement) -> Pod:
        """Rent a pod at one place; it bills from the moment it returns.

        Raises:
            NoCapacityError: None is free; nothing was made.
            TransportError, UnavailableError, ProtocolError: A pod may exist.
        """

    def list_pods(self) -> list[Pod]:
        """Return all pods of the account."""

    def find_pod(self, pod_id: str) -> Pod | None:
        """Return a pod, None when there is none of that id."""

    def start_pod(
        self, pod: Pod, *, bid_usd_per_gpu_hour: Decimal | None = None
    ) -> None:
        """Ask for a stopped pod's container to be started anew; it bills again."""

    def start_pod_without_gpus(self, pod_id: str) -> None:
        """Ask for a stopped pod to be started with CPUs alone, to reach its volume."""

    def restart_pod(self, pod_id: str) -> None:
        """Ask for a running pod's container to be restarted in place."""

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released; its volume stays and bills."""

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed.

        Raises:
            NotFoundError: It is already gone.
        """

    def rename_pod(self, pod_id: str, wire_name: str) -> None:
        """Give a pod another name, as it stands on the wire, without a restart."""

    def edit_pod(self, pod: Pod, edit: PodEdit) -> None:
        """Change what a pod runs; the name is not touched here."""

    def read_logs(
        self,
        pod_id: str,
        *,
        is_system: bool,
        tail: int = 200,
        until: Callable[[LogLine], bool] | None = None,
    ) -> list[LogLine]:
        """Return the last lines of a pod's host (its boot log) or of its container.

        Args:
            until: Asked about each line as it comes; the one it is true of is the
                last to be waited for.
        """


class CatalogCloud(Protocol):
    """What can be rented, and where."""

    def list_gpu_offers(self, *, gpu_count: int = 1) -> list[GPUOffer]:
        """Return each GPU type once per cloud that has it.

        Args:
            gpu_count: Stock is told for pods of this many GPUs.
        """

    def list_cpu_types(self) -> list[CPUType]:
        """Return the CPU catalogue."""

    def list_data_centers(self) -> list[DataCenter]:
        """Return the data centers."""


class AccountCloud(Protocol):
    """What belongs to the account besides pods."""

    def get_account(self) -> Account:
        """Return the account's balance and spending."""

    def list_account_keys(self) -> list[str]:
        """Return the account's public SSH keys, an authorized_keys line each."""

    def replace_account_keys(self, keys: Sequence[str]) -> None:
        """Make these the account's only SSH keys; see `keyring` for a safe change."""

    def list_network_volumes(self) -> list[NetworkVolume]:
        """Return the account's network volumes."""

    def create_network_volume(
        self, *, name: str, size_gb: int, data_center_id: str
    ) -> NetworkVolume:
        """Make a network volume; it bills until it is deleted."""

    def delete_network_volume(self, volume_id: str) -> None:
        """Destroy a network volume and what is on it."""

    def list_templates(self) -> list[Template]:
        """Return the account's own templates."""

    def create_template(self, template: Template) -> Template:
        """Keep a template; its id is RunPod's to give."""

    def delete_template(self, template_id: str) -> None:
        """Delete a template of the account."""


class Cloud(PodCloud, CatalogCloud, AccountCloud, Protocol):
    """A wire that rents pods."""

    def close(self) -> None:
        """Close the connections."""
