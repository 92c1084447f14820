"""The contract on the catalogue: the same figures on every wire."""

from dataclasses import replace
from decimal import Decimal

import pytest

from runpod_client import Cloud, CloudType, GPUOffer, Stock
from support.contract import GPU, Account, open_cloud


def offer_of(cloud: Cloud, gpu_type: str, cloud_type: CloudType) -> GPUOffer:
    (found,) = (
        offer
        for offer in cloud.list_gpu_offers()
        if (offer.gpu_type, offer.cloud_type) == (gpu_type, cloud_type)
    )
    return found


def test_gpu_type_is_offered_once_per_cloud_that_has_it(cloud: Cloud) -> None:
    offers = cloud.list_gpu_offers()

    places = [(offer.gpu_type, offer.cloud_type) for offer in offers]
    assert len(places) == len(set(places))
    assert {g: c for g, c in places if g == "NVIDIA A40"} == {
        "NVIDIA A40": CloudType.SECURE
    }
    assert (GPU, CloudType.COMMUNITY) in places
    assert "unknown" not in {offer.gpu_type for offer in offers}


def test_prices_are_those_of_the_cloud(cloud: Cloud) -> None:
    secure = offer_of(cloud, "NVIDIA GeForce RTX 4090", CloudType.SECURE)
    community = offer_of(cloud, "NVIDIA GeForce RTX 4090", CloudType.COMMUNITY)

    assert secure.usd_per_gpu_hour == Decimal("0.69")
    assert community.usd_per_gpu_hour == Decimal("0.34")
    assert (secure.display_name, secure.memory_gb) == ("RTX 4090", 24)
    assert secure.max_gpu_count is not None


def test_all_wires_tell_the_same_of_each_offer(cloud: Cloud, account: Account) -> None:
    reference = open_cloud(account, dialect="graphql")
    expected = {comparable(offer) for offer in reference.list_gpu_offers()}
    reference.close()

    assert {comparable(offer) for offer in cloud.list_gpu_offers()} == expected


def comparable(offer: GPUOffer) -> tuple[object, ...]:
    """Return what both wires tell of an offer; the stock moves with other tests."""
    return (
        offer.gpu_type,
        offer.display_name,
        offer.memory_gb,
        offer.cloud_type,
        offer.usd_per_gpu_hour,
        offer.max_gpu_count,
        tuple(sorted(offer.data_centers)),
    )


def test_floor_of_bids_is_told_where_the_wire_knows_it(
    cloud: Cloud, account: Account
) -> None:
    floor = offer_of(cloud, GPU, CloudType.SECURE).minimum_bid_usd_per_gpu_hour

    expected = None if account.dialect == "rest_v2" else Decimal("0.245")
    assert floor == expected


def test_sold_out_gpu_type_has_no_stock(cloud: Cloud, account: Account) -> None:
    gpu_type = "NVIDIA B200"
    machines = [
        machine
        for machine in account.sim.world()["machines"]
        if machine["gpu_type_id"] == gpu_type and machine["cloud_type"] == "SECURE"
    ]
    before = offer_of(cloud, gpu_type, CloudType.SECURE)
    for machine in machines:
        account.sim.admin("POST", f"machines/{machine['id']}", {"taken_gpus": 8})

    sold_out = offer_of(cloud, gpu_type, CloudType.SECURE)
    for machine in machines:
        account.sim.admin("POST", f"machines/{machine['id']}", {"taken_gpus": 0})

    assert before.stock in {Stock.HIGH, Stock.MEDIUM, Stock.LOW}
    assert sold_out.stock is Stock.NONE
    assert sold_out.usd_per_gpu_hour == before.usd_per_gpu_hour


def test_stock_is_told_by_data_center(cloud: Cloud, account: Account) -> None:
    offer = offer_of(cloud, "NVIDIA H200", CloudType.SECURE)

    expected = {
        machine["data_center_id"]
        for machine in account.sim.world()["machines"]
        if machine["gpu_type_id"] == "NVIDIA H200" and machine["cloud_type"] == "SECURE"
    }
    stocked = {c for c, stock in offer.data_centers.items() if stock is not Stock.NONE}
    assert stocked == expected


def test_stock_for_many_gpus_is_less(cloud: Cloud) -> None:
    many = {
        (offer.gpu_type, offer.cloud_type): offer.stock
        for offer in cloud.list_gpu_offers(gpu_count=99)
    }

    assert set(many.values()) == {Stock.NONE}


def test_data_centers_are_listed_with_their_gpus(
    cloud: Cloud, account: Account
) -> None:
    centers = {center.data_center_id: center for center in cloud.list_data_centers()}

    machines = account.sim.world()["machines"]
    assert {m["data_center_id"] for m in machines} <= set(centers)
    assert centers["EU-RO-1"].region == "EUROPE"
    assert centers["EU-RO-1"].has_network_volumes
    stocked = {g for c in centers.values() for g in c.gpu_stock}
    assert GPU in stocked


def test_cpu_types_are_the_same_on_every_wire(cloud: Cloud, account: Account) -> None:
    reference = open_cloud(account, dialect="graphql")
    expected = reference.list_cpu_types()
    reference.close()

    found = cloud.list_cpu_types()

    # only v2 prices and stocks kinds of CPU
    bare = [replace(cpu, usd_per_vcpu_hour=None, stock=Stock.UNKNOWN) for cpu in found]
    assert bare == expected
    assert {cpu.cpu_type for cpu in found} >= {"cpu3c", "cpu5g"}
    if account.dialect != "graphql":
        assert found[0].usd_per_vcpu_hour == Decimal("0.03")


@pytest.mark.parametrize("kind", ["html_500", "drop_connection"])
def test_catalogue_that_fails_is_asked_again(
    cloud: Cloud, account: Account, kind: str
) -> None:
    account.fail(kind, "catalog")

    assert offer_of(cloud, GPU, CloudType.SECURE).usd_per_gpu_hour == Decimal("0.49")
