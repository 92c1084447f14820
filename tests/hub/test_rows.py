from datetime import timedelta
from decimal import Decimal

import pytest

from runpod_client import PodStatus
from runpod_hub.model import AgentSession, AgentStatus, Event, Snapshot
from runpod_hub.state import Freshness
from runpod_hub.ui.rows import (
    render_agent,
    render_cards,
    render_duration,
    render_event,
    render_headline,
    render_pod,
)
from support.hub_world import NOON, make_record


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (93_000, "25 h 50 min"),
        (172_800, "2 d"),
        (200_000, "2 d 7 h"),
        (2_000_000, "23 d"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert render_duration(seconds) == text


def test_stale_figures_say_how_old_they_are_and_why() -> None:
    headline = render_headline(Freshness(age_seconds=125, reason="RunPod is down"))

    assert (headline.text, headline.tone) == ("stale, updated 2 min ago", "bad")
    assert headline.banner == (
        "These are the last known figures, from 2 min ago: RunPod is down."
    )


def test_fresh_figures_have_no_banner() -> None:
    headline = render_headline(Freshness(age_seconds=5, reason=""))

    assert (headline.text, headline.banner) == ("updated 5 s ago", "")


def test_the_cards_sum_the_fleet_up() -> None:
    pods = (
        make_record("a", price_usd_per_hour=Decimal("5.50")),
        make_record("b", status=PodStatus.STOPPED),
    )

    running, cost, working, balance = render_cards(
        Snapshot(pods=pods), threshold=Decimal(5)
    )

    assert (running.value, running.unit, running.note) == ("1", "of 2", "1 stopped")
    assert (cost.value, cost.tone) == ("$5.50", "bad")
    assert cost.note.startswith("over the alert of $5.00/hour")
    assert (working.value, working.note) == ("0", "none connected")
    assert balance.note == "not read yet"


def test_a_stopped_pod_costs_nothing_and_has_no_uptime() -> None:
    row = render_pod(make_record(status=PodStatus.STOPPED, uptime_seconds=None))

    assert (row["price"], row["uptime"], row["tone"]) == (0.0, 0, "off")


def test_a_pod_missing_from_the_listing_is_marked() -> None:
    row = render_pod(make_record(absences=1))

    assert (row["status"], row["tone"]) == ("missing", "bad")


@pytest.mark.parametrize("status", PodStatus)
def test_every_pod_status_has_a_colour_with_a_meaning(status: PodStatus) -> None:
    assert render_pod(make_record(status=status))["tone"] in {
        "ok",
        "wait",
        "off",
        "bad",
    }


@pytest.mark.parametrize("status", AgentStatus)
def test_every_agent_status_has_a_colour_with_a_meaning(status: AgentStatus) -> None:
    session = AgentSession(
        pod_id="pod1",
        agent="A",
        status=status,
        current_task="",
        started_at=NOON,
        last_heartbeat_at=NOON,
    )

    row = render_agent(
        session, pod_names={"pod1": "dev"}, now=NOON + timedelta(seconds=5)
    )

    assert (row["pod"], row["heard"]) == ("dev", "5 s ago")
    assert row["tone"] in {"ok", "wait", "off"}


def test_an_event_of_an_unknown_kind_is_still_shown() -> None:
    event = Event(occurred_at=NOON, actor="x", kind="disk_filled", subject="pod1")

    assert render_event(event, now=NOON)["text"] == "disk_filled: pod1"


def test_an_event_reads_as_a_sentence_whatever_its_data_holds() -> None:
    event = Event(
        occurred_at=NOON,
        actor="x",
        kind="agent_status_changed",
        subject="pod1",
        data={"agent": "A", "status": "idle", "current_task": ""},
    )
    odd = Event(
        occurred_at=NOON,
        actor="x",
        kind="pod_status_changed",
        subject="pod1",
        data={"pod_name": "{0} {evil}", "to_state": "STOPPED"},
    )

    assert render_event(event, now=NOON)["text"] == "agent A is idle"
    assert render_event(odd, now=NOON)["text"] == "{0} {evil} went from ? to STOPPED"
