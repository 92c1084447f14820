"""What a pod cloud can do, as the rest of the package sees it.

Implementations know one wire each (`runpod_client.dialects`) and nothing of journals,
identities or people. Every call has a time limit of its own; reads may be repeated by
the implementation, the others never are.
"""

from decimal import Decimal
from typing import Protocol

from runpod_client.model import Account, GPUType, Pod, PodSpec


class Cloud(Protocol):
    """A wire that rents pods."""

    def close(self) -> None:
        """Close the connections."""

    def create_pod(self, spec: PodSpec, gpu_type: str) -> Pod:
        """Rent a pod with GPUs of one type; it bills from the moment it returns.

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

    def stop_pod(self, pod_id: str) -> None:
        """Ask for a pod's GPUs to be released; its volume stays and bills."""

    def terminate_pod(self, pod_id: str) -> None:
        """Ask for a pod and its disks to be destroyed.

        Raises:
            NotFoundError: It is already gone.
        """

    def list_gpu_types(self, *, gpu_count: int = 1) -> list[GPUType]:
        """Return what can be rented, priced for pods of `gpu_count` GPUs."""

    def get_account(self) -> Account:
        """Return the account's balance and spending."""
