"""The contract on what belongs to the account besides pods."""

from dataclasses import replace
from decimal import Decimal

import pytest

from runpod_client import (
    APIError,
    CapabilityMissingError,
    Cloud,
    NetworkVolume,
    NotFoundError,
    Template,
)
from support.contract import PLACE, SPEC, Account, get

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILXGDN/SclOozk1xsDztpmhGiKkkrfQB9SKoO8dSIQQZ"
CENTER = "EU-RO-1"
TEMPLATE = Template(
    template_id="",
    name="torch",
    image="runpod/pytorch",
    container_disk_gb=30,
    volume_gb=20,
    volume_mount_path="/workspace",
    ports=("22/tcp", "8188/http"),
    env={"A": "1"},
    start_command="sleep infinity",
)


def test_balance_and_spending_are_told_or_refused_at_once(
    cloud: Cloud, account: Account
) -> None:
    account.rent_running(cloud)
    account.set_balance(42.5)

    if account.dialect == "rest_v2":
        with pytest.raises(CapabilityMissingError, match="balance"):
            cloud.get_account()
        return

    told = cloud.get_account()
    assert round(told.balance_usd, 1) == Decimal("42.5")
    assert told.spend_usd_per_hour >= Decimal("0.49")


def test_new_account_has_no_keys(cloud: Cloud) -> None:
    assert cloud.list_account_keys() == []


def test_keys_are_replaced_as_a_whole(cloud: Cloud) -> None:
    cloud.replace_account_keys([f"{KEY} one", f"{KEY} two"])
    both = cloud.list_account_keys()
    cloud.replace_account_keys([f"{KEY} two"])
    one = cloud.list_account_keys()
    cloud.replace_account_keys([])

    assert both == [f"{KEY} one", f"{KEY} two"]
    assert one == [f"{KEY} two"]
    assert cloud.list_account_keys() == []


def test_network_volume_is_made_listed_and_deleted(cloud: Cloud) -> None:
    made = cloud.create_network_volume(name="data", size_gb=20, data_center_id=CENTER)
    listed = cloud.list_network_volumes()
    cloud.delete_network_volume(made.volume_id)

    assert made == NetworkVolume(
        volume_id=made.volume_id, name="data", size_gb=20, data_center_id=CENTER
    )
    assert listed == [made]
    assert cloud.list_network_volumes() == []


def test_network_volume_in_no_data_center_is_refused(cloud: Cloud) -> None:
    with pytest.raises(APIError):
        cloud.create_network_volume(name="x", size_gb=20, data_center_id="ATLANTIS-1")

    assert cloud.list_network_volumes() == []


def test_deletion_of_an_unknown_network_volume_fails(cloud: Cloud) -> None:
    with pytest.raises(APIError):
        cloud.delete_network_volume("zzzzzzzzzz")


def test_pod_mounts_a_network_volume_where_it_lies(
    cloud: Cloud, account: Account
) -> None:
    center = next(
        machine["data_center_id"]
        for machine in account.sim.world()["machines"]
        if machine["gpu_type_id"] == PLACE.gpu_type
        and machine["cloud_type"] == "SECURE"
    )
    volume = cloud.create_network_volume(name="data", size_gb=20, data_center_id=center)
    spec = replace(SPEC, network_volume_id=volume.volume_id, volume_mount_path="/data")

    made = cloud.create_pod(spec, replace(PLACE, data_center_ids=(center,)))

    pod = get(cloud, made.pod_id)
    assert (pod.network_volume_id, pod.volume_gb) == (volume.volume_id, 0)
    assert pod.data_center_id == center
    (row,) = account.rows()
    assert row["mounts"]["network"][0]["path"] == "/data"
    cloud.terminate_pod(made.pod_id)
    cloud.delete_network_volume(volume.volume_id)


def test_template_is_made_listed_and_deleted(cloud: Cloud) -> None:
    made = cloud.create_template(TEMPLATE)
    listed = cloud.list_templates()
    cloud.delete_template(made.template_id)

    assert made == replace(TEMPLATE, template_id=made.template_id)
    assert listed == [made]
    assert cloud.list_templates() == []


def test_pod_is_made_from_a_template(cloud: Cloud, account: Account) -> None:
    template = cloud.create_template(TEMPLATE)
    spec = replace(SPEC, image="", template_id=template.template_id)

    made = cloud.create_pod(spec, PLACE)

    pod = get(cloud, made.pod_id)
    assert pod.image == "runpod/pytorch"
    assert pod.env.get("A") == "1"
    cloud.terminate_pod(made.pod_id)
    cloud.delete_template(template.template_id)
    assert account.rows() == []


def test_deletion_of_an_unknown_template_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(NotFoundError):
        cloud.delete_template("zzzzzzzzzz")
