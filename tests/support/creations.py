"""Creates against a served simulator, over either wire, with fast patience."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from runpod_client import Pace, Patience
from runpod_client.breakers import Breakers, Rule
from runpod_client.client import RunPodClient
from runpod_client.cloud import Cloud
from runpod_client.creation import Creation
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.hooks import Hooks
from runpod_client.identities import IdentityStore
from runpod_client.intents import Journal
from runpod_client.model import (
    CloudType,
    Constraints,
    Placement,
    Pod,
    PodSpec,
    Secret,
)
from runpod_client.quota import QuotaGate
from runpod_client.repetition import Repetition
from runpod_client.transport import Transport
from support.clock import FakeTime

OWNER = "owner-tester"
DIALECTS = {"graphql": GraphQLCloud, "rest_v2": RestV2Cloud}
GPU_TYPE = "NVIDIA L4"
# longer than a request can be under way here, which the transport's limit bounds
PATIENCE = Patience(listings=3, pause_seconds=0.02, abandon_after_seconds=1.0)
REQUEST_SECONDS = 0.5
PLACEMENTS = (
    Placement(
        gpu_type=GPU_TYPE,
        gpu_count=1,
        cloud_type=CloudType.SECURE,
        price_usd_per_hour=Decimal("0.43"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What one account's creates need, on one machine."""

    cloud: Cloud
    journal: Journal
    identities: IdentityStore
    state_dir: Path
    now: Callable[[], datetime]

    def create(self, name: str, **given: Any) -> Pod:
        """Do what `RunPodClient.create_pod` does to rent a pod."""
        spec = replace(render_spec(name), **given)
        creation = self.creation()
        return creation.take_over(spec, lambda _status: None) or creation.rent(
            spec, PLACEMENTS
        )

    def creation(self) -> Creation:
        return Creation(
            self.cloud,
            self.journal,
            self.identities,
            owner=OWNER,
            patience=PATIENCE,
            now=self.now,
        )

    def client(self, *, owner: str = OWNER, hooks: Hooks | None = None) -> RunPodClient:
        """Return a client for the same account, with the same memory."""
        return RunPodClient(
            self.cloud,
            self.journal,
            self.identities,
            owner=lambda: owner,
            patience=PATIENCE,
            pace=Pace(interval_seconds=0.05, now=self.now),
            hooks=hooks,
        )

    def list_identities(self) -> set[str]:
        """Return the intents that a key pair is kept for."""
        return {path.name for path in (self.state_dir / "identities").glob("*")}

    def terminate_all(self) -> None:
        """End the account's pods: the simulator's GPUs are few."""
        for pod in self.cloud.list_pods():
            self.cloud.terminate_pod(pod.pod_id)

    def close(self) -> None:
        self.journal.close()
        self.cloud.close()


def render_spec(name: str) -> PodSpec:
    return PodSpec(
        name=name,
        image="runpod/base",
        place=Constraints(gpu_types=(GPU_TYPE,)),
        env={"HF_TOKEN": "planted-variable"},
        lease=timedelta(hours=2),
    )


def open_desk(
    base_url: str,
    state_dir: Path,
    *,
    key: str,
    dialect: str,
    timeout_seconds: float = 10.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Desk:
    # the quota's time is nobody's: a wait for it costs the test nothing
    fake_time = FakeTime()
    transport = Transport(
        base_url=base_url,
        api_key=Secret(key),
        timeout_seconds=timeout_seconds,
        repetition=Repetition(initial_seconds=0.01, jitter_seconds=0.01),
        quota=QuotaGate(clock=fake_time.clock, sleep=fake_time.sleep),
        breakers=Breakers(rule=Rule(window_seconds=0.05)),
    )
    return Desk(
        cloud=DIALECTS[dialect](transport),
        journal=Journal(state_dir),
        identities=IdentityStore(state_dir / "identities"),
        state_dir=state_dir,
        now=now,
    )
