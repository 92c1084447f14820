"""What a case of the client's contract needs of the simulator: an account and levers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from runpod_client import (
    Cloud,
    CloudType,
    Constraints,
    Placement,
    Pod,
    PodSpec,
    PodStatus,
    Secret,
)
from runpod_client.dialects.decisions import Decisions
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.dialects.routing import RoutedCloud
from runpod_client.transport import Repetition, Transport
from support.sim import SimServer

DIALECTS = ("graphql", "rest_v2", "routed")
GPU = "NVIDIA L4"
PLACE = Placement(
    gpu_type=GPU,
    gpu_count=1,
    cloud_type=CloudType.SECURE,
    price_usd_per_hour=Decimal("0.49"),
)
SPEC = PodSpec(
    name="plain", place=Constraints(), image="runpod/base", ports=("8188/http",)
)
BOOT_SECONDS = 30.0  # of the simulated clock, beyond any pull and mapping
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Account:
    """An account of a served simulator that no other test uses.

    Attributes:
        dialect: The wire the case at hand runs on.
    """

    sim: SimServer
    dialect: str

    @property
    def key(self) -> Secret:
        return Secret(self.sim.env["RUNPOD_API_KEY"])

    def rent(self, cloud: Cloud, **changes: Any) -> Pod:
        """Rent a pod without a time to wait for it."""
        return cloud.create_pod(replace(SPEC, **changes), PLACE)

    def rent_running(self, cloud: Cloud, **changes: Any) -> Pod:
        """Rent a pod and let it boot."""
        pod = self.rent(cloud, **changes)
        self.boot()
        return get(cloud, pod.pod_id)

    def boot(self) -> None:
        """Let every container boot."""
        self.sim.advance(BOOT_SECONDS)

    def rows(self) -> list[dict[str, Any]]:
        """Return the account's pods as REST v2 shows them, read by nobody's code."""
        status, answer = self.sim.rest("GET", "pods")
        assert status == 200, answer
        rows = answer["pods"]
        assert isinstance(rows, list)
        return rows

    def known(self, pod_id: str) -> dict[str, Any]:
        """Return a pod as the simulator itself knows it."""
        return self.sim.find_pod(pod_id)

    def fail(self, kind: str, operation: str | None = None, **given: Any) -> None:
        """Let the next such operation go wrong, on whichever wire."""
        named = {} if operation is None else {"operation": operation}
        self.sim.add_fault(kind, **named, **given)

    def set_balance(self, usd: float) -> None:
        """Give the account exactly that much credit."""
        answer = self.sim.graphql("{ myself { id } }")
        account_id = answer["data"]["myself"]["id"]
        self.sim.admin("POST", f"accounts/{account_id}", {"balance_usd": usd})


def open_cloud(
    account: Account,
    *,
    dialect: str = "",
    key: Secret | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    decisions: Callable[[str, Secret], Decisions] | None = None,
) -> Cloud:
    """Return a wire to the simulator, with pauses that cost no time."""
    key = key or account.key
    base_url = account.sim.base_url

    def transport() -> Transport:
        return Transport(
            base_url=base_url,
            api_key=key,
            timeout_seconds=timeout_seconds,
            repetition=Repetition(initial_seconds=0.01),
        )

    kept = decisions(base_url, key) if decisions else None
    clouds: dict[str, Callable[[], Cloud]] = {
        "graphql": lambda: GraphQLCloud(transport()),
        "rest_v2": lambda: RestV2Cloud(transport(), log_seconds=1.0),
        "routed": lambda: RoutedCloud(
            lambda: GraphQLCloud(transport()),
            lambda: RestV2Cloud(transport(), log_seconds=1.0),
            kept or Decisions(None, base_url=base_url, api_key=key),
        ),
    }
    return clouds[dialect or account.dialect]()


def get(cloud: Cloud, pod_id: str) -> Pod:
    """Return a pod that is there."""
    pod = cloud.find_pod(pod_id)
    assert pod is not None
    return pod


def end_all(cloud: Cloud) -> None:
    """Terminate what a case has left, so that the next finds free GPUs."""
    for pod in cloud.list_pods():
        if pod.status is not PodStatus.TERMINATED:
            cloud.terminate_pod(pod.pod_id)
