"""Prices that move, and what that does to spot pods, without a server."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_sim.catalog import Catalog
from runpod_sim.market import CLOUDS, Market, Walk
from runpod_sim.model import Account, BootPlan, Mishap, PodSpec
from runpod_sim.world import World, WorldSettings

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
BOOT = BootPlan(pull_seconds=1, ports_seconds=1)
WALK = Walk(seed=3, step_seconds=300, volatility=0.15, began_at=BEGIN)
SPOT = PodSpec(
    name="p",
    image="i",
    gpu_type_ids=("NVIDIA L4",),
    cloud_type="SECURE",
    bid_usd_per_hour=Decimal("0.26"),
)


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1000, allow_nan=False), st.integers(1, 30))
def test_walk_keeps_every_bid_within_its_bounds(
    seed: int, volatility: float, steps: int
) -> None:
    market = Market(Catalog())
    market.walk = replace(WALK, seed=seed, volatility=volatility)

    for _ in range(steps):
        market.step()

    for gpu_type in market.catalog.gpu_types:
        for cloud in CLOUDS:
            price = gpu_type.usd_per_hour(cloud)
            bid = gpu_type.minimum_bid_usd_per_hour(cloud)
            if price is not None and bid is not None:
                assert price * Decimal("0.199") <= bid <= price * Decimal("1.001")


def test_walk_moves_the_types_it_names_and_no_others() -> None:
    market = Market(Catalog())
    before = market.catalog
    market.walk = replace(WALK, gpu_type_ids=("NVIDIA L4",))

    market.step()

    moved = {
        gpu_type.id
        for gpu_type in market.catalog.gpu_types
        if gpu_type != before.find_gpu_type(gpu_type.id)
    }
    assert moved == {"NVIDIA L4"}


@dataclass(frozen=True)
class Lives:
    """How pods fared, what they cost, and the prices in the end."""

    ends: tuple[tuple[datetime | None, str], ...]
    charges: tuple[dict[str, Decimal], ...]
    account: Account
    catalog: Catalog


def lives(looks: list[float]) -> Lives:
    """Return what became of two spot pods and a failing one in a day."""
    world = World(Catalog(), WorldSettings(), seed=1)
    account = world.open_account("rpa_test", BEGIN)
    world.market.walk = WALK
    failing = replace(BOOT, mishap=Mishap.IMAGE_NOT_FOUND, mishap_seconds=5000)
    ids = [
        world.deploy(account.id, spec, BEGIN, boot=boot).pod.id
        for spec, boot in (
            (SPOT, BOOT),
            (replace(SPOT, bid_usd_per_hour=Decimal("0.6")), BOOT),
            (replace(SPOT, bid_usd_per_hour=None), failing),
        )
    ]
    for look in sorted({*looks, 86_400.0}):
        world.settle(after(look))
    pods = [world.get_pod(pod_id) for pod_id in ids]
    return Lives(
        ends=tuple((pod.stopped_at, pod.last_status_change) for pod in pods),
        charges=tuple(world.charges_usd(pod.id) for pod in pods),
        account=world.get_account(account.id),
        catalog=world.catalog,
    )


ONCE = lives([])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 86_400), max_size=6))
def test_how_often_anybody_looks_changes_neither_prices_nor_lives(
    looks: list[float],
) -> None:
    assert lives(looks) == ONCE


def test_pod_below_the_walk_is_outbid_at_a_step_and_no_other_pod_is() -> None:
    low, high, failed = ONCE.ends

    assert low[0] is not None
    assert (low[0] - BEGIN).total_seconds() % 300 == 0
    assert low[1].startswith("Outbid: ")
    assert high[0] is None
    assert failed[0] == after(5000)
    assert failed[1].startswith("Exited by Runpod: ")
