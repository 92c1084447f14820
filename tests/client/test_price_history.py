import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from runpod_client import (
    CloudType,
    Constraints,
    GPUOffer,
    PodSpec,
    Stock,
    open_client,
)
from runpod_client.plans import make_plan
from runpod_client.price_history import KEPT_FOR, PriceHistory
from support.runpod_script import RunPodScript, settings_for

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
L4 = GPUOffer(
    gpu_type="NVIDIA L4",
    display_name="L4",
    memory_gb=24,
    cloud_type=CloudType.SECURE,
    usd_per_gpu_hour=Decimal("0.50"),
    minimum_bid_usd_per_gpu_hour=Decimal("0.20"),
    stock=Stock.HIGH,
)
KEY = ("NVIDIA L4", CloudType.SECURE)


def at_floor(price: str) -> list[GPUOffer]:
    return [replace(L4, minimum_bid_usd_per_gpu_hour=Decimal(price))]


def test_one_floor_an_hour_is_kept_and_the_last_of_an_hour_counts(
    tmp_path: Path,
) -> None:
    history = PriceHistory(tmp_path)

    for hours, price in ((0, "0.20"), (0.5, "0.21"), (1, "0.22")):
        history.add(at_floor(price), NOON + timedelta(hours=hours))

    floors = PriceHistory(tmp_path).read(NOON + timedelta(hours=2))
    assert floors == {KEY: [Decimal("0.21"), Decimal("0.22")]}
    mode = (tmp_path / "prices.sqlite3").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_floors_older_than_a_week_are_forgotten(tmp_path: Path) -> None:
    history = PriceHistory(tmp_path)
    history.add(at_floor("0.20"), NOON)

    history.add(at_floor("0.30"), NOON + KEPT_FOR + timedelta(hours=1))

    assert history.read(NOON + KEPT_FOR) == {KEY: [Decimal("0.30")]}


def test_offer_without_a_floor_is_no_price(tmp_path: Path) -> None:
    history = PriceHistory(tmp_path)

    history.add([replace(L4, minimum_bid_usd_per_gpu_hour=None)], NOON)

    assert history.read(NOON) == {}


def test_file_that_cannot_be_used_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "prices.sqlite3").write_text("this is no database" * 100)
    history = PriceHistory(tmp_path)

    history.add(at_floor("0.20"), NOON)

    assert history.read(NOON) == {}


def test_percentile_is_taken_of_the_floors_that_were() -> None:
    spec = PodSpec(name="x", image="img", place=Constraints(bid="p100"))
    floors = {KEY: [Decimal("0.20"), Decimal("0.28"), Decimal("0.22")]}

    (with_past,) = make_plan(spec, [L4], floors).get_placements()
    (without,) = make_plan(spec, [L4]).get_placements()

    assert with_past.bid_usd_per_gpu_hour == Decimal("0.28")
    assert without.bid_usd_per_gpu_hour != Decimal("0.28")


def test_client_remembers_floors_when_it_bids_and_only_then(
    runpod: RunPodScript, tmp_path: Path
) -> None:
    plain = PodSpec(name="x", image="i", place=Constraints(gpu_types=("RTX 4090",)))
    bidding = replace(plain, place=replace(plain.place, bid="p50"))
    with open_client(settings_for(runpod.server.base_url, tmp_path)) as client:
        client.plan(plain)
        assert not (tmp_path / "prices.sqlite3").exists()
        client.plan(bidding)

    kept = PriceHistory(tmp_path).read(datetime.now(UTC))
    assert ("NVIDIA GeForce RTX 4090", CloudType.COMMUNITY) in kept
