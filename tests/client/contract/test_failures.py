"""The contract on what goes wrong: the same error, and as many pods, on every wire."""

from dataclasses import replace
from decimal import Decimal

import pytest

from runpod_client import (
    APIError,
    AuthenticationError,
    Cloud,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    PodEdit,
    PodStatus,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    Secret,
    TransportError,
    UnavailableError,
    marks,
)
from support.contract import PLACE, SPEC, Account, get, open_cloud


def test_no_capacity_makes_nothing(cloud: Cloud, account: Account) -> None:
    account.fail("no_capacity", "deploy")

    with pytest.raises(NoCapacityError):
        cloud.create_pod(SPEC, PLACE)

    assert account.rows() == []


def test_more_gpus_than_any_machine_has_is_no_capacity(
    cloud: Cloud, account: Account
) -> None:
    with pytest.raises((NoCapacityError, RejectedError)):
        cloud.create_pod(SPEC, replace(PLACE, gpu_count=99))

    assert account.rows() == []


def test_gpu_type_that_does_not_exist_makes_nothing(
    cloud: Cloud, account: Account
) -> None:
    with pytest.raises((NoCapacityError, RejectedError)):
        cloud.create_pod(SPEC, replace(PLACE, gpu_type="NVIDIA Abacus"))

    assert account.rows() == []


def test_empty_account_rents_nothing(cloud: Cloud, account: Account) -> None:
    cloud.list_pods()
    account.set_balance(0)

    with pytest.raises(InsufficientBalanceError):
        cloud.create_pod(SPEC, PLACE)

    assert account.rows() == []


def test_spending_limit_is_a_matter_of_money(cloud: Cloud, account: Account) -> None:
    account.fail("insufficient_balance", "deploy")

    with pytest.raises(InsufficientBalanceError) as caught:
        cloud.create_pod(SPEC, PLACE)

    assert "billing" in caught.value.hint


def test_key_that_is_none_is_an_authentication_error(account: Account) -> None:
    cloud = open_cloud(account, key=Secret("no-such-key"))

    with pytest.raises(AuthenticationError) as listing:
        cloud.list_pods()
    with pytest.raises(AuthenticationError):
        cloud.create_pod(SPEC, PLACE)
    cloud.close()

    assert "RUNPOD_API_KEY" in listing.value.hint
    assert "no-such-key" not in str(listing.value)


def test_host_without_free_gpus_keeps_a_pod_stopped(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)
    account.fail("no_gpu_on_resume")

    with pytest.raises(NoCapacityError):
        cloud.start_pod(pod)

    assert get(cloud, pod.pod_id).status is PodStatus.STOPPED


@pytest.mark.parametrize("kind", ["html_500", "drop_connection", "malformed_body"])
def test_create_that_fails_is_sent_once(
    cloud: Cloud, account: Account, kind: str
) -> None:
    cloud.list_pods()
    account.fail(kind, "deploy")

    with pytest.raises((UnavailableError, TransportError, ProtocolError)):
        cloud.create_pod(SPEC, PLACE)

    assert len(account.rows()) == (1 if kind == "malformed_body" else 0)


def test_pod_whose_creation_was_never_confirmed_is_found_by_its_marks(
    cloud: Cloud, account: Account
) -> None:
    cloud.list_pods()
    env = marks.render_marks(owner="me", intent_id="3f9a2c1d77e84b20")
    account.fail("lost_answer", "deploy")

    with pytest.raises(TransportError):
        cloud.create_pod(replace(SPEC, env=env), PLACE)

    (pod,) = cloud.list_pods()
    assert pod.intent_id == "3f9a2c1d77e84b20"


def test_create_that_takes_too_long_is_not_sent_again(account: Account) -> None:
    cloud = open_cloud(account, timeout_seconds=1)
    cloud.list_pods()
    account.fail("slow_answer", "deploy", seconds=3)

    with pytest.raises(TransportError):
        cloud.create_pod(SPEC, PLACE)
    cloud.close()

    assert len(account.rows()) == 1


@pytest.mark.parametrize("kind", ["html_500", "drop_connection", "rate_limited"])
@pytest.mark.parametrize("operation", ["list", "get"])
def test_read_that_fails_is_asked_again(
    cloud: Cloud, account: Account, kind: str, operation: str
) -> None:
    pod = account.rent(cloud)
    seconds = {"seconds": 0} if kind == "rate_limited" else {}
    account.fail(kind, operation, times=2, **seconds)

    found = cloud.list_pods() if operation == "list" else [get(cloud, pod.pod_id)]

    assert [p.pod_id for p in found] == [pod.pod_id]


def test_quota_that_is_used_up_for_long_is_said_with_the_time(
    cloud: Cloud, account: Account
) -> None:
    account.fail("rate_limited", "list", times=9, seconds=600)

    with pytest.raises(RateLimitedError) as caught:
        cloud.list_pods()

    assert caught.value.retry_after_seconds == 600


def test_malformed_listing_is_a_protocol_error(cloud: Cloud, account: Account) -> None:
    account.rent(cloud)
    account.fail("malformed_body", "list")

    with pytest.raises(ProtocolError):
        cloud.list_pods()


def test_api_that_fails_for_good_is_unavailable(cloud: Cloud, account: Account) -> None:
    account.fail("html_500", "list", times=50)

    with pytest.raises(UnavailableError):
        cloud.list_pods()


@pytest.mark.parametrize("kind", ["html_500", "drop_connection", "lost_answer"])
def test_stop_that_fails_on_its_way_is_sent_again(
    cloud: Cloud, account: Account, kind: str
) -> None:
    pod = account.rent_running(cloud)
    account.fail(kind, "stop")

    cloud.stop_pod(pod.pod_id)

    assert get(cloud, pod.pod_id).status is PodStatus.STOPPED


@pytest.mark.parametrize("kind", ["html_500", "drop_connection", "lost_answer"])
def test_termination_that_fails_on_its_way_is_sent_again(
    cloud: Cloud, account: Account, kind: str
) -> None:
    pod = account.rent_running(cloud)
    account.fail(kind, "terminate")

    # the second finds nothing where the first was lost on its way back
    try:
        cloud.terminate_pod(pod.pod_id)
    except NotFoundError:
        assert kind == "lost_answer"

    assert account.rows() == []


def test_start_whose_answer_is_lost_is_not_sent_again(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    cloud.stop_pod(pod.pod_id)
    account.fail("lost_answer", "resume")

    with pytest.raises(TransportError):
        cloud.start_pod(pod)

    assert account.known(pod.pod_id)["start_number"] == 2


def test_edit_whose_answer_is_lost_is_not_sent_again(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    account.fail("lost_answer", "edit")

    with pytest.raises(TransportError):
        cloud.edit_pod(pod, PodEdit(image="runpod/newer"))

    assert account.known(pod.pod_id)["start_number"] == 2


def test_new_name_whose_answer_is_lost_is_given_again(
    cloud: Cloud, account: Account
) -> None:
    pod = account.rent_running(cloud)
    account.fail("lost_answer", "edit")

    cloud.rename_pod(pod.pod_id, "renamed")

    assert get(cloud, pod.pod_id).name == "renamed"


def test_image_pull_keeps_a_pod_starting_and_billed(
    cloud: Cloud, account: Account
) -> None:
    account.fail("slow_pull", seconds=600)
    made = account.rent(cloud)
    account.sim.advance(300)

    pod = get(cloud, made.pod_id)

    assert pod.status is PodStatus.STARTING
    assert pod.price_usd_per_hour == Decimal("0.49")
    account.sim.advance(600)


def test_ports_that_are_never_mapped_leave_a_pod_without_address(
    cloud: Cloud, account: Account
) -> None:
    account.fail("ports_never")
    pod = account.rent_running(cloud, ports=("22/tcp",))

    assert pod.status is PodStatus.RUNNING
    assert pod.ssh_address is None
    assert pod.asked_ports == ("22/tcp",)


def test_negative_uptime_is_read_as_none_yet(cloud: Cloud, account: Account) -> None:
    made = account.rent_running(cloud)
    account.fail("negative_uptime", "get")

    pod = get(cloud, made.pod_id)

    assert pod.uptime_seconds == 0


def test_pod_without_credit_is_stopped_or_gone(cloud: Cloud, account: Account) -> None:
    account.rent_running(cloud, volume_gb=10)
    account.set_balance(0)

    left = cloud.list_pods()

    assert not any(pod.status.is_billed for pod in left)


def test_outbid_spot_pod_is_stopped_and_the_reason_told_where_it_is(
    cloud: Cloud, account: Account
) -> None:
    if account.dialect == "rest_v2":
        with pytest.raises(APIError, match="does not know spot pods"):
            cloud.create_pod(SPEC, replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.4")))
        assert account.rows() == []
        return
    env = marks.render_marks(
        owner="me", intent_id="3f9a2c1d77e84b20", bid_usd_per_gpu_hour=Decimal("0.4")
    )
    placement = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.4"))
    made = cloud.create_pod(replace(SPEC, env=env), placement)
    account.boot()

    account.sim.admin("POST", f"pods/{made.pod_id}/outbid", {})

    assert made.is_spot
    pod = get(cloud, made.pod_id)
    assert pod.is_spot
    assert pod.status is PodStatus.STOPPED
    assert pod.status_reason.casefold().startswith("outbid")


def test_bid_below_the_floor_rents_nothing(cloud: Cloud, account: Account) -> None:
    placement = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.001"))

    with pytest.raises(APIError):
        cloud.create_pod(SPEC, placement)

    assert account.rows() == []


def test_spot_pod_is_started_again_by_its_marked_bid(
    cloud: Cloud, account: Account
) -> None:
    env = marks.render_marks(
        owner="me", intent_id="3f9a2c1d77e84b20", bid_usd_per_gpu_hour=Decimal("0.4")
    )
    over_graphql = open_cloud(account, dialect="graphql")
    placement = replace(PLACE, bid_usd_per_gpu_hour=Decimal("0.4"))
    made = over_graphql.create_pod(replace(SPEC, env=env), placement)
    over_graphql.close()
    account.boot()
    cloud.stop_pod(made.pod_id)

    if account.dialect == "rest_v2":
        with pytest.raises(APIError, match="does not know spot pods"):
            cloud.start_pod(get(cloud, made.pod_id))
        return
    cloud.start_pod(get(cloud, made.pod_id))
    account.boot()

    assert get(cloud, made.pod_id).status is PodStatus.RUNNING
