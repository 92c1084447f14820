from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from runpod_client import PodStatus
from runpod_hub.observation import observe
from support.hub_world import NOON, make_pod, make_record

LATER = NOON + timedelta(seconds=60)


def test_a_new_pod_is_recorded_with_its_owner_and_without_its_environment() -> None:
    pod = make_pod(owner="team-a", env={"HF_TOKEN": "planted-secret"})

    observation = observe([], [pod], now=NOON)

    (record,) = observation.records
    assert record == make_record(owner="team-a")
    assert "planted-secret" not in repr(observation)
    assert [event.kind for event in observation.events] == ["pod_appeared"]


def test_an_unchanged_pod_makes_a_sample_and_no_event() -> None:
    observation = observe([make_record()], [make_pod()], now=LATER)

    assert observation.events == ()
    assert observation.records == (make_record(last_seen_at=LATER),)
    (sample,) = observation.samples
    assert (sample.pod_id, sample.sampled_at) == ("pod1", LATER)


def test_changes_of_status_and_price_are_events() -> None:
    pod = make_pod(status=PodStatus.STOPPED, price_usd_per_hour=Decimal("0.60"))

    observation = observe([make_record()], [pod], now=LATER)

    status, price = observation.events
    assert status.kind == "pod_status_changed"
    assert (status.data["from_state"], status.data["to_state"]) == (
        "RUNNING",
        "STOPPED",
    )
    assert (price.kind, price.data["to_usd_per_hour"]) == ("pod_price_changed", "0.60")


def test_a_pod_missing_from_one_listing_is_kept_as_it_was() -> None:
    observation = observe([make_record()], [], now=LATER)

    assert observation.records == (replace(make_record(), absences=1),)
    assert observation.present == observation.records
    assert (observation.samples, observation.events) == ((), ())


def test_a_pod_missing_from_two_listings_is_gone() -> None:
    observation = observe([make_record(absences=1)], [], now=LATER)

    (record,) = observation.records
    assert (record.absences, record.gone_at) == (2, LATER)
    assert observation.present == ()
    assert [event.kind for event in observation.events] == ["pod_gone"]


def test_a_pod_that_comes_back_starts_counting_absences_anew() -> None:
    observation = observe([make_record(absences=1)], [make_pod()], now=LATER)

    assert observation.records[0].absences == 0
    assert observation.events == ()


def test_a_terminated_pod_is_gone_at_once() -> None:
    pod = make_pod(status=PodStatus.TERMINATED)

    assert observe([make_record()], [pod], now=LATER).records[0].gone_at == LATER
    assert observe([], [pod], now=LATER).records == ()
